// Choice of instruction set: made once per process, overridable by the environment variable ECCSNN_ISA.
#pragma once

#include <string>

namespace eccsnn {

enum class Isa { kBaseline, kAvx2, kAvx512 };

// "baseline", "avx2" or "avx512".
const char* isa_name(Isa isa);

struct IsaChoice {
  Isa selected;        // what the kernels use
  Isa supported;       // the best that both this processor and this build have
  std::string reason;  // one line for people: why `selected`
};

// The choice for this process. ECCSNN_ISA=baseline|avx2|avx512 asks for one. Throws std::invalid_argument for
// an unknown name, and for an instruction set that this processor or build does not have: never a silent
// fallback.
const IsaChoice& isa_choice();

}  // namespace eccsnn
