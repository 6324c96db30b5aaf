#include "eccsnn/event_frames.h"

#include <algorithm>
#include <vector>

#include "event_frames_dispatch.h"

namespace eccsnn {
namespace {

// Where a sensor's columns and rows go in the output.
struct PixelMap {
  explicit PixelMap(const EventSlices& args)
      : column(static_cast<std::size_t>(args.sensor_width)),
        row(static_cast<std::size_t>(args.sensor_height)) {
    for (std::size_t x = 0; x < column.size(); ++x) {
      column[x] = static_cast<std::int32_t>(static_cast<std::int64_t>(x) * args.width / args.sensor_width);
    }
    for (std::size_t y = 0; y < row.size(); ++y) {
      row[y] = static_cast<std::int64_t>(y) * args.height / args.sensor_height * args.width;
    }
  }
  std::vector<std::int32_t> column;
  std::vector<std::int64_t> row;  // a plane may have more than 2^31 pixels
};

// Clears each slice's output and calls put(output, pixel, polarity, event) for its events.
template <class T, class Put>
std::int64_t over_events(const EventSlices& args, T* outputs, std::int64_t size, T empty, std::int64_t begin,
                         std::int64_t end, const Put& put) {
  const PixelMap map(args);
  const std::int32_t* const column = map.column.data();
  const std::int64_t* const row = map.row.data();
  std::int64_t stray = -1;
  for (std::int64_t slice = begin; slice < end; ++slice) {
    T* const output = outputs + slice * size;
    std::fill_n(output, size, empty);
    const std::int64_t first = args.bounds[2 * slice], last = args.bounds[2 * slice + 1];
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t x = args.x[i], y = args.y[i];
      const unsigned polarity = args.polarity[i];
      if (x >= args.sensor_width || y >= args.sensor_height || polarity > 1) {
        if (stray < 0 || i < stray) stray = i;
        continue;
      }
      put(output, row[y] + column[x], polarity, i);
    }
  }
  return stray;
}

}  // namespace

std::int64_t count_events(const EventSlices& args, std::int32_t* counts, std::int64_t begin,
                          std::int64_t end) {
  const std::int64_t plane = args.height * args.width;
  const auto count_singly = [&](const EventSlices& some, std::int64_t first, std::int64_t last) {
    return over_events(some, counts, 2 * plane, std::int32_t{0}, first, last,
                       [plane](std::int32_t* output, std::int64_t pixel, std::int64_t polarity,
                               std::int64_t) { ++output[polarity * plane + pixel]; });
  };
  const bool is_scaled = args.height != args.sensor_height || args.width != args.sensor_width;
  // The kernel's positions are 32 bits wide.
  if (is_scaled || plane > std::int64_t{1} << 22) return count_singly(args, begin, end);
  const auto place = ECCSNN_KERNEL(place_events_kernel);
  const std::int32_t height = static_cast<std::int32_t>(args.height);
  const std::int32_t width = static_cast<std::int32_t>(args.width);
  std::int64_t stray = -1;
  for (std::int64_t slice = begin; slice < end; ++slice) {
    std::int32_t* const frame = counts + slice * 2 * plane;
    std::fill_n(frame, 2 * plane, 0);
    constexpr std::int64_t kBlock = 512;
    std::int32_t places[kBlock];
    const std::int64_t last = args.bounds[2 * slice + 1];
    for (std::int64_t i = args.bounds[2 * slice]; i < last; i += kBlock) {
      const std::int64_t count = std::min(kBlock, last - i);
      if (!place(args.x + i, args.y + i, args.polarity + i, count, height, width, places)) {
        const std::int64_t found = count_singly(args, slice, slice + 1);  // from the start, one by one
        stray = stray < 0 ? found : std::min(stray, found);
        break;
      }
      for (std::int64_t k = 0; k < count; ++k) ++frame[places[k]];
    }
  }
  return stray;
}

std::int64_t mark_events(const EventSlices& args, std::uint8_t* packed, std::int64_t begin,
                         std::int64_t end) {
  return over_events(args, packed, args.height * args.width, std::uint8_t{0}, begin, end,
                     [](std::uint8_t* output, std::int64_t pixel, unsigned polarity, std::int64_t) {
                       output[pixel] = static_cast<std::uint8_t>(output[pixel] | 1u << polarity);
                     });
}

std::int64_t latest_events(const EventSlices& args, std::int64_t* latest_us, std::int64_t begin,
                           std::int64_t end) {
  const std::int64_t plane = args.height * args.width;
  return over_events(args, latest_us, 2 * plane, std::int64_t{-1}, begin, end,
                     [plane, t_us = args.t_us](std::int64_t* output, std::int64_t pixel,
                                               std::int64_t polarity, std::int64_t i) {
                       std::int64_t& latest = output[polarity * plane + pixel];
                       latest = std::max(latest, t_us[i]);
                     });
}

std::int64_t sum_voxels(const EventSlices& args, std::int64_t bins, std::int64_t* sums, std::int64_t begin,
                        std::int64_t end) {
  const std::int64_t plane = args.height * args.width;
  std::int64_t stray = -1;
  for (std::int64_t slice = begin; slice < end; ++slice) {
    const std::int64_t first = args.bounds[2 * slice], last = args.bounds[2 * slice + 1];
    const std::int64_t start = first < last ? args.t_us[first] : 0;
    const std::int64_t duration = std::max<std::int64_t>(1, first < last ? args.t_us[last - 1] - start : 0);
    const std::int64_t found = over_events(
        args, sums, bins * plane, std::int64_t{0}, slice, slice + 1,
        [&](std::int64_t* output, std::int64_t pixel, unsigned polarity, std::int64_t i) {
          const std::int64_t scaled = (bins - 1) * (args.t_us[i] - start);
          const std::int64_t bin = scaled / duration, right = scaled % duration, left = duration - right;
          std::int64_t* const at = output + bin * plane + pixel;
          at[0] += polarity ? left : -left;
          if (right != 0) at[plane] += polarity ? right : -right;
        });
    if (found >= 0 && (stray < 0 || found < stray)) stray = found;
  }
  return stray;
}

}  // namespace eccsnn
