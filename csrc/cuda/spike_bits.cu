#include "elements.cuh"
#include "spike_bits.h"

namespace eccsnn {
namespace {

constexpr std::uintptr_t kVectorBytes = 16;

// The eight elements of a byte of bits, moved in pieces of 16 bytes.
template <class E>
union Octet {
  E at[8];
  uint4 vectors[8 * sizeof(E) / kVectorBytes];
  __device__ Octet() {}
};

template <class E, bool kAligned>
__device__ void load_octet(Octet<E>& octet, const E* from) {
  if constexpr (kAligned) {
    for (int i = 0; i < static_cast<int>(sizeof(octet) / kVectorBytes); ++i) {
      octet.vectors[i] = reinterpret_cast<const uint4*>(from)[i];
    }
  } else {
    for (int i = 0; i < 8; ++i) octet.at[i] = from[i];
  }
}

template <class E, bool kAligned>
__device__ void store_octet(const Octet<E>& octet, E* to) {
  if constexpr (kAligned) {
    for (int i = 0; i < static_cast<int>(sizeof(octet) / kVectorBytes); ++i) {
      reinterpret_cast<uint4*>(to)[i] = octet.vectors[i];
    }
  } else {
    for (int i = 0; i < 8; ++i) to[i] = octet.at[i];
  }
}

// One thread a byte.
template <class E, bool kAligned>
__global__ void pack_kernel(const E* __restrict__ spikes, std::uint8_t* __restrict__ bits,
                            std::int64_t count) {
  for (std::int64_t index = first_index(); 8 * index < count; index += index_step()) {
    const std::int64_t left = count - 8 * index;
    Octet<E> octet;
    if (left >= 8) {
      load_octet<E, kAligned>(octet, spikes + 8 * index);
    } else {
      for (int i = 0; i < 8; ++i) store(octet.at + i, i < left ? load(spikes + 8 * index + i) : 0);
    }
    unsigned byte = 0;
    for (int i = 0; i < 8; ++i) byte |= (load(octet.at + i) != 0 ? 1u : 0u) << i;
    bits[index] = static_cast<std::uint8_t>(byte);
  }
}

template <class E, bool kAligned>
__global__ void unpack_kernel(const std::uint8_t* __restrict__ bits, E* __restrict__ spikes,
                              std::int64_t count) {
  for (std::int64_t index = first_index(); 8 * index < count; index += index_step()) {
    const std::int64_t left = count - 8 * index;
    const unsigned byte = bits[index];
    Octet<E> octet;
    for (int i = 0; i < 8; ++i) store(octet.at + i, (byte >> i) & 1u ? 1 : 0);
    if (left >= 8) {
      store_octet<E, kAligned>(octet, spikes + 8 * index);
    } else {
      for (int i = 0; i < 8; ++i) {
        if (i < left) spikes[8 * index + i] = octet.at[i];
      }
    }
  }
}

bool is_aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % kVectorBytes == 0; }

}  // namespace

void pack_bits_cuda(const PackBits& args, std::int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    const auto kernel = is_aligned(args.spikes) ? &pack_kernel<E, true> : &pack_kernel<E, false>;
    kernel<<<blocks_for((count + 7) / 8), kThreads, 0, stream>>>(static_cast<const E*>(args.spikes),
                                                                 args.bits, count);
  });
}

void unpack_bits_cuda(const UnpackBits& args, std::int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  with_element(args.dtype, [&](auto element) {
    using E = decltype(element);
    const auto kernel = is_aligned(args.spikes) ? &unpack_kernel<E, true> : &unpack_kernel<E, false>;
    kernel<<<blocks_for((count + 7) / 8), kThreads, 0, stream>>>(args.bits, static_cast<E*>(args.spikes),
                                                                 count);
  });
}

}  // namespace eccsnn
