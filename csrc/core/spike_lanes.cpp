#include "spike_lanes.h"

#include "spike_lanes_dispatch.h"

namespace eccsnn {
namespace {

// round(2^15 / (1 + exp(-x))) for x = (i - 63.5) / 8, at least 8 and at most 2^15 - 8. Written out, so that
// no library's exp decides about bits.
alignas(64) constexpr std::int16_t kChances[128] = {
    12,    13,    15,    17,    19,    22,    25,    28,    32,    36,    41,    46,    52,    59,    67,
    76,    86,    98,    111,   125,   142,   161,   182,   206,   233,   264,   299,   338,   383,   433,
    490,   554,   627,   708,   800,   904,   1021,  1152,  1299,  1464,  1649,  1856,  2088,  2346,  2633,
    2952,  3306,  3696,  4126,  4599,  5115,  5678,  6289,  6949,  7658,  8416,  9221,  10072, 10964, 11894,
    12856, 13845, 14852, 15872, 16896, 17916, 18923, 19912, 20874, 21804, 22696, 23547, 24352, 25110, 25819,
    26479, 27090, 27653, 28169, 28642, 29072, 29462, 29816, 30135, 30422, 30680, 30912, 31119, 31304, 31469,
    31616, 31747, 31864, 31968, 32060, 32141, 32214, 32278, 32335, 32385, 32430, 32469, 32504, 32535, 32562,
    32586, 32607, 32626, 32643, 32657, 32670, 32682, 32692, 32701, 32709, 32716, 32722, 32727, 32732, 32736,
    32740, 32743, 32746, 32749, 32751, 32753, 32755, 32756,
};

}  // namespace

const std::int16_t* lane_chances() { return kChances; }

void predict_lanes(const LaneArgs& args, std::uint16_t* chances) {
  ECCSNN_KERNEL(predict_lanes_kernel)(args, chances);
}

std::uint16_t* put_lanes(const LaneArgs& args, const std::uint16_t* chances, std::uint32_t* states,
                         std::uint16_t* end) {
  return ECCSNN_KERNEL(put_lanes_kernel)(args, chances, states, end);
}

void get_lane_tail(const LaneArgs& args, TailDecoder decode, void* coder) {
  ECCSNN_KERNEL(get_lane_tail_kernel)(args, decode, coder);
}

std::int64_t get_lanes(const LaneArgs& args, std::uint32_t* states, const std::uint16_t* words,
                       std::int64_t count) {
  return ECCSNN_KERNEL(get_lanes_kernel)(args, states, words, count);
}

}  // namespace eccsnn
