// Kernels per instruction set: how they are declared, and how one is chosen.
//
// A file foo_kernels.cpp defines `namespace eccsnn::ECCSNN_ISA_NAMESPACE { void foo_kernel(const Foo&, ...);
// }` and is compiled once per instruction set. foo.cpp says
//
//   ECCSNN_DECLARE_KERNEL(void, foo_kernel, (const Foo& args, int64_t begin, int64_t end))
//   void foo(const Foo& args, int64_t begin, int64_t end) { ECCSNN_KERNEL(foo_kernel)(args, begin, end); }
//
// (outside any namespace for the first line). Everything else in a kernel file belongs in an unnamed
// namespace, and inline functions of the standard library are to be avoided there: the linker would keep one
// copy of them, perhaps the one with instructions that this processor lacks.
#pragma once

#include "eccsnn/isa.h"

#ifdef ECCSNN_HAVE_X86_KERNELS
#define ECCSNN_DECLARE_KERNEL(result, name, parameters) \
  namespace eccsnn::baseline {                          \
  result name parameters;                               \
  }                                                     \
  namespace eccsnn::avx2 {                              \
  result name parameters;                               \
  }                                                     \
  namespace eccsnn::avx512 {                            \
  result name parameters;                               \
  }
#define ECCSNN_KERNEL(name)                                                            \
  (::eccsnn::isa_choice().selected == ::eccsnn::Isa::kAvx512 ? &::eccsnn::avx512::name \
   : ::eccsnn::isa_choice().selected == ::eccsnn::Isa::kAvx2 ? &::eccsnn::avx2::name   \
                                                             : &::eccsnn::baseline::name)
#else
#define ECCSNN_DECLARE_KERNEL(result, name, parameters) \
  namespace eccsnn::baseline {                          \
  result name parameters;                               \
  }
#define ECCSNN_KERNEL(name) (::eccsnn::isa_choice(), &::eccsnn::baseline::name)
#endif
