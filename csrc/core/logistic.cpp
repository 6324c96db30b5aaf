#include <array>

#include "spike_model.h"

namespace eccsnn {
namespace {

// round(2^16 / (1 + exp(-x))) for x = -8, -7.875, ..., 8. Written out, so that no library's exp decides about
// bits.
constexpr std::int32_t kLogistic[129] = {
    22,    25,    28,    32,    36,    41,    47,    53,    60,    68,    77,    87,    98,    111,   126,
    143,   162,   184,   208,   236,   267,   302,   342,   387,   439,   497,   562,   636,   720,   815,
    922,   1042,  1179,  1333,  1506,  1701,  1921,  2168,  2446,  2758,  3108,  3500,  3938,  4427,  4971,
    5577,  6249,  6992,  7812,  8714,  9702,  10782, 11955, 13226, 14595, 16062, 17625, 19282, 21025, 22849,
    24743, 26695, 28693, 30723, 32768, 34813, 36843, 38841, 40793, 42687, 44511, 46254, 47911, 49474, 50941,
    52310, 53581, 54754, 55834, 56822, 57724, 58544, 59287, 59959, 60565, 61109, 61598, 62036, 62428, 62778,
    63090, 63368, 63615, 63835, 64030, 64203, 64357, 64494, 64614, 64721, 64816, 64900, 64974, 65039, 65097,
    65149, 65194, 65234, 65269, 65300, 65328, 65352, 65374, 65393, 65410, 65425, 65438, 65449, 65459, 65468,
    65476, 65483, 65489, 65495, 65500, 65504, 65508, 65511, 65514,
};

constexpr std::int32_t squash_of(std::int32_t logit) {
  const std::int32_t shifted = logit + 2048, step = shifted >> 5, part = shifted & 31;
  return (kLogistic[step] * (32 - part) + kLogistic[step + 1] * part + 16) >> 5;
}

constexpr std::int32_t kLargestLogit = 2047;

struct Tables {
  std::uint16_t squash[2 * kLargestLogit + 1];
  std::int16_t stretch[4096];
};

const Tables kTables = [] {
  Tables tables{};
  for (std::int32_t x = -kLargestLogit; x <= kLargestLogit; ++x) {
    tables.squash[x + kLargestLogit] = static_cast<std::uint16_t>(squash_of(x));
  }
  std::int32_t x = -kLargestLogit;
  for (std::int32_t p = 0; p < 4096; ++p) {
    while (x < kLargestLogit && squash_of(x) < 16 * p + 8) ++x;
    tables.stretch[p] = static_cast<std::int16_t>(x);
  }
  return tables;
}();

}  // namespace

std::uint32_t squash(std::int32_t logit) {
  const std::int32_t x = logit < -kLargestLogit  ? -kLargestLogit
                         : logit > kLargestLogit ? kLargestLogit
                                                 : logit;
  return kTables.squash[x + kLargestLogit];
}

std::int32_t stretch(std::uint32_t probability12) { return kTables.stretch[probability12]; }

}  // namespace eccsnn
