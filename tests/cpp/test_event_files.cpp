// Event records: every instruction set against the slow, plain rules, and what the rules say.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "event_files_dispatch.h"

namespace eccsnn {
namespace {

struct Columns {
  explicit Columns(std::size_t n) : t(n), x(n), y(n), polarity(n) {}
  EventArrays arrays(std::size_t at = 0) {
    return {t.data() + at, x.data() + at, y.data() + at, polarity.data() + at};
  }
  EventView view() const { return {t.data(), x.data(), y.data(), polarity.data()}; }
  void resize(std::size_t n) {
    t.resize(n);
    x.resize(n);
    y.resize(n);
    polarity.resize(n);
  }
  bool operator==(const Columns&) const = default;
  std::vector<std::int64_t> t;
  std::vector<std::uint16_t> x, y;
  std::vector<std::uint8_t> polarity;
};

Columns random_events(std::size_t count, int width, int height, std::int64_t step, std::uint32_t seed = 0) {
  std::mt19937 random(seed);
  Columns events(count);
  std::int64_t t = 0;
  for (std::size_t i = 0; i < count; ++i) {
    events.t[i] = t += static_cast<std::int64_t>(random() % static_cast<std::uint32_t>(step));
    events.x[i] = static_cast<std::uint16_t>(random() % static_cast<std::uint32_t>(width));
    events.y[i] = static_cast<std::uint16_t>(random() % static_cast<std::uint32_t>(height));
    events.polarity[i] = static_cast<std::uint8_t>(random() % 2);
  }
  return events;
}

std::vector<std::uint8_t> encoded(EventFormat format, const Columns& events) {
  std::vector<std::uint8_t> bytes;
  EventEncoder(format).encode(events.view(), static_cast<std::int64_t>(events.t.size()), bytes);
  return bytes;
}

// Decodes in blocks of so many records.
Columns decoded(EventDecoder& decoder, EventFormat format, const std::vector<std::uint8_t>& bytes,
                std::size_t block) {
  const auto length = static_cast<std::size_t>(record_bytes(format));
  Columns events(bytes.size() / length);
  std::size_t written = 0;
  for (std::size_t at = 0; at < bytes.size(); at += block * length) {
    const std::size_t size = std::min(block * length, bytes.size() - at);
    written += static_cast<std::size_t>(decoder.decode(bytes.data() + at, size, events.arrays(written)));
  }
  events.resize(written);
  return events;
}

std::string message_of(EventDecoder decoder, EventFormat format, const std::vector<std::uint8_t>& bytes) {
  try {
    decoded(decoder, format, bytes, 1000);
  } catch (const EventFileError& error) {
    return error.what();
  }
  return "no error";
}

struct Case {
  EventFormat format;
  int width, height;
};
const Case kCases[] = {{EventFormat::kAedat2, 128, 128}, {EventFormat::kAtis, 240, 180}};

using Kernel = bool (*)(const EventRecords&, const EventArrays&);
std::vector<Kernel> kernels(EventFormat format) {
  const bool aedat = format == EventFormat::kAedat2;
  std::vector<Kernel> found{aedat ? &baseline::decode_aedat2_kernel : &baseline::decode_atis_kernel};
#ifdef ECCSNN_HAVE_X86_KERNELS
  const Isa supported = isa_choice().supported;
  if (supported >= Isa::kAvx2)
    found.push_back(aedat ? &avx2::decode_aedat2_kernel : &avx2::decode_atis_kernel);
  if (supported >= Isa::kAvx512) {
    found.push_back(aedat ? &avx512::decode_aedat2_kernel : &avx512::decode_atis_kernel);
  }
#endif
  return found;
}

TEST(EventFiles, ComeBackInBlocksOfAnySize) {
  for (const Case& c : kCases) {
    for (const std::size_t count : {0u, 1u, 2u, 63u, 2048u, 2049u, 10001u}) {
      const Columns events = random_events(count, c.width, c.height, 700);
      const std::vector<std::uint8_t> bytes = encoded(c.format, events);
      for (const std::size_t block : {1u, 7u, 2048u, 100000u}) {
        EventDecoder decoder(c.format, c.width, c.height, false, 0);
        EXPECT_EQ(decoded(decoder, c.format, bytes, block), events) << count << " in blocks of " << block;
        EXPECT_EQ(decoder.records(), static_cast<std::int64_t>(count));
      }
    }
  }
}

TEST(EventFiles, KernelsOfAllInstructionSetsAgree) {
  for (const Case& c : kCases) {
    for (const std::size_t count : {1u, 15u, 64u, 2048u}) {
      const Columns events = random_events(count, c.width, c.height, 9);
      const std::vector<std::uint8_t> bytes = encoded(c.format, events);
      for (const Kernel kernel : kernels(c.format)) {
        Columns out(count);
        const EventRecords records{bytes.data(), static_cast<std::int64_t>(count), 0, 0, c.width, c.height};
        EXPECT_TRUE(kernel(records, out.arrays()));
        EXPECT_EQ(out, events);
        // One record out of order, wherever it is, is seen.
        for (std::size_t at = 0; at < count; at += 1 + count / 7) {
          std::vector<std::uint8_t> bad = bytes;
          const std::size_t record = at * static_cast<std::size_t>(record_bytes(c.format));
          bad[record] = 0xff;  // an address of another camera, or a column outside
          EXPECT_FALSE(
              kernel({bad.data(), static_cast<std::int64_t>(count), 0, 0, c.width, c.height}, out.arrays()));
        }
        EXPECT_FALSE(
            kernel({bytes.data(), static_cast<std::int64_t>(count), 0, events.t[0] + 1, c.width, c.height},
                   out.arrays()));
      }
    }
  }
}

TEST(EventFiles, BadRecordsAreNamedOrCounted) {
  for (const Case& c : kCases) {
    const std::size_t count = 3000, length = static_cast<std::size_t>(record_bytes(c.format));
    const Columns events = random_events(count, c.width, c.height, 9);
    std::vector<std::uint8_t> bytes = encoded(c.format, events);
    bytes[2500 * length] = 0xff;
    const std::string message = message_of({c.format, c.width, c.height, false, 100}, c.format, bytes);
    EXPECT_EQ(message.find("byte " + std::to_string(100 + 2500 * length) + " (event 2500): "), 0u) << message;
    EventDecoder skipping(c.format, c.width, c.height, true, 100);
    Columns left = events;
    left.t.erase(left.t.begin() + 2500);
    left.x.erase(left.x.begin() + 2500);
    left.y.erase(left.y.begin() + 2500);
    left.polarity.erase(left.polarity.begin() + 2500);
    EXPECT_EQ(decoded(skipping, c.format, bytes, 999), left);
    EXPECT_EQ(skipping.faults().outside, 1);
    EXPECT_EQ(skipping.faults().first, message);
    bytes.pop_back();
    decoded(skipping = EventDecoder(c.format, c.width, c.height, true, 0), c.format, bytes, 999);
    EXPECT_EQ(skipping.faults().truncated_bytes, static_cast<std::int64_t>(length) - 1);
  }
}

TEST(EventFiles, TimeGoesBackOnlyBelowTheLastGoodEvent) {
  Columns events(4);
  events.t = {10, 20, 30, 40};
  std::vector<std::uint8_t> bytes = encoded(EventFormat::kAedat2, events);
  bytes[8 + 7] = 5;  // 10, 5, 30, 40
  EventDecoder decoder(EventFormat::kAedat2, 128, 128, true, 0);
  EXPECT_EQ(decoded(decoder, EventFormat::kAedat2, bytes, 4).t, (std::vector<std::int64_t>{10, 30, 40}));
  EXPECT_EQ(decoder.faults().time_back, 1);
  EXPECT_EQ(message_of({EventFormat::kAedat2, 128, 128, false, 0}, EventFormat::kAedat2, bytes),
            "byte 8 (event 1): time goes back from 10 to 5 us");
}

TEST(EventFiles, StepsOfAedatAreModulo32Bits) {
  const std::int64_t wrap = std::int64_t{1} << 32, half = wrap / 2;
  Columns events(5);
  events.t = {wrap - 1, wrap, wrap + half - 1, wrap + 2 * half - 2, wrap + 3 * half - 3};
  const std::vector<std::uint8_t> bytes = encoded(EventFormat::kAedat2, events);
  for (const std::size_t block : {1u, 5u}) {
    EventDecoder decoder(EventFormat::kAedat2, 128, 128, false, 0);
    EXPECT_EQ(decoded(decoder, EventFormat::kAedat2, bytes, block), events);
  }
  // A step of 2^31 is one back, in whichever path it is met.
  std::vector<std::uint8_t> back(16, 0);
  back[12] = 0x80;
  EXPECT_NE(
      message_of({EventFormat::kAedat2, 128, 128, false, 0}, EventFormat::kAedat2, back).find("goes back"),
      std::string::npos);
}

TEST(EventFiles, OverflowsOfAtisAddTime) {
  Columns events(4);
  events.t = {0x7fffff, 0x800000, 0x800000 + 20000, 0xffffffff};
  events.y = {0, 1, 2, 239};
  const std::vector<std::uint8_t> bytes = encoded(EventFormat::kAtis, events);
  EXPECT_GT(bytes.size(), 4u * 5u);
  for (const std::size_t block : {1u, 3u, 100000000u}) {
    EventDecoder decoder(EventFormat::kAtis, 256, 240, false, 0);
    EXPECT_EQ(decoded(decoder, EventFormat::kAtis, bytes, block), events);
  }
}

TEST(EventFiles, WhatCannotBeWrittenLeavesNothing) {
  Columns events(2);
  events.x[1] = 128;
  EventEncoder encoder(EventFormat::kAedat2);
  std::vector<std::uint8_t> bytes{1};
  EXPECT_THROW(encoder.encode(events.view(), 2, bytes), EventFileError);
  EXPECT_EQ(bytes.size(), 1u);
  events.x[1] = 127;
  encoder.encode(events.view(), 2, bytes);
  EXPECT_EQ(bytes.size(), 17u);
  events.polarity[0] = 2;
  EXPECT_THROW(encoder.encode(events.view(), 2, bytes), EventFileError);
  events.polarity[0] = 0;
  events.t = {5, 4};
  EXPECT_THROW(encoder.encode(events.view(), 2, bytes), EventFileError);
  EXPECT_THROW(EventDecoder(EventFormat::kAedat2, 240, 180, false, 0), std::invalid_argument);
  EXPECT_THROW(EventDecoder(EventFormat::kAtis, 257, 180, false, 0), std::invalid_argument);
  EXPECT_THROW(EventDecoder(EventFormat::kAtis, 240, 241, false, 0), std::invalid_argument);
}

}  // namespace
}  // namespace eccsnn
