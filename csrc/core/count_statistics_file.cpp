// The file of CountStatistics (docs/incremental.md):
//   magic "ECSTATE\0" | u32 version | u32 bytes of a second moment's entry (4 or 8) | u64 features
//   | u64 max_count | u64 classes | source (32 bytes)
//   | a class: i64 id, i64 samples, i64 sums [features]; by ascending id
//   | second moment, upper triangle row by row, i32 or i64 | u32 CRC-32 of all before
// Little-endian.
#include <cstring>
#include <string>

#include "checksum.h"
#include "eccsnn/count_statistics.h"

namespace eccsnn {
namespace {

constexpr char kMagic[8] = {'E', 'C', 'S', 'T', 'A', 'T', 'E', '\0'};
constexpr std::size_t kHeaderBytes = 8 + 4 + 4 + 8 + 8 + 8 + kCountSourceBytes;
constexpr std::size_t kCheckBytes = 4;
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is written as memory lies: little-endian");

class Writer {
 public:
  template <class T>
  void put(T value) {
    put(&value, sizeof(value));
  }
  void put(const void* data, std::size_t size) {
    const std::uint8_t* const at = static_cast<const std::uint8_t*>(data);
    bytes.insert(bytes.end(), at, at + size);
  }
  std::vector<std::uint8_t> bytes;
};

template <class T>
T read(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

[[noreturn]] void broken(const std::string& what) { throw CountStatisticsError("no state file: " + what); }

}  // namespace

std::vector<std::uint8_t> CountStatistics::serialize(const Source& source) const {
  if (source.size() != kCountSourceBytes) {
    throw std::invalid_argument("source has " + std::to_string(source.size()) + " bytes, expected " +
                                std::to_string(kCountSourceBytes));
  }
  Writer out;
  out.put(kMagic, sizeof(kMagic));
  out.put(kCountStatisticsVersion);
  out.put(std::uint32_t{wide() ? 8u : 4u});
  out.put(static_cast<std::uint64_t>(features_));
  out.put(static_cast<std::uint64_t>(max_count_));
  out.put(static_cast<std::uint64_t>(classes_.size()));
  out.put(source.data(), source.size());
  for (const auto& [id, entry] : classes_) {
    out.put(id);
    out.put(entry.samples);
    out.put(entry.sums.data(), entry.sums.size() * sizeof(std::int64_t));
  }
  for (std::int64_t i = 0; i < features_; ++i) {
    for (std::int64_t j = i; j < features_; ++j) {
      if (wide()) {
        out.put(moment(i, j));
      } else {
        out.put(static_cast<std::int32_t>(moment(i, j)));
      }
    }
  }
  out.put(crc32(out.bytes.data(), out.bytes.size()));
  return std::move(out.bytes);
}

CountStatistics CountStatistics::parse(const std::uint8_t* data, std::size_t size, Source* source) {
  if (size < kHeaderBytes + kCheckBytes) {
    broken("it has " + std::to_string(size) + " bytes, too few for a header; was it cut short?");
  }
  if (std::memcmp(data, kMagic, sizeof(kMagic)) != 0) broken("it does not begin with ECSTATE");
  const auto version = read<std::uint32_t>(data + 8);
  if (version != kCountStatisticsVersion) {
    broken("it has version " + std::to_string(version) + ", this program reads version " +
           std::to_string(kCountStatisticsVersion));
  }
  const auto width = read<std::uint32_t>(data + 12);
  const auto features = read<std::uint64_t>(data + 16), max_count = read<std::uint64_t>(data + 24),
             classes = read<std::uint64_t>(data + 32);
  if (width != 4 && width != 8)
    broken("an entry of the second moment has " + std::to_string(width) + " bytes");
  if (features < 1 || features > kMaxCountFeatures || max_count < 1 || max_count > kMaxCount) {
    broken("it is of " + std::to_string(features) + " features in 0.." + std::to_string(max_count));
  }
  const std::uint64_t class_bytes = 8 * (features + 2), moment_bytes = features * (features + 1) / 2 * width;
  if (classes > size / class_bytes ||
      size != kHeaderBytes + classes * class_bytes + moment_bytes + kCheckBytes) {
    broken("it has " + std::to_string(size) + " bytes, which is not what its header announces (" +
           std::to_string(features) + " features, " + std::to_string(classes) +
           " classes); was it cut short?");
  }
  if (crc32(data, size - kCheckBytes) != read<std::uint32_t>(data + size - kCheckBytes)) {
    broken("its checksum is wrong: bytes have changed");
  }
  CountStatistics result(static_cast<std::int64_t>(features), static_cast<std::int64_t>(max_count));
  const std::uint8_t* at = data + kHeaderBytes;
  for (std::uint64_t k = 0; k < classes; ++k, at += class_bytes) {
    const auto id = read<std::int64_t>(at);
    if (k > 0 && id <= result.classes_.rbegin()->first) broken("its class ids do not ascend");
    ClassCounts& entry = result.classes_[id];
    entry.samples = read<std::int64_t>(at + 8);
    entry.sums.resize(features);
    std::memcpy(entry.sums.data(), at + 16, features * sizeof(std::int64_t));
  }
  result.fill([&](std::int64_t i, std::int64_t j) {
    const std::int64_t entry = i * result.features_ - i * (i - 1) / 2 + j - i;
    return width == 8 ? read<std::int64_t>(at + 8 * entry) : std::int64_t{read<std::int32_t>(at + 4 * entry)};
  });
  if (result.wide() != (width == 8)) broken("its second moment is not as narrow as its values are");
  result.check_state();
  if (source != nullptr) source->assign(data + kHeaderBytes - kCountSourceBytes, data + kHeaderBytes);
  return result;
}

}  // namespace eccsnn
