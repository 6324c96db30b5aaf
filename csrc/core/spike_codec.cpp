#include "eccsnn/spike_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "checksum.h"
#include "range_coder.h"
#include "spike_forms.h"
#include "spike_model.h"

namespace eccsnn {
namespace {

using Bytes = std::vector<std::uint8_t>;

void put_header(std::uint32_t tables, std::uint8_t* header) {
  header[0] = 'E';
  header[1] = 'S';
  header[2] = kSpikeCodecVersion;
  for (int i = 0; i < 4; ++i) header[3 + i] = static_cast<std::uint8_t>(tables >> (8 * i));
  header[7] = crc8(header, 7);
}

}  // namespace

const char* spike_form_name(SpikeForm form) {
  constexpr const char* kNames[] = {"raw", "addresses", "runs", "adaptive", "lanes"};
  return kNames[static_cast<int>(form)];
}

// What both ends of a stream keep.
struct SpikeStream {
  explicit SpikeStream(std::shared_ptr<const SpikeTables> t)
      : tables(std::move(t)), history(tables->geometry()), state(tables->model()) {}

  const SpikeGeometry& geometry() const { return tables->geometry(); }

  std::shared_ptr<const SpikeTables> tables;
  SpikeHistory history;
  SpikeModelState state;
  PacketCheck check;
  std::int64_t timestep = 0;
  Bytes dense, best, other;
  // Of the encoder: the state before the timestep at hand.
  std::vector<Cell> kept_cells;
  std::array<std::array<std::int32_t, kMaxSets>, kTimeClasses> kept_weights{};
  std::vector<LaneWeights> kept_lanes;
};

namespace {

std::shared_ptr<const SpikeTables> checked(std::shared_ptr<const SpikeTables> tables) {
  if (!tables) throw std::invalid_argument("spike codec: there are no tables; expected SpikeTables");
  return tables;
}

// Whether positions of packed spikes have no bit past their last channel.
bool padding_is_clear(const SpikeGeometry& geometry, const std::uint8_t* packed, std::int64_t positions) {
  if (geometry.channels % 8 == 0) return true;
  const std::int64_t stride = geometry.packed_channels();
  unsigned last = 0;
  for (std::int64_t i = 1; i <= positions; ++i) last |= packed[i * stride - 1];
  return last >> (geometry.channels % 8) == 0;
}

// Timesteps with fewer than one spike in 25, or more than 24, are not written in lanes.
constexpr std::int64_t kRareSpikes = 25;

// Of a thread, so that a stream does not touch fresh memory for what it needs for a moment.
std::uint16_t* scratch_words(std::size_t count) {
  thread_local std::vector<std::uint16_t> words;
  if (words.size() < count) words.resize(count);
  return words.data();
}

// Information, in units of 2^-8 bits, of an event of chance i / 512: roughly, which is enough to choose a
// length.
constexpr std::array<std::uint16_t, 512> kInformation = [] {
  std::array<std::uint16_t, 512> table{};
  for (std::uint32_t i = 0; i < 512; ++i) {
    const std::uint32_t chance = 2 * i + 1;  // of 2^10
    const int width = static_cast<int>(std::bit_width(chance)) - 1;
    table[i] = static_cast<std::uint16_t>((10 << 8) - (width << 8) - ((chance << 8 >> width) & 255));
  }
  return table;
}();

// Calls `found(chance of a 1, bit)` for the spikes of a position in order.
template <class Found>
void for_each_channel(const LaneArgs& args, const std::uint8_t* position, const std::uint16_t* chances,
                      Found found) {
  for (std::int64_t c = 0; c < args.channels; ++c)
    found(std::uint32_t{chances[c]}, position[c / 8] >> (c % 8) & 1);
}

// Chooses how many of the last positions go into the lower halves of the states, and writes them to `code`.
std::int64_t put_tail(const LaneArgs& args, std::int64_t most, const std::uint16_t* chances, Bytes& code) {
  const std::int64_t step = args.groups() * kLanes;
  const std::uint8_t* const end =
      args.origin + (args.height - 1) * args.pitch_bytes + args.width * args.stride;
  const std::uint16_t* const chances_end = chances + args.height * args.width * step;
  std::int64_t tail = 0, total = 0;
  for (; tail < most; ++tail) {
    for_each_channel(args, end - (tail + 1) * args.stride, chances_end - (tail + 1) * step,
                     [&](std::uint32_t p, bool bit) {
                       total += kInformation[(bit ? p : (1u << kLaneChanceBits) - p) >> 6];
                     });
    if (total > 256 * 8 * (kTailBytes + 3)) break;  // the estimate is a tenth too high
  }
  for (;; --tail) {  // what is estimated too low is tried again
    code.clear();
    RangeEncoder coder(code);
    for (std::int64_t i = tail; i > 0; --i) {
      for_each_channel(args, end - i * args.stride, chances_end - i * step,
                       [&](std::uint32_t p, bool bit) { coder.encode(bit, 2 * p); });
    }
    coder.finish();
    if (static_cast<std::int64_t>(code.size()) <= kTailBytes) return tail;
  }
}

std::uint32_t decode_tail(void* coder, const std::uint16_t* chances, std::uint32_t active) {
  std::uint32_t bits = 0;
  for (int i = 0; i < kLanes && active >> i; ++i) {
    if (static_cast<RangeDecoder*>(coder)->decode(2u * chances[i])) bits |= 1u << i;
  }
  return bits;
}

// A byte with the length of the tail, the states, the words.
constexpr std::size_t kLaneHeadBytes = 1 + sizeof(std::uint32_t) * kLanes;

void encode_lanes(SpikeStream& stream, Bytes& out) {
  LaneArgs args = lane_args(stream.tables->model(), stream.state, stream.history, stream.timestep);
  const std::size_t most = static_cast<std::size_t>(most_lane_words(args));
  std::uint16_t* const chances = scratch_words(2 * most);
  predict_lanes(args, chances);
  args.tail = put_tail(args, most_lane_tail(stream.geometry()), chances, stream.other);
  std::uint16_t halves[kLanes] = {};
  std::memcpy(halves, stream.other.data(), stream.other.size());
  std::uint32_t states[kLanes];
  for (int i = 0; i < kLanes; ++i) states[i] = kLaneLow | halves[i];
  std::uint16_t* const end = chances + 2 * most;
  const std::uint16_t* const begin = put_lanes(args, chances, states, end);
  const std::size_t bytes = static_cast<std::size_t>(end - begin) * sizeof(std::uint16_t);
  out.resize(kLaneHeadBytes + bytes);
  out[0] = static_cast<std::uint8_t>(args.tail);
  std::memcpy(out.data() + 1, states, sizeof(states));
  if (bytes) std::memcpy(out.data() + kLaneHeadBytes, begin, bytes);
}

void decode_lanes(SpikeStream& stream, const std::uint8_t* payload, std::size_t size) {
  if (size < kLaneHeadBytes || (size - kLaneHeadBytes) % sizeof(std::uint16_t)) {
    throw SpikePacketError("lanes have " + std::to_string(size) + " bytes, expected an odd number from " +
                           std::to_string(kLaneHeadBytes) + ": the packet is truncated");
  }
  LaneArgs args = lane_args(stream.tables->model(), stream.state, stream.history, stream.timestep);
  args.tail = payload[0];
  if (args.tail > most_lane_tail(stream.geometry())) {
    throw SpikePacketError("lanes end " + std::to_string(args.tail) + " positions early, expected at most " +
                           std::to_string(most_lane_tail(stream.geometry())) + ": the packet is corrupt");
  }
  std::uint32_t states[kLanes];
  std::memcpy(states, payload + 1, sizeof(states));
  const std::size_t count = (size - kLaneHeadBytes) / sizeof(std::uint16_t);
  std::uint16_t* const words = scratch_words(count + kLanes);
  std::memcpy(words, payload + kLaneHeadBytes, size - kLaneHeadBytes);
  std::fill_n(words + count, kLanes, std::uint16_t{0});
  const std::int64_t read = get_lanes(args, states, words, static_cast<std::int64_t>(count));
  // The encoder began with the tail in the states: that is where a packet that it wrote must end.
  std::uint8_t tail[kTailBytes];
  bool good = read == static_cast<std::int64_t>(count);
  std::size_t tail_size = 0;
  for (std::size_t i = 0; i < kTailBytes; ++i) {
    good = good && states[i / 2] >> 16 == 1;
    tail[i] = static_cast<std::uint8_t>(states[i / 2] >> (8 * (i % 2)));
    if (tail[i]) tail_size = i + 1;
  }
  RangeDecoder coder(tail, tail_size);
  if (good) get_lane_tail(args, decode_tail, &coder);
  if (!good || !coder.is_exact()) {
    throw SpikePacketError("the lanes of " + std::to_string(size) +
                           " bytes do not end as the encoder began: the packet is corrupt");
  }
}

// Writes the timestep in the form with a model that suits it, lanes or adaptive, to `best`.
SpikeForm encode_modelled(SpikeStream& stream, std::int64_t spikes) {
  const SpikeGeometry& geometry = stream.geometry();
  // The states of the lanes weigh too much on few bits, and few bits are soon written.
  const std::int64_t rare = std::min(spikes, geometry.bits() - spikes);
  const int time = time_class(stream.timestep);
  if (fits_lanes(geometry) && rare * kRareSpikes >= geometry.bits()) {
    stream.kept_lanes = stream.state.lanes[time];
    encode_lanes(stream, stream.best);
    return SpikeForm::kLanes;
  }
  stream.kept_cells = stream.state.cells[time];
  stream.kept_weights = stream.state.weights;
  RangeEncoder coder(stream.best);
  encode_adaptive(stream.tables->model(), stream.state, stream.history, stream.timestep, coder);
  coder.finish();
  return SpikeForm::kAdaptive;
}

// Only timesteps that are sent in a modelled form teach the model: the decoder learns from no others.
void unlearn(SpikeStream& stream, SpikeForm modelled) {
  if (modelled == SpikeForm::kLanes) {
    stream.state.lanes[time_class(stream.timestep)].swap(stream.kept_lanes);
  } else {
    stream.state.cells[time_class(stream.timestep)].swap(stream.kept_cells);
    stream.state.weights = stream.kept_weights;
  }
}

// Tries the forms and leaves the shortest payload in `best`.
SpikeForm choose(SpikeStream& stream) {
  const SpikeGeometry& geometry = stream.geometry();
  const std::int64_t bits = geometry.bits();
  const std::int64_t spikes = count_ones(stream.dense.data(), geometry.dense_bytes());
  stream.best.clear();
  if (spikes == 0) return SpikeForm::kAddresses;  // none: no bytes
  const SpikeForm modelled = encode_modelled(stream, spikes);
  SpikeForm form = modelled;
  const auto size = [&] { return static_cast<std::int64_t>(stream.best.size()); };
  const auto take = [&](SpikeForm chosen) {
    form = chosen;
    stream.best.swap(stream.other);
  };
  if (bits > 1 && (spikes * address_bits(bits) + 7) / 8 < size()) {
    stream.other.clear();
    put_addresses(stream.dense.data(), bits, stream.other);
    take(SpikeForm::kAddresses);
  }
  if (geometry.dense_bytes() < size()) {
    stream.other = stream.dense;
    take(SpikeForm::kRaw);
  }
  const int parameter = run_parameter(bits, spikes);
  if ((expected_run_bits(stream.dense.data(), bits, spikes, parameter) + 7) / 8 < size() &&
      (run_bits(stream.dense.data(), bits, parameter) + 7) / 8 < size()) {
    stream.other.clear();
    put_runs(stream.dense.data(), bits, parameter, stream.other);
    take(SpikeForm::kRuns);
  }
  if (form != modelled) unlearn(stream, modelled);
  return form;
}

}  // namespace

SpikeEncoder::SpikeEncoder(std::shared_ptr<const SpikeTables> tables)
    : stream_(std::make_unique<SpikeStream>(checked(std::move(tables)))) {}
SpikeEncoder::SpikeEncoder(SpikeEncoder&&) noexcept = default;
SpikeEncoder::~SpikeEncoder() = default;
std::int64_t SpikeEncoder::timesteps() const { return stream_->timestep; }

void SpikeEncoder::check(const std::uint8_t* packed, std::int64_t timesteps) const {
  const SpikeGeometry& geometry = stream_->geometry();
  if (timesteps > kMaxTimesteps - stream_->timestep) {
    throw std::length_error("spike codec: a stream has at most 2^20 timesteps; begin another");
  }
  if (!padding_is_clear(geometry, packed, timesteps * geometry.positions())) {
    throw std::invalid_argument("packed spikes have bits set past channel " +
                                std::to_string(geometry.channels) +
                                "; expected zeros there, as pack_spikes leaves them");
  }
}

SpikeForm SpikeEncoder::encode(const std::uint8_t* packed, Bytes& out) {
  check(packed, 1);
  SpikeStream& stream = *stream_;
  stream.dense.resize(static_cast<std::size_t>(stream.geometry().dense_bytes()));
  packed_to_dense(stream.geometry(), packed, stream.dense.data());
  stream.history.advance();
  stream.history.put(packed);
  const SpikeForm form = choose(stream);
  if (stream.timestep == 0) {
    std::uint8_t header[kStreamHeaderBytes];
    put_header(stream.tables->id(), header);
    out.insert(out.end(), header, header + sizeof(header));
  }
  const unsigned number = static_cast<unsigned>(form);
  out.push_back(static_cast<std::uint8_t>(number << 5 |
                                          stream.check.next(number, stream.best.data(), stream.best.size())));
  out.insert(out.end(), stream.best.begin(), stream.best.end());
  ++stream.timestep;
  return form;
}

std::uint32_t stream_tables_id(const std::uint8_t* packet, std::size_t size) {
  if (size < kStreamHeaderBytes + kPacketHeaderBytes) {
    throw SpikePacketError("the first packet of a stream has " + std::to_string(size) +
                           " bytes, expected at least 9: it is truncated");
  }
  if (packet[0] != 'E' || packet[1] != 'S') {
    throw SpikePacketError(
        "the first packet does not begin with ES: it is not the beginning of a spike stream");
  }
  if (packet[2] != kSpikeCodecVersion) {
    throw SpikePacketError("the stream has version " + std::to_string(packet[2]) + ", expected " +
                           std::to_string(kSpikeCodecVersion) +
                           ": both ends need the same version of the codec");
  }
  if (crc8(packet, 7) != packet[7]) {
    throw SpikePacketError("the header of the stream does not have its checksum: the packet is corrupt");
  }
  std::uint32_t id = 0;
  for (int i = 0; i < 4; ++i) id |= static_cast<std::uint32_t>(packet[3 + i]) << (8 * i);
  return id;
}

SpikeDecoder::SpikeDecoder(std::shared_ptr<const SpikeTables> tables)
    : stream_(std::make_unique<SpikeStream>(checked(std::move(tables)))) {}
SpikeDecoder::SpikeDecoder(SpikeDecoder&&) noexcept = default;
SpikeDecoder::~SpikeDecoder() = default;
std::int64_t SpikeDecoder::timesteps() const { return stream_->timestep; }

SpikeForm SpikeDecoder::decode(const std::uint8_t* packet, std::size_t size, std::uint8_t* packed) {
  SpikeStream& stream = *stream_;
  const SpikeGeometry& geometry = stream.geometry();
  const std::string where = "timestep " + std::to_string(stream.timestep) + ": ";
  if (broken_) throw SpikePacketError(where + "the stream broke at an earlier packet; begin another");
  broken_ = true;  // until this packet has been read
  if (stream.timestep >= kMaxTimesteps) throw SpikePacketError(where + "a stream has at most 2^20 timesteps");
  if (stream.timestep == 0) {
    if (const std::uint32_t id = stream_tables_id(packet, size); id != stream.tables->id()) {
      throw SpikePacketError("the stream was written with tables " + std::to_string(id) +
                             ", this decoder has " + std::to_string(stream.tables->id()) +
                             ": load the tables that the encoder uses");
    }
    packet += kStreamHeaderBytes;
    size -= kStreamHeaderBytes;
  }
  if (size < kPacketHeaderBytes)
    throw SpikePacketError(where + "the packet is empty, expected at least 1 byte");
  const unsigned number = packet[0] >> 5, check = packet[0] & 31;
  const std::uint8_t* payload = packet + kPacketHeaderBytes;
  size -= kPacketHeaderBytes;
  if (size > static_cast<std::size_t>(geometry.dense_bytes())) {
    throw SpikePacketError(where + "the payload has " + std::to_string(size) + " bytes, expected at most " +
                           std::to_string(geometry.dense_bytes()) + ": it is longer than raw spikes");
  }
  if (number > static_cast<unsigned>(SpikeForm::kLanes)) {
    throw SpikePacketError(where + "the packet has form " + std::to_string(number) +
                           ", expected 0 to 4: it is corrupt or of a later version");
  }
  if (stream.check.next(number, payload, size) != check) {
    throw SpikePacketError(where +
                           "the packet does not have its checksum: it is corrupt, truncated or out of order");
  }
  const SpikeForm form = static_cast<SpikeForm>(number);
  stream.history.advance();
  if (form == SpikeForm::kLanes && !fits_lanes(geometry)) {
    throw SpikePacketError(where + "the packet has the form lanes, which is not for timesteps of " +
                           std::to_string(geometry.bits()) + " spikes: it is corrupt");
  }
  if (form == SpikeForm::kLanes) {
    try {
      decode_lanes(stream, payload, size);
    } catch (const SpikePacketError& error) {
      throw SpikePacketError(where + error.what());
    }
    stream.history.get(packed);
  } else if (form == SpikeForm::kAdaptive) {
    RangeDecoder coder(payload, size);
    decode_adaptive(stream.tables->model(), stream.state, stream.history, stream.timestep, coder);
    if (!coder.is_exact()) {
      throw SpikePacketError(where + "the payload of " + std::to_string(size) +
                             " bytes is not what its spikes are written as: it is corrupt");
    }
    stream.history.get(packed);
  } else {
    stream.dense.assign(static_cast<std::size_t>(geometry.dense_bytes()), 0);
    try {
      switch (form) {
        case SpikeForm::kAddresses:
          get_addresses(payload, size, geometry.bits(), stream.dense.data());
          break;
        case SpikeForm::kRuns:
          get_runs(payload, size, geometry.bits(), stream.dense.data());
          break;
        case SpikeForm::kRaw:
          if (size != stream.dense.size()) {
            throw SpikePacketError("raw spikes have " + std::to_string(size) + " bytes, expected " +
                                   std::to_string(stream.dense.size()));
          }
          stream.dense.assign(payload, payload + size);
          if (geometry.bits() % 8 && stream.dense.back() >> (geometry.bits() % 8)) {
            throw SpikePacketError("raw spikes have bits set past their end: the packet is corrupt");
          }
          break;
        default:
          break;
      }
    } catch (const SpikePacketError& error) {
      throw SpikePacketError(where + error.what());
    }
    dense_to_packed(geometry, stream.dense.data(), packed);
    stream.history.put(packed);
  }
  ++stream.timestep;
  broken_ = false;
  return form;
}

}  // namespace eccsnn
