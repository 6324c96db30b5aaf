// libFuzzer target: every decoder of the spike codec on arbitrary bytes.
//
// The first byte chooses a geometry, the second how the rest is cut into packets; where the bytes of the
// checks would never be hit by chance, they are set right, so that the decoders behind them are reached.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "checksum.h"
#include "eccsnn/spike_codec.h"

namespace {

const eccsnn::SpikeGeometry kGeometries[] = {{1, 1, 1}, {2, 8, 8}, {3, 5, 7}, {16, 8, 8}, {32, 64, 33}};

void decode_tables(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  const std::uint32_t crc = eccsnn::crc32(data, size);
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
  try {
    const auto tables = eccsnn::SpikeTables::parse(bytes.data(), bytes.size());
    const eccsnn::SpikeGeometry& geometry = tables->geometry();
    if (geometry.bits() > 1 << 16) return;
    // Spikes of the same bytes, from their end, over timesteps of every class: they run through the tables.
    std::vector<std::uint8_t> packed(static_cast<std::size_t>(geometry.packed_bytes())), packet,
        back(packed.size());
    const std::size_t stride = static_cast<std::size_t>(geometry.packed_channels());
    const std::uint8_t last =
        static_cast<std::uint8_t>(255 >> (8 * stride - static_cast<std::size_t>(geometry.channels)));
    eccsnn::SpikeEncoder encoder(tables);
    eccsnn::SpikeDecoder decoder(tables);
    std::size_t from = size;
    for (int timestep = 0; timestep < 5; ++timestep) {
      for (std::size_t i = 0; i < packed.size(); ++i) {
        from = from ? from - 1 : size - 1;
        packed[i] = static_cast<std::uint8_t>(data[from] & (i % stride == stride - 1 ? last : 255));
      }
      packet.clear();
      encoder.encode(packed.data(), packet);
      decoder.decode(packet.data(), packet.size(), back.data());
      if (back != packed) std::abort();
    }
  } catch (const eccsnn::SpikePacketError&) {
  }
}

void decode_stream(const eccsnn::SpikeGeometry& geometry, std::size_t length, const std::uint8_t* data,
                   std::size_t size) {
  const auto tables = eccsnn::SpikeTables::flat(geometry);
  eccsnn::SpikeDecoder decoder(tables);
  eccsnn::SpikeEncoder encoder(tables);
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(geometry.packed_bytes())), again;
  std::vector<std::uint8_t> header;
  std::vector<std::uint8_t> silence(packed.size());
  eccsnn::SpikeEncoder(tables).encode(silence.data(), header);
  header.resize(eccsnn::kStreamHeaderBytes);
  eccsnn::PacketCheck check;
  try {
    for (std::size_t at = 0; at < size; at += length) {
      const std::size_t count = size - at < length ? size - at : length;
      std::vector<std::uint8_t> packet = decoder.timesteps() == 0 ? header : std::vector<std::uint8_t>();
      const unsigned form = data[at] >> 5;
      packet.push_back(static_cast<std::uint8_t>(form << 5 | check.next(form, data + at + 1, count - 1)));
      packet.insert(packet.end(), data + at + 1, data + at + count);
      const eccsnn::SpikeForm decoded = decoder.decode(packet.data(), packet.size(), packed.data());
      again.clear();
      const eccsnn::SpikeForm encoded = encoder.encode(packed.data(), again);
      // The adaptive form of spikes is unique. Where the encoder takes another form, the streams part.
      if (encoded != decoded) return;
      if (again != packet && encoded == eccsnn::SpikeForm::kAdaptive) std::abort();
    }
  } catch (const eccsnn::SpikePacketError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::size_t choice = data[0] % 6;
  if (choice == 5) {
    decode_tables(data + 1, size - 1);
  } else {
    decode_stream(kGeometries[choice], 1 + data[1], data + 2, size - 2);
  }
  return 0;
}
