// Probabilities of spikes in their contexts, mixed and adapted bit by bit.
//
// Several context sets each look at some spikes that both ends know already (the same neuron at earlier
// timesteps, neighbours, channels before it) and keep a probability for every pattern of them. The logits of
// these probabilities are added up with weights; what the bit then is corrects probabilities and weights.
// Both start from what was learnt in training. All integers.
//
// Source: logistic mixing of context models as in PAQ (Mahoney 2005), with fixed context sets.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cells.h"
#include "eccsnn/spike_codec.h"
#include "spike_lanes.h"

namespace eccsnn {

// Spikes of a context, relative to the bit that is coded. In a table, bit i of a mask stands for the i-th.
enum Neighbour : int {
  kBefore1,  // the same place, one, two, three timesteps before
  kBefore2,
  kBefore3,
  kLeft,
  kUp,
  kUpLeft,
  kUpRight,
  kLeft2,
  kUp2,
  kRightBefore,  // one timestep before: places that are not known yet in this one
  kDownBefore,
  kLeftBefore,
  kUpBefore,
  kNeighbours
};

inline constexpr int kTimeClasses =
    4;  // timesteps 0, 1, 2 and all later ones have probabilities of their own
inline constexpr int kMaxSets = 6;
inline constexpr int kMaxContextBits = 8;  // of neighbours, a set
inline constexpr std::size_t kMaxCells = std::size_t{1} << 24;
inline constexpr std::int32_t kMaxWeight = std::int32_t{1} << 24;  // in tables: 256; learnt ones are near 1

inline int time_class(std::int64_t timestep) {
  return timestep < kTimeClasses - 1 ? static_cast<int>(timestep) : kTimeClasses - 1;
}

struct ContextSet {
  bool per_channel = false, per_position = false;
  bool with_count = false;   // spikes among the channels before, at this place and timestep: 0, 1, 2, more
  int recent = 0;            // how many of the channels just before, at this place and timestep
  std::uint8_t limit = 255;  // of `seen`: at it, a probability moves by 1 / (limit + 1.5) of its error
  std::array<std::uint16_t, kTimeClasses> neighbours{};

  std::array<std::size_t, kTimeClasses> first_cell{};  // among those of its time class; follows from the rest
  int pattern_bits(int time) const;
  std::size_t cells(const SpikeGeometry& geometry, int time) const;
};

class SpikeModel {
 public:
  SpikeModel(const SpikeGeometry& geometry, std::vector<ContextSet> sets);

  SpikeGeometry geometry;
  std::vector<ContextSet> sets;
  std::array<std::vector<Cell>, kTimeClasses> cells;                       // of all sets, one after the other
  std::array<std::array<std::int32_t, kMaxSets>, kTimeClasses> weights{};  // in units of 2^-16
  int rate = 7;                                                            // of the weights
  std::array<std::vector<LaneWeights>, kTimeClasses> lanes;                // of each group, where lanes fit
  int lane_bias_shift = 7, lane_weight_shift = 8;
};

// The timesteps that contexts look at, each with a border of zeros.
class SpikeHistory {
 public:
  static constexpr std::int64_t kBorder = 2;
  static constexpr int kFrames = 4;

  explicit SpikeHistory(const SpikeGeometry& geometry);

  // Starts the next timestep, all zeros.
  void advance();
  // Packed rows to and from the current timestep.
  void put(const std::uint8_t* packed);
  void get(std::uint8_t* packed) const;
  // First byte of a position, `back` timesteps ago.
  std::uint8_t* at(int back, std::int64_t row, std::int64_t column) {
    return frames_.data() + static_cast<std::int64_t>((now_ + kFrames - back) % kFrames) * frame_bytes_ +
           ((row + kBorder) * pitch_ + column + kBorder) * stride_;
  }
  // From the byte of a position to that of a neighbour.
  std::int64_t offset(int neighbour) const;
  static int back(int neighbour);

 private:
  std::int64_t height_, width_, stride_, pitch_, frame_bytes_;
  std::vector<std::uint8_t> frames_;
  int now_ = 0;
};

// Cells and weights as a stream has adapted them.
struct SpikeModelState {
  std::array<std::vector<Cell>, kTimeClasses> cells;  // empty until they are needed
  std::array<std::array<std::int32_t, kMaxSets>, kTimeClasses> weights{};
  std::array<std::vector<LaneWeights>, kTimeClasses> lanes;

  explicit SpikeModelState(const SpikeModel& model) : weights(model.weights), lanes(model.lanes) {}
};

// What the lanes' kernels need for the current timestep of `history`.
LaneArgs lane_args(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history,
                   std::int64_t timestep);

// Codes the current timestep of `history`, and adapts `state`. The encoder reads its spikes there, the
// decoder puts them.
class RangeEncoder;
class RangeDecoder;
void encode_adaptive(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history,
                     std::int64_t timestep, RangeEncoder& coder);
void decode_adaptive(const SpikeModel& model, SpikeModelState& state, SpikeHistory& history,
                     std::int64_t timestep, RangeDecoder& coder);

// The logistic function and its inverse, on integers: logits in units of 2^-8 between -2047 and 2047,
// probabilities in units of 2^-16 (squash) and 2^-12 (stretch).
std::uint32_t squash(std::int32_t logit);
std::int32_t stretch(std::uint32_t probability12);

}  // namespace eccsnn
