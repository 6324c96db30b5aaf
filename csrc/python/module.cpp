// `eccsnn._core`: what is not a tensor op, in NumPy arrays and bytes.
#include <pybind11/pybind11.h>

#include "count_statistics.h"
#include "eccsnn/isa.h"
#include "event_files.h"
#include "event_simulator.h"
#include "spike_codec.h"

namespace py = pybind11;

namespace {

py::dict isa() {
  const eccsnn::IsaChoice& choice = eccsnn::isa_choice();
  py::dict result;
  result["selected"] = eccsnn::isa_name(choice.selected);
  result["supported"] = eccsnn::isa_name(choice.supported);
  result["reason"] = choice.reason;
  return result;
}

py::dict build() {
  py::dict result;
  result["version"] = ECCSNN_VERSION;
  result["git"] = ECCSNN_GIT_SHA;
  result["compiler"] = ECCSNN_COMPILER;
  result["build_type"] = ECCSNN_BUILD_TYPE;
  result["torch"] = ECCSNN_BUILT_AGAINST_TORCH;
  result["cuda"] = static_cast<bool>(ECCSNN_CUDA_BUILT);
  result["cuda_reason"] = ECCSNN_CUDA_REASON;
  return result;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled parts of eccsnn that are not tensor ops.";
  m.def("isa", &isa,
        "Instruction set of the kernels: 'selected', 'supported' and the 'reason'. Raises ValueError where "
        "ECCSNN_ISA\n"
        "asks for one that does not exist or that this processor does not have.");
  m.def("build", &build,
        "How this build was made: version, git commit (empty outside a checkout), compiler, torch that it "
        "was built against, CUDA.");
  bind_event_files(m);
  bind_spike_codec(m);
  bind_count_statistics(m);
  bind_event_simulator(m);
}
