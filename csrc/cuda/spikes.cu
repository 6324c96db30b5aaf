#include "elements.cuh"
#include "spikes.h"

namespace eccsnn {
namespace {

// The pixel that an index stands for, and which of its `inner` bytes or channels. Neighbouring threads get
// neighbouring memory of the spikes: channels of one pixel when those are innermost, else pixels of one row.
struct Item {
  std::int64_t pixel, inner, offset;
};

__device__ Item locate(const SpikeView& view, std::int64_t index, std::int64_t inner) {
  Item item;
  std::int64_t w;
  if (view.stride_c == 1) {
    item.inner = index % inner;
    w = index / inner % view.width;
  } else {
    w = index % view.width;
    item.inner = index / view.width % inner;
  }
  const std::int64_t row = index / (inner * view.width);
  const std::int64_t h = row % view.height;
  const std::int64_t n = row / view.height % view.batch;
  const std::int64_t t = row / view.height / view.batch;
  item.pixel = row * view.width + w;
  item.offset = t * view.stride_t + n * view.stride_n + h * view.stride_h + w * view.stride_w;
  return item;
}

// One thread packs one byte: channels 8 j to 8 j + 7 of one pixel.
template <class Word>
__global__ void pack_kernel(const Word* __restrict__ spikes, SpikeView view, Word one, Word negative_zero,
                            std::uint8_t* __restrict__ packed, std::int64_t bytes, std::int64_t count,
                            unsigned long long* first_offender) {
  for (std::int64_t index = first_index(); index < count; index += index_step()) {
    const Item item = locate(view, index, bytes);
    const std::int64_t first = item.inner * 8;
    const std::int64_t last = first + 8 < view.channels ? first + 8 : view.channels;
    std::int64_t offender = -1;
    unsigned byte = 0;
    for (std::int64_t c = first; c < last; ++c) {
      const Word word = spikes[item.offset + c * view.stride_c];
      const bool set = static_cast<Word>(word & ~negative_zero) != 0;
      if (set != (word == one) && offender < 0) offender = item.pixel * view.channels + c;
      byte |= static_cast<unsigned>(set) << (c - first);
    }
    packed[item.pixel * bytes + item.inner] = static_cast<std::uint8_t>(byte);
    // -1 is the largest unsigned number, so the minimum is the first offender.
    if (offender >= 0 && first_offender != nullptr) {
      atomicMin(first_offender, static_cast<unsigned long long>(offender));
    }
  }
}

template <class Word>
__global__ void unpack_kernel(const std::uint8_t* __restrict__ packed, SpikeView view, Word one,
                              Word* __restrict__ spikes, std::int64_t bytes, std::int64_t count) {
  for (std::int64_t index = first_index(); index < count; index += index_step()) {
    const Item item = locate(view, index, view.channels);
    const unsigned byte = packed[item.pixel * bytes + item.inner / 8];
    spikes[item.offset + item.inner * view.stride_c] = (byte >> (item.inner % 8)) & 1 ? one : Word{0};
  }
}

template <class Function>
void with_word(int element_bytes, const Function& function) {
  switch (element_bytes) {
    case 1:
      return function(std::uint8_t{});
    case 2:
      return function(std::uint16_t{});
    case 4:
      return function(std::uint32_t{});
    default:
      return function(std::uint64_t{});
  }
}

}  // namespace

void pack_spikes_cuda(const PackSpikes& args, std::int64_t* first_offender, cudaStream_t stream) {
  const std::int64_t bytes = args.view.packed_channels();
  const std::int64_t count = args.view.rows() * args.view.width * bytes;
  if (count == 0) return;
  with_word(args.bits.element_bytes, [&](auto word) {
    using Word = decltype(word);
    pack_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
        static_cast<const Word*>(args.spikes), args.view, static_cast<Word>(args.bits.one),
        static_cast<Word>(args.bits.negative_zero), args.packed, bytes, count,
        reinterpret_cast<unsigned long long*>(first_offender));
  });
}

void unpack_spikes_cuda(const UnpackSpikes& args, cudaStream_t stream) {
  const std::int64_t count = args.view.rows() * args.view.width * args.view.channels;
  if (count == 0) return;
  with_word(args.bits.element_bytes, [&](auto word) {
    using Word = decltype(word);
    unpack_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
        args.packed, args.view, static_cast<Word>(args.bits.one), static_cast<Word*>(args.spikes),
        args.view.packed_channels(), count);
  });
}

}  // namespace eccsnn
