// Positions of events in a frame, compiled once per instruction set (dispatch.h): a plain loop without
// branches, which the compiler makes vectors of.
#include <cstdint>

namespace eccsnn::ECCSNN_ISA_NAMESPACE {

bool place_events_kernel(const std::uint16_t* __restrict x, const std::uint16_t* __restrict y,
                         const std::uint8_t* __restrict polarity, std::int64_t count, std::int32_t height,
                         std::int32_t width, std::int32_t* __restrict places) {
  // Unsigned: where an event lies outside, its position may wrap around, and is not used.
  const std::uint32_t columns = static_cast<std::uint32_t>(width), rows = static_cast<std::uint32_t>(height);
  const std::uint32_t plane = columns * rows;
  std::uint32_t most_x = 0, most_y = 0, most_polarity = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t column = x[i], row = y[i], channel = polarity[i];
    places[i] = static_cast<std::int32_t>(channel * plane + row * columns + column);
    most_x = column > most_x ? column : most_x;
    most_y = row > most_y ? row : most_y;
    most_polarity = channel > most_polarity ? channel : most_polarity;
  }
  return most_x < columns && most_y < rows && most_polarity <= 1;
}

}  // namespace eccsnn::ECCSNN_ISA_NAMESPACE
