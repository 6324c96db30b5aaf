#include "eccsnn/event_files.h"

#include <algorithm>

#include "event_files_dispatch.h"

namespace eccsnn {
namespace {

constexpr std::uint32_t kAtisStamps = 0x7fffff;
constexpr std::int64_t kLargestTime = 0xffffffff;

std::uint32_t big_endian_32(const std::uint8_t* from) {
  return static_cast<std::uint32_t>(from[0]) << 24 | static_cast<std::uint32_t>(from[1]) << 16 |
         static_cast<std::uint32_t>(from[2]) << 8 | from[3];
}

void put_big_endian_32(std::uint32_t value, std::uint8_t* to) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
}

EventArrays from(const EventArrays& arrays, std::int64_t i) {
  return {arrays.t + i, arrays.x + i, arrays.y + i, arrays.polarity + i};
}

std::string size_of(int width, int height) { return std::to_string(width) + " x " + std::to_string(height); }

}  // namespace

EventDecoder::EventDecoder(EventFormat format, int width, int height, bool skip, std::int64_t offset)
    : format_(format), width_(width), height_(height), skip_(skip), offset_(offset) {
  const bool fits = format == EventFormat::kAedat2
                        ? width == kDvs128Size && height == kDvs128Size
                        : width >= 1 && width <= kAtisColumns && height >= 1 && height <= kAtisOverflowRow;
  if (!fits) {
    throw std::invalid_argument("the sensor is " + size_of(width, height) + " px, expected " +
                                (format == EventFormat::kAedat2 ? "128 x 128 for AEDAT 2.0 of a DVS128"
                                                                : "at most 256 x 240 for the ATIS binary"));
  }
}

std::int64_t EventDecoder::decode(const std::uint8_t* bytes, std::size_t size, const EventArrays& out) {
  const auto length = static_cast<std::size_t>(record_bytes(format_));
  const auto count = static_cast<std::int64_t>(size / length);
  const auto kernel = format_ == EventFormat::kAedat2 ? ECCSNN_KERNEL(decode_aedat2_kernel)
                                                      : ECCSNN_KERNEL(decode_atis_kernel);
  std::int64_t written = 0, block = 0;
  for (std::int64_t begin = 0; begin < count; begin += block) {
    // The first event has none before it, from which it could be a step.
    block = started_ ? std::min(kEventBlock, count - begin) : 1;
    const std::uint8_t* const at = bytes + static_cast<std::size_t>(begin) * length;
    const EventArrays to = from(out, written);
    const std::int64_t base = format_ == EventFormat::kAedat2 ? last_t_ & ~kLargestTime : base_;
    if (started_ && kernel({at, block, base, last_t_, width_, height_}, to)) {
      last_t_ = to.t[block - 1];
      records_ += block;
      written += block;
    } else {
      written += decode_slowly(at, block, to);
    }
  }
  if (const auto rest = static_cast<std::int64_t>(size % length); rest != 0) {
    fault(faults_.truncated_bytes, rest, records_,
          "the file ends after " + std::to_string(rest) + " of the " + std::to_string(length) +
              " bytes of an event: it is truncated");
  }
  return written;
}

// One record after the other, in the order of the rules: what is no event, where it is, when it is.
std::int64_t EventDecoder::decode_slowly(const std::uint8_t* bytes, std::int64_t count,
                                         const EventArrays& out) {
  std::int64_t written = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t record = records_++;
    std::uint32_t x, y, polarity;
    std::int64_t t;
    if (format_ == EventFormat::kAedat2) {
      const std::uint32_t address = big_endian_32(bytes + 8 * i), stamp = big_endian_32(bytes + 8 * i + 4);
      if (address >> 15 != 0) {
        fault(faults_.outside, 1, record,
              "address " + std::to_string(address) +
                  " has bits above the 15 of a DVS128: an external event, or another camera");
        continue;
      }
      x = 127 - (address >> 8 & 127);
      y = 127 - (address >> 1 & 127);
      polarity = ~address & 1;
      t = started_ ? last_t_ + static_cast<std::int32_t>(stamp - static_cast<std::uint32_t>(last_t_)) : stamp;
    } else {
      const std::uint8_t* const at = bytes + 5 * i;
      x = at[0];
      y = at[1];
      if (y == kAtisOverflowRow) {
        base_ += kAtisOverflow;
        continue;
      }
      if (x >= static_cast<std::uint32_t>(width_) || y >= static_cast<std::uint32_t>(height_)) {
        fault(faults_.outside, 1, record,
              "x = " + std::to_string(x) + ", y = " + std::to_string(y) + " is outside the sensor of " +
                  size_of(width_, height_) + " px");
        continue;
      }
      polarity = at[2] >> 7;
      t = base_ + (big_endian_32(at + 1) & kAtisStamps);
    }
    if (t < last_t_) {
      fault(faults_.time_back, 1, record,
            "time goes back from " + std::to_string(last_t_) + " to " + std::to_string(t) + " us");
      continue;
    }
    last_t_ = t;
    started_ = true;
    out.t[written] = t;
    out.x[written] = static_cast<std::uint16_t>(x);
    out.y[written] = static_cast<std::uint16_t>(y);
    out.polarity[written] = static_cast<std::uint8_t>(polarity);
    ++written;
  }
  return written;
}

