// A row of the simulated sensor, compiled once per instruction set (dispatch.h).
#include "event_simulator.h"
#include "vec.h"

namespace eccsnn::ECCSNN_ISA_NAMESPACE {

void sample_row_kernel(const SimulatorRow& row, const std::uint16_t* upper, const std::uint16_t* lower,
                       const SampleWeights& weights) {
  const std::int32_t w00 = weights.at[0][0], w01 = weights.at[0][1];
  const std::int32_t w10 = weights.at[1][0], w11 = weights.at[1][1];
  std::int32_t* __restrict to = row.intensity;
  for (std::int64_t x = 0; x < row.width; ++x) {
    const std::int32_t sum = upper[x] * w00 + upper[x + 1] * w01 + lower[x] * w10 + lower[x + 1] * w11;
    to[x] = (sum + 2048) >> 12;
  }
}

void advance_row_kernel(const SimulatorRow& row, const float* table, float leak, std::int32_t end_us) {
  using Floats = Vec<float>;
  using Ints = VecInt<float>;
  constexpr int kLanes = kWidth<float>;
  const Floats leaks = splat(leak);
  for (std::int64_t group = 0; group < row.width; group += kSimulatorGroup) {
    std::uint64_t crossed = 0;
    for (std::int64_t k = 0; k < kSimulatorGroup; k += kLanes) {
      const std::int64_t x = group + k;
      float looked_up[kLanes];
      for (int i = 0; i < kLanes; ++i) looked_up[i] = table[row.intensity[x + i]];
      const Floats light = load_bytes<Floats>(looked_up, kLanes);
      const Floats on = load_bytes<Floats>(row.threshold_on + x, kLanes);
      const Floats off = load_bytes<Floats>(row.threshold_off + x, kLanes);
      const Floats held = load_bytes<Floats>(row.log_intensity + x, kLanes);
      const Floats before = load_bytes<Floats>(row.difference + x, kLanes);
      const Ints noise = load_bytes<Ints>(row.next_noise_us + x, kLanes);
      const Floats now = before + (light - held) + leaks * on;
      store_bytes(row.before + x, before, kLanes);
      store_bytes(row.difference + x, now, kLanes);
      store_bytes(row.log_intensity + x, light, kLanes);
      const Ints any = (now >= on) | (now <= -off) | (noise <= end_us);
      crossed |= static_cast<std::uint64_t>(lanes_set<float>(any)) << k;
    }
    row.crossed[group / kSimulatorGroup] = crossed;
  }
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
