// Lossless codec for the binary spikes of a split network: one packet a timestep, each decodable on arrival.
//
// A stream is the timesteps of one sample in order. A timestep is packed spikes uint8 [H, W, ceil(C / 8)]:
// bit i of byte j is channel 8 j + i, padding bits 0. Both ends hold the same tables, which imply the
// geometry; the stream's first packet names them. docs/spike_codec.md has the format byte by byte.
//
// Integer arithmetic only: the same bytes on every instruction set, compiler and thread. A stream belongs to
// one thread at a time; tables may be shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace eccsnn {

// Bytes from outside are not what the codec writes.
class SpikePacketError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct SpikeGeometry {
  std::int64_t channels = 0, height = 0, width = 0;

  std::int64_t positions() const { return height * width; }
  std::int64_t bits() const { return channels * positions(); }
  std::int64_t packed_channels() const { return (channels + 7) / 8; }
  std::int64_t packed_bytes() const { return positions() * packed_channels(); }
  std::int64_t dense_bytes() const { return (bits() + 7) / 8; }
  bool operator==(const SpikeGeometry&) const = default;
};

inline constexpr int kSpikeCodecVersion = 1;
inline constexpr std::int64_t kMaxSpikeChannels = 4096;
inline constexpr std::int64_t kMaxSpikeSide = 4096;
inline constexpr std::int64_t kMaxSpikeBits = std::int64_t{1} << 24;  // a timestep: 2 MiB
inline constexpr std::int64_t kMaxTimesteps = std::int64_t{1} << 20;  // a stream
inline constexpr std::size_t kStreamHeaderBytes = 8;
inline constexpr std::size_t kPacketHeaderBytes = 1;

// How a timestep was written.
enum class SpikeForm : std::uint8_t { kRaw = 0, kAddresses = 1, kRuns = 2, kAdaptive = 3, kLanes = 4 };
const char* spike_form_name(SpikeForm form);

class SpikeModel;

// What both ends know before a stream starts: the geometry, and probabilities learnt in training. Immutable.
class SpikeTables {
 public:
  // Tables that nothing was learnt for. Throws std::invalid_argument for a geometry out of the limits.
  static std::shared_ptr<const SpikeTables> flat(const SpikeGeometry& geometry);
  // Reads what the rate model of `eccsnn.nn` exports. Throws SpikePacketError.
  static std::shared_ptr<const SpikeTables> parse(const std::uint8_t* data, std::size_t size);

  const SpikeGeometry& geometry() const { return geometry_; }
  // Their name in a stream: CRC-32 of the exported bytes; of flat tables, of the geometry.
  std::uint32_t id() const { return id_; }
  const SpikeModel& model() const { return *model_; }
  ~SpikeTables();

 private:
  SpikeTables(const SpikeGeometry& geometry, std::uint32_t id, std::unique_ptr<const SpikeModel> model);
  SpikeGeometry geometry_;
  std::uint32_t id_;
  std::unique_ptr<const SpikeModel> model_;
};

struct SpikeStream;

class SpikeEncoder {
 public:
  explicit SpikeEncoder(std::shared_ptr<const SpikeTables> tables);
  SpikeEncoder(SpikeEncoder&&) noexcept;
  ~SpikeEncoder();

  // Appends the packet of the next timestep to `out` and returns its form. Throws std::invalid_argument where
  // a padding bit of `packed` (packed_bytes) is set, and std::length_error past kMaxTimesteps.
  SpikeForm encode(const std::uint8_t* packed, std::vector<std::uint8_t>& out);
  // Throws what encode would throw for any of the next `timesteps` timesteps, one after the other at
  // `packed`: before it has written some of them, which a caller that throws would lose.
  void check(const std::uint8_t* packed, std::int64_t timesteps) const;
  // Packets written so far.
  std::int64_t timesteps() const;

 private:
  std::unique_ptr<SpikeStream> stream_;
};

class SpikeDecoder {
 public:
  explicit SpikeDecoder(std::shared_ptr<const SpikeTables> tables);
  SpikeDecoder(SpikeDecoder&&) noexcept;
  ~SpikeDecoder();

  // Decodes the packet of the next timestep into `packed` (packed_bytes). Throws SpikePacketError where the
  // check or the form's own rules do not hold; the stream is broken from then on, and says so. Whether the
  // encoder would have chosen this form and its parameters (of runs, of the lanes' tail) is not looked at.
  SpikeForm decode(const std::uint8_t* packet, std::size_t size, std::uint8_t* packed);
  // Packets read so far.
  std::int64_t timesteps() const;

 private:
  std::unique_ptr<SpikeStream> stream_;
  bool broken_ = false;
};

// The tables that a stream's first packet names. Throws SpikePacketError where that is no header.
std::uint32_t stream_tables_id(const std::uint8_t* packet, std::size_t size);

}  // namespace eccsnn
