// What the benchmarks share. Every benchmark reports bytes_per_second over the bytes that have to move at
// least, to be read beside `memcpy` of the same size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "eccsnn/dtype.h"
#include "eccsnn/isa.h"

namespace eccsnn_bench {

// Neurons times timesteps: in the second-level cache, in the last, in memory.
struct Size {
  const char* name;
  std::int64_t timesteps, neurons;
};
inline constexpr Size kSizes[] = {
    {"tiny", 4, 256}, {"L2", 4, 1 << 14}, {"L3", 4, 1 << 18}, {"memory", 4, 1 << 22}};

struct Element {
  const char* name;
  eccsnn::DType dtype;
  std::int64_t bytes;
};
inline constexpr Element kElements[] = {{"fp32", eccsnn::DType::kFloat32, 4},
                                        {"bf16", eccsnn::DType::kBFloat16, 2},
                                        {"fp16", eccsnn::DType::kFloat16, 2},
                                        {"fp64", eccsnn::DType::kFloat64, 8}};

// Memory aligned as tensors are.
class Buffer {
 public:
  explicit Buffer(std::int64_t bytes)
      : size_(static_cast<std::size_t>(bytes)),
        data_(static_cast<std::byte*>(::operator new(size_ + 1, std::align_val_t{64}))) {
    for (std::size_t i = 0; i < size_; ++i) data_[i] = std::byte{0};
  }
  Buffer(Buffer&& other) noexcept : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { ::operator delete(data_, std::align_val_t{64}); }

  void* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  std::byte* data_;
};

// `count` elements between -4 and 4 that make neurons fire now and then.
Buffer random_elements(const Element& element, std::int64_t count);

void register_lif();
void register_spike_codec();
void register_spikes();

}  // namespace eccsnn_bench
