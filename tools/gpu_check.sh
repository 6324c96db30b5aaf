#!/usr/bin/env bash
# What only a GPU can show, in steps that end within ten minutes each:
#   tools/gpu_check.sh build|tests|sanitize|bench [FOLDER FOR RESULTS]
# Needs an environment with torch (CUDA), scikit-build-core, pybind11, cmake, ninja and the packages of pyproject.toml;
# nothing is downloaded. `build` comes first, for the GPU that is there alone.
set -eu -o pipefail
cd "$(dirname "$0")/.."
STEP=${1:-}
OUT=${2:-benchmarks}
case "$STEP" in
build)
  CAPABILITY=$(python -c "import torch; print('%d%d' % torch.cuda.get_device_capability())")
  CUDAARCHS=$CAPABILITY timeout 590 python -m pip install --quiet --no-index --no-deps --no-build-isolation .
  eccsnn info
  ;;
tests)
  timeout 590 python -m pytest -q tests/gpu -x -p no:cacheprovider
  ;;
sanitize) # a part: everything is many times slower under it
  SANITIZER=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  for tool in memcheck racecheck; do
    timeout 295 "$SANITIZER" --tool "$tool" --error-exitcode 1 python -m pytest -q -p no:cacheprovider \
      tests/gpu/test_lif.py tests/gpu/test_norm_lif.py tests/gpu/test_spike_layers.py -k "opcheck or shape0 or packed or bits"
  done
  ;;
bench)
  mkdir -p "$OUT"
  for name in "lif" "lif --dtype bf16" "lif --surrogate rect" "memory" "train-step" "train-step --dtype bf16"; do
    # shellcheck disable=SC2086
    timeout 98 eccsnn bench $name --device cuda --out "$OUT/${name// /-}-gpu.json"
  done
  ;;
*)
  sed -n '2,5s/^# //p' "$0"
  exit 2
  ;;
esac
