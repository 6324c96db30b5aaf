# make demo | test | lint | format | proto | notebook | clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs
BENCH_FILTER ?= .
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help demo test install dev cpp-test codec-long-test learner-long-test fuzz bench-cpp sanitize python-test notebook-test lint format proto notebook clean

help:
	@echo "make demo     installs into $(VENV) and runs ECC-SNN on handwritten digits, up to an HTML report (about 5 minutes after installing)"
	@echo "make test     sets up what the tests need and passes all C++ and Python tests"
	@echo "make bench-cpp  times the kernels of the core, each instruction set (BENCH_FILTER=regex chooses); eccsnn bench does the rest"
	@echo "make lint     ruff, mypy, import layers, clang-format"
	@echo "make format   rewrites the sources in the project's format"
	@echo "make proto    regenerates the protocol code; make notebook regenerates the notebooks"

demo: install
	$(BIN)/eccsnn run ecc_snn/digits_small --runs-dir $(RUNS)

# --- environments -------------------------------------------------------------------------------------------------

$(VENV)/bin/python:
	$(PYTHON) tools/check_host.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.torch: $(VENV)/bin/python constraints.txt
	$(BIN)/python -m pip install -c constraints.txt torch torchvision
	touch $@

SOURCES := pyproject.toml CMakeLists.txt $(shell find csrc cmake python configs -type f -not -name '*.pyc' -not -name '*.so' -not -name '*.json' 2>/dev/null)

$(VENV)/.installed: $(VENV)/.torch $(SOURCES)
	$(BIN)/python -m pip install -c constraints.txt .
	touch $@

install: $(VENV)/.installed

$(VENV)/.dev: $(VENV)/.torch $(SOURCES)
	$(BIN)/python -m pip install -c constraints.txt ".[dev,peers,bench,events,notebooks]"
	touch $@ $(VENV)/.installed

dev: $(VENV)/.dev

# --- tests --------------------------------------------------------------------------------------------------------

test: cpp-test python-test

python-test: dev
	ECCSNN_NO_SKIPS=1 $(BIN)/python -m pytest
	$(BIN)/python -m pytest --doctest-modules --pyargs eccsnn -p no:cacheprovider

cpp-test: dev
	bash tools/install_gtest.sh
	bash tools/install_benchmark.sh
	$(BIN)/cmake -S . -B build/cpp -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_BUILD_TYPE=Release -DECCSNN_BUILD_TESTS=ON -DECCSNN_BUILD_BENCH=ON -DECCSNN_BUILD_PYTHON=OFF -DECCSNN_WERROR=ON
	$(BIN)/cmake --build build/cpp -j $(JOBS)
	$(BIN)/ctest --test-dir build/cpp --output-on-failure
	build/cpp/csrc/bench/eccsnn_bench --benchmark_filter='/tiny$$' --benchmark_min_time=0.0001 >build/cpp/bench.log || { cat build/cpp/bench.log; exit 1; }

bench-cpp: dev
	bash tools/install_benchmark.sh
	$(BIN)/cmake -S . -B build/bench -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_BUILD_TYPE=Release -DECCSNN_BUILD_BENCH=ON -DECCSNN_BUILD_PYTHON=OFF
	$(BIN)/cmake --build build/bench -j $(JOBS)
	build/bench/csrc/bench/eccsnn_bench --benchmark_filter='$(BENCH_FILTER)' --benchmark_out=build/bench/bench.json --benchmark_out_format=json

sanitize: dev
	bash tools/install_gtest.sh
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DECCSNN_BUILD_TESTS=ON -DECCSNN_BUILD_PYTHON=OFF -DECCSNN_WERROR=ON -DECCSNN_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize -j $(JOBS)
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure

# By hand: a hundred million spikes through the codec.
codec-long-test: cpp-test
	build/cpp/tests/cpp/eccsnn_tests --gtest_also_run_disabled_tests --gtest_filter='*HundredMillion*'

# By hand: statistics of spike counts in a thousand orders, batches, thread counts and merge trees.
learner-long-test: cpp-test
	build/cpp/tests/cpp/eccsnn_tests --gtest_also_run_disabled_tests --gtest_filter='CountStatistics.*'

# By hand: libFuzzer comes with clang (apt-get install clang libclang-rt-14-dev).
FUZZ_SECONDS ?= 60
fuzz: dev
	CXX=clang++ $(BIN)/cmake -S . -B build/fuzz -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DECCSNN_BUILD_FUZZ=ON -DECCSNN_BUILD_PYTHON=OFF -DECCSNN_SANITIZE=address,undefined
	$(BIN)/cmake --build build/fuzz -j $(JOBS)
	for target in spike_codec event_files count_statistics; do \
	  mkdir -p build/fuzz/corpus/$$target; \
	  build/fuzz/tests/fuzz/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -max_len=2000 build/fuzz/corpus/$$target tests/fuzz/corpus/$$target; \
	done

# --- habits -------------------------------------------------------------------------------------------------------

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check python tests experiments tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(shell git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' '*.inl')

format: dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format python tests experiments tools
	$(BIN)/clang-format -i $(shell git ls-files '*.cpp' '*.h' '*.cu' '*.cuh' '*.inl')

# Pinned: generated code demands a protobuf runtime as new as its generator.
proto:
	$(PYTHON) -m venv build/proto
	build/proto/bin/python -m pip install --quiet "grpcio-tools==1.73.1" "setuptools<81"
	PYTHONPATH=python build/proto/bin/python -m eccsnn.transport.proto.generate

notebook: dev
	$(BIN)/python -m jupytext --to ipynb $(wildcard experiments/*walkthrough.py)

clean:
	rm -rf build dist $(VENV)    # not $(RUNS): hours of training
