// libFuzzer target: the state file of CountStatistics on arbitrary bytes. With the checksum set right, the
// checks behind it are reached; whatever is accepted must give the same bytes again, and hold no entry that
// could make a sum of states wrap around.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "checksum.h"
#include "eccsnn/count_statistics.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  for (const bool right : {false, true}) {
    if (right) {
      if (size < 4) return 0;
      const std::uint32_t crc = eccsnn::crc32(bytes.data(), size - 4);
      for (std::size_t i = 0; i < 4; ++i) bytes[size - 4 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
    }
    try {
      eccsnn::CountStatistics::Source source;
      const auto state = eccsnn::CountStatistics::parse(bytes.data(), bytes.size(), &source);
      if (state.serialize(source) != bytes) std::abort();
      for (std::int64_t i = 0; i < state.features(); ++i) {
        for (std::int64_t j = i; j < state.features(); ++j) {
          const long double entry = static_cast<long double>(state.moment(i, j));
          const long double bound =
              static_cast<long double>(state.moment(i, i)) * static_cast<long double>(state.moment(j, j));
          // Rounding to 64 bits keeps the order of the two products.
          if (entry < 0 || entry * entry > bound) std::abort();
        }
      }
    } catch (const eccsnn::CountStatisticsError&) {
    }
  }
  return 0;
}
