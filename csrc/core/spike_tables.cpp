// Tables as bytes, and the tables that nothing was learnt for.
#include <algorithm>
#include <bit>
#include <cstring>

#include "checksum.h"
#include "spike_model.h"

namespace eccsnn {
namespace {

constexpr std::uint8_t kMagic[4] = {'E', 'S', 'P', 'T'};
constexpr std::uint8_t kTablesVersion = 1;

void check(const SpikeGeometry& g, const char* what) {
  if (g.channels < 1 || g.channels > kMaxSpikeChannels || g.height < 1 || g.height > kMaxSpikeSide ||
      g.width < 1 || g.width > kMaxSpikeSide || g.bits() > kMaxSpikeBits) {
    throw std::invalid_argument(std::string(what) + ": " + std::to_string(g.channels) + " channels of " +
                                std::to_string(g.height) + " x " + std::to_string(g.width) +
                                "; expected 1 to 4096 each, and at most 2^24 spikes a timestep");
  }
}

// Reads little-endian numbers, and throws at the end.
class Reader {
 public:
  Reader(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  std::uint32_t get(int bytes) {
    need(static_cast<std::size_t>(bytes));
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint32_t>(data_[i]) << (8 * i);
    skip(static_cast<std::size_t>(bytes));
    return value;
  }
  const std::uint8_t* take(std::size_t bytes) {
    need(bytes);
    const std::uint8_t* at = data_;
    skip(bytes);
    return at;
  }
  std::size_t left() const { return left_; }

 private:
  void need(std::size_t bytes) const {
    if (bytes > left_) {
      throw SpikePacketError("spike tables end " + std::to_string(bytes - left_) +
                             " bytes too early: the file is truncated; export it again");
    }
  }
  void skip(std::size_t bytes) {
    data_ += bytes;
    left_ -= bytes;
  }
  const std::uint8_t* data_;
  std::size_t left_;
};

ContextSet get_set(Reader& reader) {
  ContextSet set;
  const std::uint32_t flags = reader.get(1);
  set.per_channel = flags & 1;
  set.per_position = flags & 2;
  set.with_count = flags & 4;
  set.recent = static_cast<int>(flags >> 3 & 3);
  set.limit = static_cast<std::uint8_t>(reader.get(1));
  bool good = flags < 32;
  for (std::uint16_t& neighbours : set.neighbours) {
    neighbours = static_cast<std::uint16_t>(reader.get(2));
    good = good && neighbours < (1u << kNeighbours) && std::popcount(neighbours) <= kMaxContextBits;
  }
  if (!good)
    throw SpikePacketError("spike tables have a context set that this version does not know; export again");
  return set;
}

// Two shifts, and for each time class and row a weight a channel.
std::size_t lane_bytes(const SpikeGeometry& geometry) {
  if (!fits_lanes(geometry)) return 0;
  return 2 + 2 * kTimeClasses * (1 + kLaneFeatures) * static_cast<std::size_t>(geometry.channels);
}

void get_lanes_start(Reader& reader, SpikeModel& model) {
  model.lane_bias_shift = static_cast<int>(reader.get(1));
  model.lane_weight_shift = static_cast<int>(reader.get(1));
  if (model.lane_bias_shift < 1 || std::max(model.lane_bias_shift, model.lane_weight_shift) > 14) {
    throw SpikePacketError("spike tables have lanes adapted by 2^-" + std::to_string(model.lane_bias_shift) +
                           " and 2^-" + std::to_string(model.lane_weight_shift) +
                           "; expected 1 to 14, or 0 for weights that stay");
  }
  const std::size_t channels = static_cast<std::size_t>(model.geometry.channels);
  for (auto& lanes : model.lanes) {
    lanes.resize((channels + kLanes - 1) / kLanes);
    for (LaneWeights& group : lanes) group.fill(0);
    for (std::size_t row = 0; row < 1 + kLaneFeatures; ++row) {
      for (std::size_t c = 0; c < channels; ++c) {
        lanes[c / kLanes][row * kLanes + c % kLanes] =
            static_cast<std::int16_t>(static_cast<std::uint16_t>(reader.get(2)));
      }
    }
  }
}

}  // namespace

SpikeTables::SpikeTables(const SpikeGeometry& geometry, std::uint32_t id,
                         std::unique_ptr<const SpikeModel> model)
    : geometry_(geometry), id_(id), model_(std::move(model)) {}
SpikeTables::~SpikeTables() = default;

std::shared_ptr<const SpikeTables> SpikeTables::flat(const SpikeGeometry& geometry) {
  check(geometry, "spike codec");
  const auto bits = [](std::initializer_list<int> neighbours) {
    std::uint16_t mask = 0;
    for (const int n : neighbours) mask = static_cast<std::uint16_t>(mask | 1u << n);
    return mask;
  };
  ContextSet own, around, common;
  own.per_channel = around.per_channel = true;
  const std::uint16_t still = bits({kLeft, kUp, kUpLeft, kUpRight});
  own.neighbours = {still, bits({kBefore1, kLeft, kUp}), bits({kBefore1, kBefore2, kLeft, kUp}),
                    bits({kBefore1, kBefore2, kBefore3, kUp})};
  around.neighbours = {bits({kLeft}), bits({kBefore1}), bits({kBefore1, kBefore2}),
                       bits({kBefore1, kBefore2})};
  around.with_count = true;
  common.neighbours = {
      still, static_cast<std::uint16_t>(still | bits({kBefore1, kRightBefore, kDownBefore})),
      static_cast<std::uint16_t>(still | bits({kBefore1, kBefore2, kRightBefore, kDownBefore})),
      static_cast<std::uint16_t>(still | bits({kBefore1, kBefore2, kBefore3, kRightBefore}))};
  common.recent = 2;
  auto model = std::make_unique<SpikeModel>(geometry, std::vector<ContextSet>{own, around, common});
  for (auto& cells : model->cells) std::fill(cells.begin(), cells.end(), make_cell(8192, 0));
  for (auto& weights : model->weights) weights = {26000, 20000, 26000};
  if (fits_lanes(geometry)) {
    for (auto& lanes : model->lanes) {
      lanes.resize(static_cast<std::size_t>((geometry.channels + kLanes - 1) / kLanes));
      for (LaneWeights& group : lanes) {
        group.fill(0);
        std::fill_n(group.begin(), kLanes, std::int16_t{-8192});
      }
    }
  }
  std::uint8_t name[12];
  for (int i = 0; i < 4; ++i) {
    name[i] = static_cast<std::uint8_t>(geometry.channels >> (8 * i));
    name[4 + i] = static_cast<std::uint8_t>(geometry.height >> (8 * i));
    name[8 + i] = static_cast<std::uint8_t>(geometry.width >> (8 * i));
  }
  return std::shared_ptr<const SpikeTables>(
      new SpikeTables(geometry, crc32(name, sizeof(name)), std::move(model)));
}

std::shared_ptr<const SpikeTables> SpikeTables::parse(const std::uint8_t* data, std::size_t size) {
  Reader reader(data, size);
  if (std::memcmp(reader.take(4), kMagic, 4) != 0) {
    throw SpikePacketError(
        "these are no spike tables: they do not begin with ESPT; export them with export_tables()");
  }
  if (const std::uint32_t version = reader.get(1); version != kTablesVersion) {
    throw SpikePacketError("spike tables have version " + std::to_string(version) + ", expected " +
                           std::to_string(kTablesVersion) + "; export them with this eccsnn");
  }
  if (size < 9) throw SpikePacketError("spike tables have " + std::to_string(size) + " bytes: truncated");
  const std::uint32_t id = crc32(data, size - 4);
  if (Reader(data + size - 4, 4).get(4) != id) {
    throw SpikePacketError(
        "spike tables do not have the checksum that they name: corrupt or truncated; export again");
  }
  const std::uint32_t count = reader.get(1);
  const int rate = static_cast<int>(reader.get(1));
  SpikeGeometry geometry;
  geometry.channels = reader.get(2);
  geometry.height = reader.get(2);
  geometry.width = reader.get(2);
  try {
    check(geometry, "spike tables");
  } catch (const std::invalid_argument& error) {
    throw SpikePacketError(error.what());
  }
  if (count < 1 || count > static_cast<std::uint32_t>(kMaxSets) || rate < 1 || rate > 16) {
    throw SpikePacketError("spike tables have " + std::to_string(count) + " context sets and rate " +
                           std::to_string(rate) + "; expected 1 to 6, and 1 to 16");
  }
  std::vector<ContextSet> sets;
  std::size_t cells = 0;
  for (std::uint32_t s = 0; s < count; ++s) {
    sets.push_back(get_set(reader));
    for (int time = 0; time < kTimeClasses; ++time) cells += sets.back().cells(geometry, time);
  }
  if (const std::size_t rest = 4 * kTimeClasses * count + 3 * cells + lane_bytes(geometry) + 4;
      cells > kMaxCells || reader.left() != rest) {
    throw SpikePacketError("spike tables have " + std::to_string(reader.left()) +
                           " bytes of probabilities, expected " + std::to_string(rest) +
                           " for their contexts");
  }
  auto model = std::make_unique<SpikeModel>(geometry, std::move(sets));
  model->rate = rate;
  for (auto& weights : model->weights) {
    for (std::uint32_t s = 0; s < count; ++s) {
      weights[s] = static_cast<std::int32_t>(reader.get(4));
      if (weights[s] < -kMaxWeight || weights[s] > kMaxWeight) {
        throw SpikePacketError("spike tables have a weight of " + std::to_string(weights[s]) +
                               " / 65536; expected at most 256 either way: train the rate model anew");
      }
    }
  }
  for (const ContextSet& set : model->sets) {
    for (int time = 0; time < kTimeClasses; ++time) {
      Cell* const first = model->cells[time].data() + set.first_cell[time];
      for (std::size_t i = 0; i < set.cells(geometry, time); ++i) {
        const std::uint32_t probability = reader.get(2);
        first[i] = make_cell(probability, reader.get(1));
      }
    }
  }
  if (fits_lanes(geometry)) get_lanes_start(reader, *model);
  return std::shared_ptr<const SpikeTables>(new SpikeTables(geometry, id, std::move(model)));
}

}  // namespace eccsnn
