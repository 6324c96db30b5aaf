// libFuzzer target: the records of AEDAT 2.0 and ATIS files on arbitrary bytes.
//
// The first byte chooses format, sensor and policy, the second the size of blocks. Whatever is decoded has to
// be in order, the same in one block, and come back when it is written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "eccsnn/event_files.h"

namespace {

using namespace eccsnn;

struct Columns {
  explicit Columns(std::size_t n) : t(n), x(n), y(n), polarity(n) {}
  EventArrays at(std::size_t i) { return {t.data() + i, x.data() + i, y.data() + i, polarity.data() + i}; }
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

Columns decode(EventDecoder& decoder, const std::uint8_t* data, std::size_t size, std::size_t block,
               std::size_t length) {
  Columns out(size / length);
  std::size_t count = 0;
  for (std::size_t i = 0; i < size; i += block * length) {
    const std::size_t bytes = size - i < block * length ? size - i : block * length;
    count += static_cast<std::size_t>(decoder.decode(data + i, bytes, out.at(count)));
  }
  out.resize(count);
  return out;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const EventFormat format = data[0] & 1 ? EventFormat::kAtis : EventFormat::kAedat2;
  const bool skip = data[0] & 2;
  const int width = format == EventFormat::kAedat2 ? 128 : data[0] & 4 ? 34 : 240;
  const int height = format == EventFormat::kAedat2 ? 128 : data[0] & 4 ? 34 : 180;
  const auto length = static_cast<std::size_t>(record_bytes(format));
  const std::size_t block = 1 + data[1];
  data += 2;
  size -= 2;
  try {
    EventDecoder decoder(format, width, height, skip, 0), whole(format, width, height, skip, 0);
    const Columns events = decode(decoder, data, size, block, length);
    require(events == decode(whole, data, size, size / length + 1, length));
    require(skip || decoder.faults().first.empty());
    for (std::size_t i = 0; i < events.t.size(); ++i) {
      require(events.t[i] >= (i == 0 ? 0 : events.t[i - 1]) && events.polarity[i] <= 1);
      require(events.x[i] < width && events.y[i] < height);
    }
    std::vector<std::uint8_t> bytes;
    EventEncoder(format).encode({events.t.data(), events.x.data(), events.y.data(), events.polarity.data()},
                                static_cast<std::int64_t>(events.t.size()), bytes);
    EventDecoder again(format, width, height, false, 0);
    Columns out = decode(again, bytes.data(), bytes.size(), bytes.size() / length + 1, length);
    require(events == out);
  } catch (const EventFileError&) {
  }
  return 0;
}
