// Second moments and class sums of spike counts. Integers throughout: the result does not depend on which
// block adds first, and is that of the CPU bit for bit.
#include "count_moments.h"

namespace eccsnn {
namespace {

constexpr int kTile = 64;     // features a side of a block's tile
constexpr int kThreads = 16;  // a side: a thread has 4 x 4 entries
constexpr int kPart = kTile / kThreads;
constexpr int kWords = 16;  // words of samples in shared memory at once

// kPacked samples of one feature lie in a word: four bytes for dp4a, or one value.
template <class E, int kPacked>
__device__ void load_tile(const E* rows, std::int64_t first, std::int64_t samples, std::int64_t features,
                          std::int64_t column, int (&words)[kWords][kTile]) {
  const int lane = static_cast<int>(threadIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  for (int at = lane; at < kWords * kTile; at += kThreads * kThreads) {
    const int word = at / kTile, f = at % kTile;
    unsigned value = 0;
    if (column + f < features) {
      for (int s = 0; s < kPacked; ++s) {
        const std::int64_t sample = first + word * kPacked + s;
        if (sample < samples) {
          value |= static_cast<unsigned>(rows[sample * features + column + f]) << (8 * s);
        }
      }
    }
    words[word][f] = static_cast<int>(value);
  }
}

// One block a tile on or above the diagonal; it writes the mirrored tile, too. `steps` rounds of the loop fit
// into int32.
template <class E, int kPacked>
__global__ void moment_kernel(const E* __restrict__ rows, std::int64_t samples, std::int64_t features,
                              std::int64_t steps, std::int64_t* __restrict__ moment) {
  if (blockIdx.y > blockIdx.x) return;
  __shared__ int a[kWords][kTile], b[kWords][kTile];
  const std::int64_t i0 = std::int64_t{blockIdx.y} * kTile, j0 = std::int64_t{blockIdx.x} * kTile;
  long long total[kPart][kPart] = {};
  int sum[kPart][kPart] = {};
  std::int64_t round = 0;
  for (std::int64_t first = 0; first < samples; first += kWords * kPacked) {
    load_tile<E, kPacked>(rows, first, samples, features, i0, a);
    load_tile<E, kPacked>(rows, first, samples, features, j0, b);
    __syncthreads();
    for (int word = 0; word < kWords; ++word) {
      for (int i = 0; i < kPart; ++i) {
        for (int j = 0; j < kPart; ++j) {
          const int x = a[word][threadIdx.y + i * kThreads], y = b[word][threadIdx.x + j * kThreads];
          if constexpr (kPacked == 4) {
            sum[i][j] = __dp4a(x, y, sum[i][j]);
          } else {
            total[i][j] += static_cast<long long>(x) * y;
          }
        }
      }
    }
    if (kPacked == 4 && ++round == steps) {
      round = 0;
      for (int i = 0; i < kPart; ++i) {
        for (int j = 0; j < kPart; ++j) {
          total[i][j] += sum[i][j];
          sum[i][j] = 0;
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kPart; ++i) {
    for (int j = 0; j < kPart; ++j) {
      const std::int64_t row = i0 + threadIdx.y + i * kThreads, column = j0 + threadIdx.x + j * kThreads;
      if (row >= features || column >= features) continue;
      moment[row * features + column] = total[i][j] + sum[i][j];
      if (i0 != j0) moment[column * features + row] = total[i][j] + sum[i][j];
    }
  }
}

template <class E>
__global__ void class_sums_kernel(const E* __restrict__ rows, const std::int64_t* __restrict__ classes,
                                  std::int64_t samples, std::int64_t features, std::int64_t* sums) {
  const std::int64_t count = samples * features, step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t at = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < count; at += step) {
    const std::int64_t to = classes[at / features] * features + at % features;
    atomicAdd(reinterpret_cast<unsigned long long*>(sums + to), static_cast<unsigned long long>(rows[at]));
  }
}

template <class E>
void run(const CountMomentsCuda& a, cudaStream_t stream) {
  const E* const rows = static_cast<const E*>(a.rows);
  const unsigned tiles = static_cast<unsigned>((a.features + kTile - 1) / kTile);
  const dim3 grid(tiles, tiles), threads(kThreads, kThreads);
  if (a.max_count <= 127) {
    const std::int64_t most = std::int64_t{0x7fffffff} / (a.max_count * a.max_count);
    moment_kernel<E, 4>
        <<<grid, threads, 0, stream>>>(rows, a.samples, a.features, most / (kWords * 4), a.moment);
  } else {
    moment_kernel<E, 1><<<grid, threads, 0, stream>>>(rows, a.samples, a.features, 0, a.moment);
  }
  if (a.samples > 0) {
    constexpr std::int64_t kBlock = 256, kMostBlocks = 4096;
    const std::int64_t blocks = (a.samples * a.features + kBlock - 1) / kBlock;
    class_sums_kernel<E>
        <<<static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks), kBlock, 0, stream>>>(
            rows, a.classes, a.samples, a.features, a.sums);
  }
}

}  // namespace

void count_moments_cuda(const CountMomentsCuda& args, cudaStream_t stream) {
  if (args.type == CountType::kUint8) {
    run<std::uint8_t>(args, stream);
  } else {
    run<std::int16_t>(args, stream);
  }
}

}  // namespace eccsnn
