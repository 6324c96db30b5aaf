#!/usr/bin/env bash
# All that only a GPU can show, in under ten minutes: builds for this GPU, passes tests/gpu, runs the LIF's tests under
# compute-sanitizer, measures. Run it in an environment with torch (CUDA), scikit-build-core, pybind11, cmake, ninja and the
# packages of pyproject.toml; nothing is downloaded.
#   tools/gpu_check.sh [FOLDER FOR RESULTS]
set -eu -o pipefail
cd "$(dirname "$0")/.."
OUT=${1:-benchmarks}
mkdir -p "$OUT"
CAPABILITY=$(python -c "import torch; print('%d%d' % torch.cuda.get_device_capability())")
CUDAARCHS=$CAPABILITY python -m pip install --quiet --no-index --no-deps --no-build-isolation .
eccsnn info
timeout 240 python -m pytest -q tests/gpu -x -p no:cacheprovider
SANITIZER=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
for tool in memcheck racecheck; do  # a part: everything is some fifty times slower under it
  timeout 120 "$SANITIZER" --tool "$tool" --error-exitcode 1 python -m pytest -q -p no:cacheprovider \
    tests/gpu/test_lif.py tests/gpu/test_norm_lif.py tests/gpu/test_spike_layers.py -k "opcheck or shape0 or packed or bits"
done
for name in "lif" "lif --dtype bf16" "lif --surrogate rect" "memory" "train-step" "train-step --dtype bf16"; do
  # shellcheck disable=SC2086
  timeout 100 eccsnn bench $name --device cuda --out "$OUT/${name// /-}-gpu.json"
done
