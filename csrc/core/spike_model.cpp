#include "spike_model.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "cells.h"
#include "range_coder.h"

namespace eccsnn {
namespace {

// Bit i of a byte to the lowest bit of byte i of a word.
struct Spread {
  std::uint64_t word[256];
};
constexpr Spread kSpread = [] {
  Spread spread{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (unsigned i = 0; i < 8; ++i)
      spread.word[byte] |= static_cast<std::uint64_t>(byte >> i & 1) << (8 * i);
  }
  return spread;
}();

struct Encode {
  RangeEncoder& coder;
  bool operator()(bool bit, std::uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
};
struct Decode {
  RangeDecoder& coder;
  bool operator()(bool, std::uint32_t p) { return coder.decode(p); }
};

// Weights drift by a little a bit where a prediction is as sure as it can be; in a stream of some 10^9 bits
// they would wrap around.
inline std::int32_t saturating_add(std::int32_t a, std::int32_t b) {
  std::int32_t sum;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b < 0 ? std::numeric_limits<std::int32_t>::min() : std::numeric_limits<std::int32_t>::max();
}

// A set as the inner loop needs it.
struct Look {
  Cell* cells;
  std::int64_t channel_step, position_step;
  std::uint32_t limit;
  int shift;  // of the neighbours' pattern
  unsigned recent_mask, count_shift, count_mask;
  int neighbours;
  std::int64_t from[kMaxContextBits];  // bytes from the current position's byte
};

template <int kSets, class Coder>
void code(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history, std::int64_t timestep,
          Coder coder) {
  const SpikeGeometry& geometry = model.geometry;
  const int time = time_class(timestep);
  if (state.cells[time].empty()) state.cells[time] = model.cells[time];
  Look looks[kSets];
  std::int32_t weights[kSets];
  std::uint8_t* const origin = history.at(0, 0, 0);
  for (int s = 0; s < kSets; ++s) {
    const ContextSet& set = model.sets[s];
    Look& look = looks[s];
    look = {};
    look.cells = state.cells[time].data() + set.first_cell[time];
    const std::int64_t patterns = std::int64_t{1} << set.pattern_bits(time);
    look.channel_step = set.per_channel ? patterns : 0;
    look.position_step = set.per_position ? patterns * (set.per_channel ? geometry.channels : 1) : 0;
    look.limit = set.limit;
    look.shift = set.recent + (set.with_count ? 2 : 0);
    look.recent_mask = (1u << set.recent) - 1;
    look.count_shift = set.recent;
    look.count_mask = set.with_count ? 3 : 0;
    for (int n = 0; n < kNeighbours; ++n) {
      if (!(set.neighbours[time] >> n & 1)) continue;
      look.from[look.neighbours++] = history.at(SpikeHistory::back(n), 0, 0) - origin + history.offset(n);
    }
    weights[s] = state.weights[time][s];
  }
  const int rate = model.rate;
  std::int64_t position = 0;
  for (std::int64_t row = 0; row < geometry.height; ++row) {
    std::uint8_t* bytes = history.at(0, row, 0);
    for (std::int64_t column = 0; column < geometry.width; ++column, ++position) {
      unsigned recent = 0, count = 0;
      for (std::int64_t channel = 0; channel < geometry.channels; channel += 8, ++bytes) {
        std::uint64_t patterns[kSets];
        Cell* base[kSets];
        for (int s = 0; s < kSets; ++s) {
          const Look& look = looks[s];
          std::uint64_t pattern = 0;
          for (int n = 0; n < kMaxContextBits && n < look.neighbours; ++n)
            pattern |= kSpread.word[bytes[look.from[n]]] << n;
          patterns[s] = pattern;
          base[s] = look.cells + position * look.position_step + channel * look.channel_step;
        }
        const int bits = static_cast<int>(std::min<std::int64_t>(8, geometry.channels - channel));
        unsigned byte = *bytes;
        for (int i = 0; i < bits; ++i) {
          Cell* cells[kSets];
          std::int32_t logits[kSets];
          std::int64_t sum = 0;
          for (int s = 0; s < kSets; ++s) {
            const Look& look = looks[s];
            const unsigned pattern = static_cast<unsigned>(patterns[s] & 255) << look.shift |
                                     (count & look.count_mask) << look.count_shift |
                                     (recent & look.recent_mask);
            patterns[s] >>= 8;
            cells[s] = base[s] + i * look.channel_step + pattern;
            logits[s] = stretch(*cells[s] >> 20);
            sum += static_cast<std::int64_t>(weights[s]) * logits[s];
          }
          const std::uint32_t p =
              squash(static_cast<std::int32_t>(std::clamp<std::int64_t>(sum >> 16, -2047, 2047)));
          const bool bit = coder(byte >> i & 1, p);
          byte = (byte & ~(1u << i)) | static_cast<unsigned>(bit) << i;
          const std::int32_t error = (bit ? 65535 : 0) - static_cast<std::int32_t>(p);
          for (int s = 0; s < kSets; ++s) {
            weights[s] = saturating_add(weights[s], (logits[s] * error + (1 << (rate + 7))) >> (rate + 8));
            adapt(*cells[s], bit, looks[s].limit);
          }
          recent = recent << 1 | static_cast<unsigned>(bit);
          count = count < 3 ? count + bit : 3;
        }
        *bytes = static_cast<std::uint8_t>(byte);
      }
    }
  }
  for (int s = 0; s < kSets; ++s) state.weights[time][s] = weights[s];
}

template <class Coder>
void code_any(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history, std::int64_t timestep,
              Coder coder) {
  switch (model.sets.size()) {
    case 1:
      return code<1>(model, state, history, timestep, coder);
    case 2:
      return code<2>(model, state, history, timestep, coder);
    case 3:
      return code<3>(model, state, history, timestep, coder);
    case 4:
      return code<4>(model, state, history, timestep, coder);
    case 5:
      return code<5>(model, state, history, timestep, coder);
    default:
      return code<6>(model, state, history, timestep, coder);
  }
}

struct Place {
  int back, rows, columns;
};
constexpr Place kPlaces[kNeighbours] = {{1, 0, 0},   {2, 0, 0},  {3, 0, 0},  {0, 0, -1}, {0, -1, 0},
                                        {0, -1, -1}, {0, -1, 1}, {0, 0, -2}, {0, -2, 0}, {1, 0, 1},
                                        {1, 1, 0},   {1, 0, -1}, {1, -1, 0}};

}  // namespace

int ContextSet::pattern_bits(int time) const {
  return std::popcount(neighbours[time]) + recent + (with_count ? 2 : 0);
}

std::size_t ContextSet::cells(const SpikeGeometry& geometry, int time) const {
  const std::int64_t scopes =
      (per_channel ? geometry.channels : 1) * (per_position ? geometry.positions() : 1);
  return static_cast<std::size_t>(scopes) << pattern_bits(time);
}

SpikeModel::SpikeModel(const SpikeGeometry& g, std::vector<ContextSet> s) : geometry(g), sets(std::move(s)) {
  for (int time = 0; time < kTimeClasses; ++time) {
    std::size_t count = 0;
    for (ContextSet& set : sets) {
      set.first_cell[time] = count;
      count += set.cells(geometry, time);
    }
    cells[time].resize(count);
  }
}

LaneArgs lane_args(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history,
                   std::int64_t timestep) {
  constexpr int kNeighboursOfLanes[kLaneNeighbours] = {kBefore1, kBefore2,     kBefore3,    kLeft,
                                                       kUp,      kUpLeft,      kUpRight,    kLeft2,
                                                       kUp2,     kRightBefore, kDownBefore, kLeftBefore};
  const SpikeGeometry& geometry = model.geometry;
  LaneArgs args;
  args.channels = geometry.channels;
  args.height = geometry.height;
  args.width = geometry.width;
  args.tail = 0;
  args.origin = history.at(0, 0, 0);
  args.pitch_bytes = history.at(0, 1, 0) - args.origin;
  args.stride = geometry.packed_channels();
  for (int f = 0; f < kLaneNeighbours; ++f) {
    const int n = kNeighboursOfLanes[f];
    args.from[static_cast<std::size_t>(f)] =
        history.at(SpikeHistory::back(n), 0, 0) - args.origin + history.offset(n);
  }
  args.weights = state.lanes[static_cast<std::size_t>(time_class(timestep))].data();
  args.bias_shift = model.lane_bias_shift;
  args.weight_shift = model.lane_weight_shift;
  args.chances = lane_chances();
  return args;
}

SpikeHistory::SpikeHistory(const SpikeGeometry& geometry)
    : height_(geometry.height),
      width_(geometry.width),
      stride_(geometry.packed_channels()),
      pitch_(width_ + 2 * kBorder),
      frame_bytes_(pitch_ * (height_ + 2 * kBorder) * stride_),
      frames_(static_cast<std::size_t>(kFrames * frame_bytes_)) {}

void SpikeHistory::advance() {
  now_ = (now_ + 1) % kFrames;
  std::memset(at(0, -kBorder, -kBorder), 0, static_cast<std::size_t>(frame_bytes_));
}

void SpikeHistory::put(const std::uint8_t* packed) {
  const std::size_t row_bytes = static_cast<std::size_t>(width_ * stride_);
  for (std::int64_t row = 0; row < height_; ++row, packed += row_bytes)
    std::memcpy(at(0, row, 0), packed, row_bytes);
}

void SpikeHistory::get(std::uint8_t* packed) const {
  const std::size_t row_bytes = static_cast<std::size_t>(width_ * stride_);
  auto* self = const_cast<SpikeHistory*>(this);
  for (std::int64_t row = 0; row < height_; ++row, packed += row_bytes) {
    std::memcpy(packed, self->at(0, row, 0), row_bytes);
  }
}

std::int64_t SpikeHistory::offset(int neighbour) const {
  const Place& place = kPlaces[neighbour];
  return (place.rows * pitch_ + place.columns) * stride_;
}

int SpikeHistory::back(int neighbour) { return kPlaces[neighbour].back; }

void encode_adaptive(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history,
                     std::int64_t timestep, RangeEncoder& coder) {
  code_any(model, state, history, timestep, Encode{coder});
}

void decode_adaptive(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history,
                     std::int64_t timestep, RangeDecoder& coder) {
  code_any(model, state, history, timestep, Decode{coder});
}

}  // namespace eccsnn