void EventDecoder::fault(std::int64_t& counter, std::int64_t amount, std::int64_t record,
                         const std::string& what) {
  const std::string message = "byte " + std::to_string(offset_ + record * record_bytes(format_)) +
                              " (event " + std::to_string(record) + "): " + what;
  if (!skip_) throw EventFileError(message);
  if (faults_.first.empty()) faults_.first = message;
  counter += amount;
}

void EventEncoder::encode(const EventView& events, std::int64_t count, std::vector<std::uint8_t>& out) {
  const std::size_t before = out.size();
  const EventEncoder self = *this;
  try {
    if (format_ == EventFormat::kAedat2) {
      encode_aedat2(events, count, out);
    } else {
      encode_atis(events, count, out);
    }
  } catch (...) {
    out.resize(before);
    *this = self;
    throw;
  }
}

// What both formats ask of an event; `width` and `height` are the largest that they hold.
void EventEncoder::check(const EventView& events, std::int64_t i, int width, int height) const {
  if (events.x[i] >= width || events.y[i] >= height) {
    refuse("x = " + std::to_string(events.x[i]) + ", y = " + std::to_string(events.y[i]) +
           ", expected 0 to " + std::to_string(width - 1) + " and 0 to " + std::to_string(height - 1));
  }
  if (events.polarity[i] > 1)
    refuse("polarity is " + std::to_string(events.polarity[i]) + ", expected 0 or 1");
  if (events.t[i] < last_t_) {
    refuse("time goes back from " + std::to_string(last_t_) + " to " + std::to_string(events.t[i]) + " us");
  }
}

void EventEncoder::encode_aedat2(const EventView& events, std::int64_t count,
                                 std::vector<std::uint8_t>& out) {
  const std::size_t begin = out.size();
  out.resize(begin + 8 * static_cast<std::size_t>(count));
  std::uint8_t* to = out.data() + begin;
  for (std::int64_t i = 0; i < count; ++i, ++events_, to += 8) {
    check(events, i, kDvs128Size, kDvs128Size);
    const std::int64_t t = events.t[i];
    // What a reader could not tell from a step back.
    const std::int64_t limit = events_ == 0 ? kLargestTime : last_t_ + 0x7fffffff;
    if (t > limit) {
      refuse("t is " + std::to_string(t) + " us, expected at most " + std::to_string(limit) +
             ": timestamps have 32 bits and wrap, so that a recording begins below 2^32 us and has no pause "
             "of 2^31 us");
    }
    const std::uint32_t column = 127u - events.x[i], row = 127u - events.y[i],
                        darker = 1u - events.polarity[i];
    put_big_endian_32(column << 8 | row << 1 | darker, to);
    put_big_endian_32(static_cast<std::uint32_t>(t), to + 4);
    last_t_ = t;
  }
}

void EventEncoder::encode_atis(const EventView& events, std::int64_t count, std::vector<std::uint8_t>& out) {
  std::size_t at = out.size();
  out.resize(at + 5 * static_cast<std::size_t>(count));
  const auto put = [&](std::uint32_t column, std::uint32_t row, std::uint32_t rest) {
    std::uint8_t* const to = out.data() + at;
    to[0] = static_cast<std::uint8_t>(column);
    put_big_endian_32(row << 24 | rest, to + 1);
    at += 5;
  };
  for (std::int64_t i = 0; i < count; ++i, ++events_) {
    check(events, i, kAtisColumns, kAtisOverflowRow);
    const std::int64_t t = events.t[i];
    if (t > kLargestTime) refuse("t is " + std::to_string(t) + " us, expected below 2^32 us");
    for (; t - base_ > kAtisStamps; base_ += kAtisOverflow) {
      out.resize(out.size() + 5);
      put(0, kAtisOverflowRow, 0);
    }
    put(events.x[i], events.y[i],
        static_cast<std::uint32_t>(events.polarity[i]) << 23 | static_cast<std::uint32_t>(t - base_));
    last_t_ = t;
  }
}

void EventEncoder::refuse(const std::string& what) const {
  throw EventFileError("event " + std::to_string(events_) + " cannot be written: " + what);
}

}  // namespace eccsnn
