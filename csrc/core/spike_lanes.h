// The form of large timesteps: 32 interleaved coders, and a model that predicts 32 channels at a time.
//
// A spike's logit is a bias of its channel plus a weight for each feature that is set: spikes that both ends
// know already, as in spike_model.h, and some products of them. What the bit then is corrects the bias and,
// where the tables ask for it, the weights. Channel c belongs to rANS state (Duda 2013) c mod 32. The results
// are those of integer arithmetic, the same on every instruction set.
//
// Source: interleaved rANS after Giesen (2014), one stream of 16-bit words for all states.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eccsnn/spike_codec.h"

namespace eccsnn {

inline constexpr int kLanes = 32;           // states, and channels that are predicted together
inline constexpr int kLaneNeighbours = 12;  // before1..3, left, up, up_left, up_right, left2, up2,
                                            // right_before, down_before, left_before; see spike_model.h
inline constexpr int kLaneFeatures = kLaneNeighbours + 4;  // and products: before1 with before2, with left,
                                                           // with up; left with up
inline constexpr int kLaneChanceBits = 15;
inline constexpr std::uint32_t kLaneLow = 1u << 16;  // states are at least this between two spikes
inline constexpr std::int64_t kLeastLaneBits = std::int64_t{1} << 16;

// Timesteps that are written in lanes rather than in the adaptive form.
inline bool fits_lanes(const SpikeGeometry& geometry) {
  return geometry.bits() >= kLeastLaneBits && geometry.channels >= kLanes;
}

// One group of channels: row 0 is the bias, then a weight a feature, in units of 2^-12.
using LaneWeights = std::array<std::int16_t, (1 + kLaneFeatures) * kLanes>;

struct LaneArgs {
  std::int64_t channels, height, width;
  std::int64_t tail;                               // last positions of the last row, which are not in lanes
  std::uint8_t* origin;                            // of the current timestep's first position
  std::int64_t pitch_bytes, stride;                // from a row, from a position to the next
  std::array<std::int64_t, kLaneNeighbours> from;  // bytes from a position to its neighbour's
  LaneWeights* weights;                            // of each group, adapted
  int bias_shift, weight_shift;                    // how slowly they are; weight_shift 0: weights stay
  const std::int16_t* chances;                     // of 128 logits

  std::int64_t groups() const { return (channels + kLanes - 1) / kLanes; }
};

// The states begin with two bytes each in their lower halves that would else be lost: there a range coder's
// packet of the tail travels.
inline constexpr std::int64_t kTailBytes = 2 * kLanes;
inline std::int64_t most_lane_tail(const SpikeGeometry& geometry) {
  return geometry.width < 255 ? geometry.width : 255;
}

// Predicts the spikes at `origin`, those of the tail, too: chances of a 1, uint16 [H, W, groups, 32].
void predict_lanes(const LaneArgs& args, std::uint16_t* chances);
// Writes them backwards, with their chances; returns the first word, below `end`. `states` come out. There is
// room for most_lane_words() below `end`.
std::uint16_t* put_lanes(const LaneArgs& args, const std::uint16_t* chances, std::uint32_t* states,
                         std::uint16_t* end);
// Decodes into `origin`; `words` has 32 words more than `count`. Returns words read, or -1 where they end too
// early.
std::int64_t get_lanes(const LaneArgs& args, std::uint32_t* states, const std::uint16_t* words,
                       std::int64_t count);

// Decodes the tail after the rest: `decode` gives the bits of 32 channels, of which those in `active` exist.
using TailDecoder = std::uint32_t (*)(void* coder, const std::uint16_t* chances, std::uint32_t active);
void get_lane_tail(const LaneArgs& args, TailDecoder decode, void* coder);

// Words that put_lanes touches at most.
inline std::int64_t most_lane_words(const LaneArgs& args) {
  return args.height * args.width * args.groups() * kLanes + kLanes;
}

// Chances in units of 2^-15 for the logits (i - 63.5) / 8.
const std::int16_t* lane_chances();

}  // namespace eccsnn
