#include "eccsnn/isa.h"

#include <cstdlib>
#include <stdexcept>

namespace eccsnn {
namespace {

Isa best_supported() {
#ifdef ECCSNN_HAVE_X86_KERNELS
  __builtin_cpu_init();
  // What the compiler may use under -march=x86-64-v3 and -v4.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                  __builtin_cpu_supports("popcnt");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? Isa::kAvx512 : v3 ? Isa::kAvx2 : Isa::kBaseline;
#else
  return Isa::kBaseline;
#endif
}

IsaChoice choose() {
  const Isa supported = best_supported();
  const char* wish = std::getenv("ECCSNN_ISA");
  if (wish == nullptr || *wish == '\0') {
    return {supported, supported, "the best that this processor and this build have"};
  }
  const std::string name = wish;
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (name != isa_name(isa)) continue;
    if (isa > supported) {
      throw std::invalid_argument("ECCSNN_ISA=" + name + ": this processor or this build has at most " +
                                  isa_name(supported) + "; unset ECCSNN_ISA or choose that one.");
    }
    return {isa, supported, "ECCSNN_ISA=" + name + " in the environment"};
  }
  throw std::invalid_argument("ECCSNN_ISA=" + name +
                              ": expected baseline, avx2 or avx512; unset it to let the processor decide.");
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    default:
      return "baseline";
  }
}

const IsaChoice& isa_choice() {
  static const IsaChoice choice = choose();
  return choice;
}

}  // namespace eccsnn
