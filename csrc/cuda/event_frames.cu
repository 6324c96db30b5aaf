// Integer atomics only: sums and maxima do not depend on the order of threads.
#include "elements.cuh"
#include "event_frames.h"

namespace eccsnn {
namespace {

using Wide = unsigned long long;  // what 64-bit atomics are defined for; sums wrap around as signed ones do

// Blocks along x share the events of a slice, blocks along y the slices. Calls
// put(slice, first, last, event, pixel, polarity).
template <class Put>
__global__ void scatter_kernel(EventSlices args, Put put) {
  for (std::int64_t slice = blockIdx.y; slice < args.slices; slice += gridDim.y) {
    const std::int64_t low = args.bounds[2 * slice], high = args.bounds[2 * slice + 1];
    const std::int64_t first = low > 0 ? low : 0, last = high < args.count ? high : args.count;
    for (std::int64_t i = first + first_index(); i < last; i += index_step()) {
      const std::int64_t x = args.x[i], y = args.y[i], polarity = args.polarity[i];
      if (x >= args.sensor_width || y >= args.sensor_height || polarity > 1) continue;
      const std::int64_t column = x * args.width / args.sensor_width;
      const std::int64_t row = y * args.height / args.sensor_height;
      put(slice, first, last, i, row * args.width + column, polarity);
    }
  }
}

struct Count {
  std::int32_t* counts;
  std::int64_t plane;
  __device__ void operator()(std::int64_t slice, std::int64_t, std::int64_t, std::int64_t, std::int64_t pixel,
                             std::int64_t polarity) const {
    atomicAdd(counts + (2 * slice + polarity) * plane + pixel, 1);
  }
};

struct Latest {
  std::int64_t* latest;
  const std::int64_t* t_us;
  std::int64_t plane;
  __device__ void operator()(std::int64_t slice, std::int64_t, std::int64_t, std::int64_t i,
                             std::int64_t pixel, std::int64_t polarity) const {
    atomicMax(reinterpret_cast<long long*>(latest + (2 * slice + polarity) * plane + pixel),
              static_cast<long long>(t_us[i]));
  }
};

struct Voxel {
  std::int64_t* sums;
  const std::int64_t* t_us;
  std::int64_t plane, bins;
  __device__ void operator()(std::int64_t slice, std::int64_t first, std::int64_t last, std::int64_t i,
                             std::int64_t pixel, std::int64_t polarity) const {
    const std::int64_t elapsed = t_us[last - 1] - t_us[first];
    const std::int64_t duration = elapsed > 1 ? elapsed : 1;
    const std::int64_t scaled = (bins - 1) * (t_us[i] - t_us[first]);
    const std::int64_t bin = scaled / duration, right = scaled % duration, left = duration - right;
    if (bin < 0 || bin >= bins) return;  // time went back
    Wide* const at = reinterpret_cast<Wide*>(sums + (slice * bins + bin) * plane + pixel);
    atomicAdd(at, static_cast<Wide>(polarity ? left : -left));
    if (right != 0 && bin + 1 < bins) atomicAdd(at + plane, static_cast<Wide>(polarity ? right : -right));
  }
};

__global__ void pack_counts_kernel(const std::int32_t* __restrict__ counts, std::uint8_t* __restrict__ packed,
                                   std::int64_t plane, std::int64_t count) {
  for (std::int64_t i = first_index(); i < count; i += index_step()) {
    const std::int32_t* const at = counts + i / plane * 2 * plane + i % plane;
    packed[i] = static_cast<std::uint8_t>((at[0] != 0 ? 1 : 0) | (at[plane] != 0 ? 2 : 0));
  }
}

template <class Put>
void scatter(const EventSlices& args, const Put& put, cudaStream_t stream) {
  if (args.slices == 0 || args.count == 0) return;
  const std::int64_t a_slice = (args.count + args.slices - 1) / args.slices;  // where slices do not overlap
  const dim3 grid(std::min(blocks_for(a_slice), 1024u),
                  static_cast<unsigned>(std::min<std::int64_t>(args.slices, 65535)));
  scatter_kernel<<<grid, kThreads, 0, stream>>>(args, put);
}

}  // namespace

void count_events_cuda(const EventSlices& args, std::int32_t* counts, cudaStream_t stream) {
  const std::int64_t plane = args.height * args.width;
  cudaMemsetAsync(counts, 0, static_cast<std::size_t>(args.slices * 2 * plane) * sizeof(*counts), stream);
  scatter(args, Count{counts, plane}, stream);
}

void mark_events_cuda(const EventSlices& args, std::int32_t* counts, std::uint8_t* packed,
                      cudaStream_t stream) {
  count_events_cuda(args, counts, stream);
  const std::int64_t plane = args.height * args.width, pixels = args.slices * plane;
  if (pixels == 0) return;
  pack_counts_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(counts, packed, plane, pixels);
}

void latest_events_cuda(const EventSlices& args, std::int64_t* latest_us, cudaStream_t stream) {
  const std::int64_t plane = args.height * args.width;
  const std::size_t bytes = static_cast<std::size_t>(args.slices * 2 * plane) * sizeof(*latest_us);
  cudaMemsetAsync(latest_us, 0xff, bytes, stream);  // -1
  scatter(args, Latest{latest_us, args.t_us, plane}, stream);
}

void sum_voxels_cuda(const EventSlices& args, std::int64_t bins, std::int64_t* sums, cudaStream_t stream) {
  const std::int64_t plane = args.height * args.width;
  const std::size_t bytes = static_cast<std::size_t>(args.slices * bins * plane) * sizeof(*sums);
  cudaMemsetAsync(sums, 0, bytes, stream);
  scatter(args, Voxel{sums, args.t_us, plane, bins}, stream);
}

}  // namespace eccsnn
