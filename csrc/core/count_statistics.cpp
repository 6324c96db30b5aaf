#include "eccsnn/count_statistics.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>

namespace eccsnn {
namespace {

constexpr std::int64_t kNarrowMost = std::numeric_limits<std::int32_t>::max();

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::string message;
  const auto append = [&](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>) {
      message += std::to_string(part);
    } else {
      message += part;
    }
  };
  (append(parts), ...);
  throw std::invalid_argument(message);
}

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

std::int64_t element_bytes(CountType type) { return type == CountType::kUint8 ? 1 : 2; }

const void* row_of(const CountRows& rows, std::int64_t features, std::int64_t sample) {
  return static_cast<const char*>(rows.rows) + sample * features * element_bytes(rows.type);
}

std::int64_t value_at(const CountRows& rows, std::int64_t i) {
  return rows.type == CountType::kUint8 ? std::int64_t{static_cast<const std::uint8_t*>(rows.rows)[i]}
                                        : std::int64_t{static_cast<const std::int16_t*>(rows.rows)[i]};
}

// Whether the entries of a tile are at least 0 and M_ij^2 <= M_ii M_jj. `Product` holds the square of an
// entry. The sign of one number gathers all of them: without a branch, compilers take several at a time.
template <class Product, class T>
bool tile_fits(const T* tile, const std::array<T, kCountBlock>& rows,
               const std::array<T, kCountBlock>& columns) {
  Product wrong = 0;
  for (std::size_t r = 0; r < kCountBlock; ++r) {
    const Product square = rows[r];
    for (std::size_t c = 0; c < kCountBlock; ++c) {
      const Product entry = tile[r * kCountBlock + c];
      wrong |= (square * columns[c] - entry * entry) | entry;
    }
  }
  return wrong >= 0;
}

__extension__ typedef __int128 Int128;

}  // namespace

CountStatistics::CountStatistics(std::int64_t features, std::int64_t max_count)
    : features_(features), max_count_(max_count), blocks_(count_blocks(features)) {
  if (features < 1 || features > kMaxCountFeatures) {
    refuse("features is ", features, ", expected 1 to ", kMaxCountFeatures);
  }
  if (max_count < 1 || max_count > kMaxCount) {
    refuse("max_count is ", max_count, ", expected 1 to ", kMaxCount);
  }
  narrow_.resize(index(count_tiles(blocks_) * kCountTile));
}

std::int64_t CountStatistics::samples() const {
  std::int64_t sum = 0;
  for (const auto& [id, entry] : classes_) sum += entry.samples;
  return sum;
}

std::int64_t CountStatistics::state_bytes() const {
  const std::size_t moment = narrow_.size() * sizeof(std::int32_t) + wide_.size() * sizeof(std::int64_t);
  return static_cast<std::int64_t>(moment + classes_.size() * index(features_ + 2) * sizeof(std::int64_t));
}

// --- reading the second moment
// -----------------------------------------------------------------------------------

std::int64_t CountStatistics::moment(std::int64_t i, std::int64_t j) const {
  if (i > j) std::swap(i, j);
  const std::int64_t tile = count_tile(blocks_, i / kCountBlock, j / kCountBlock);
  const std::size_t at = index(tile * kCountTile + i % kCountBlock * kCountBlock + j % kCountBlock);
  return wide() ? wide_[at] : narrow_[at];
}

template <class T>
void CountStatistics::write(T* to) const {
  std::int64_t at = 0;
  for (std::int64_t bi = 0; bi < blocks_; ++bi) {
    for (std::int64_t bj = bi; bj < blocks_; ++bj, at += kCountTile) {
      const std::int64_t rows = std::min<std::int64_t>(kCountBlock, features_ - bi * kCountBlock);
      const std::int64_t columns = std::min<std::int64_t>(kCountBlock, features_ - bj * kCountBlock);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < columns; ++c) {
          const std::size_t from = index(at + r * kCountBlock + c);
          const std::int64_t i = bi * kCountBlock + r, j = bj * kCountBlock + c;
          const T value = static_cast<T>(wide() ? wide_[from] : std::int64_t{narrow_[from]});
          to[i * features_ + j] = value;
          to[j * features_ + i] = value;
        }
      }
    }
  }
}

void CountStatistics::write_moment(std::int64_t* to) const { write(to); }
void CountStatistics::write_moment(double* to) const { write(to); }

std::vector<std::int64_t> CountStatistics::diagonal() const {
  std::vector<std::int64_t> result(index(features_));
  for (std::int64_t f = 0; f < features_; ++f) result[index(f)] = moment(f, f);
  return result;
}

bool CountStatistics::operator==(const CountStatistics& other) const {
  if (features_ != other.features_ || max_count_ != other.max_count_) return false;
  if (classes_.size() != other.classes_.size()) return false;
  for (auto a = classes_.begin(), b = other.classes_.begin(); a != classes_.end(); ++a, ++b) {
    if (a->first != b->first || a->second.samples != b->second.samples || a->second.sums != b->second.sums)
      return false;
  }
  return narrow_ == other.narrow_ && wide_ == other.wide_;
}

// --- what every change checks
// ------------------------------------------------------------------------------------

void CountStatistics::check_rows(const CountRows& rows) const {
  if (rows.samples < 0) refuse("the number of samples is ", rows.samples, ", expected 0 or more");
  const std::int64_t at = find_count_outside(rows.rows, rows.type, rows.samples * features_, max_count_);
  if (at >= 0) {
    refuse("feature ", at % features_, " of sample ", at / features_, " is ", value_at(rows, at),
           ", expected a count in 0..", max_count_, "; is max_count that of the features?");
  }
  for (std::int64_t s = 0; s < rows.samples; ++s) {
    if (rows.labels[s] < 0)
      refuse("label of sample ", s, " is ", rows.labels[s], ", expected a class id of at least 0");
  }
}

CountStatistics::Classes CountStatistics::class_sums(const CountRows& rows) const {
  Classes delta;
  for (std::int64_t s = 0; s < rows.samples; ++s) {
    ClassCounts& entry = delta[rows.labels[s]];
    if (entry.sums.empty()) entry.sums.resize(index(features_));
    ++entry.samples;
    add_count_row(row_of(rows, features_, s), rows.type, features_, entry.sums.data());
  }
  return delta;
}

std::vector<std::int64_t> CountStatistics::squares(const CountRows& rows) const {
  std::vector<std::int64_t> result(index(features_));
  for (std::int64_t s = 0, at = 0; s < rows.samples; ++s) {
    for (std::int64_t f = 0; f < features_; ++f, ++at) {
      const std::int64_t value = value_at(rows, at);
      result[index(f)] += value * value;
    }
  }
  return result;
}

void CountStatistics::check_change(const Classes& delta, bool subtract) const {
  std::int64_t added = 0;
  for (const auto& [id, entry] : delta) {
    added += entry.samples;
    if (!subtract) continue;
    const auto found = classes_.find(id);
    const std::int64_t known = found == classes_.end() ? 0 : found->second.samples;
    if (entry.samples > known) {
      refuse("cannot subtract ", entry.samples, " samples of class ", id, ": the state has ", known);
    }
    for (std::int64_t f = 0; f < features_; ++f) {
      const std::int64_t left = found->second.sums[index(f)] - entry.sums[index(f)];
      if (left < 0 || left > (known - entry.samples) * max_count_) {
        refuse("cannot subtract these samples of class ", id, ": the sum of feature ", f, " would become ",
               left, " over ", known - entry.samples, " samples, so they are not the ones that were added");
      }
    }
  }
  if (!subtract && samples() > kMaxCountSamples - added) {
    refuse("the state has ", samples(), " samples and would get ", added, " more, expected at most ",
           kMaxCountSamples, " in all; start another state");
  }
}

// The largest square sum after a change. Refuses where one that is left cannot be that of the sums left.
std::int64_t CountStatistics::most_after(const Classes& delta, const std::vector<std::int64_t>& change,
                                         bool subtract) const {
  std::vector<std::int64_t> sums(index(features_));
  const auto gather = [&](const Classes& classes, std::int64_t sign) {
    for (const auto& [id, entry] : classes) {
      for (std::size_t f = 0; f < sums.size(); ++f) sums[f] += sign * entry.sums[f];
    }
  };
  if (subtract) {
    gather(classes_, 1);
    gather(delta, -1);
  }
  std::int64_t most = 0;
  for (std::int64_t f = 0; f < features_; ++f) {
    const std::int64_t value = moment(f, f) + (subtract ? -change[index(f)] : change[index(f)]);
    const std::int64_t sum = sums[index(f)];
    if (subtract && (value < sum || value > sum * max_count_)) {
      refuse("cannot subtract these samples: the square sum of feature ", f, " would become ", value,
             " beside the sum ", sum, ", so they are not the ones that were added");
    }
    most = std::max(most, value);
  }
  return most;
}

// Says which entry of the second moment contradicts the square sums beside it; empty: none does.
std::string CountStatistics::contradiction() const {
  const auto find = [&](auto product, const auto& tiles) -> std::string {
    using T = typename std::decay_t<decltype(tiles)>::value_type;
    const auto squares = [&](std::int64_t block) {
      const std::size_t tile = index(count_tile(blocks_, block, block) * kCountTile);
      std::array<T, kCountBlock> result;
      for (std::size_t f = 0; f < kCountBlock; ++f) result[f] = tiles[tile + f * (kCountBlock + 1)];
      return result;
    };
    std::size_t at = 0;
    for (std::int64_t bi = 0; bi < blocks_; ++bi) {
      for (std::int64_t bj = bi; bj < blocks_; ++bj, at += kCountTile) {
        if (tile_fits<decltype(product)>(&tiles[at], squares(bi), squares(bj))) continue;
        for (std::int64_t i = bi * kCountBlock; i < (bi + 1) * kCountBlock; ++i) {
          for (std::int64_t j = bj * kCountBlock; j < (bj + 1) * kCountBlock; ++j) {
            const Int128 entry = moment(i, j), left = moment(i, i), right = moment(j, j);
            if (entry >= 0 && entry * entry <= left * right) continue;
            return "a second moment of " + std::to_string(moment(i, j)) + " of features " +
                   std::to_string(i) + " and " + std::to_string(j) + " beside their square sums " +
                   std::to_string(moment(i, i)) + " and " + std::to_string(moment(j, j));
          }
        }
      }
    }
    return {};
  };
  return wide() ? find(Int128{0}, wide_) : find(std::int64_t{0}, narrow_);
}

// Takes the second moment to int64 or back to int32, in which case all of it must fit.
void CountStatistics::fit_width(bool make_wide) {
  if (make_wide == wide()) return;
  if (make_wide) {
    wide_.assign(narrow_.begin(), narrow_.end());
    std::vector<std::int32_t>().swap(narrow_);
  } else {
    narrow_.resize(wide_.size());
    std::transform(wide_.begin(), wide_.end(), narrow_.begin(),
                   [](std::int64_t value) { return static_cast<std::int32_t>(value); });
    std::vector<std::int64_t>().swap(wide_);
  }
}

void CountStatistics::apply(const Classes& delta, bool subtract) {
  for (const auto& [id, entry] : delta) {
    ClassCounts& mine = classes_[id];
    if (mine.sums.empty()) mine.sums.resize(index(features_));
    mine.samples += subtract ? -entry.samples : entry.samples;
    for (std::int64_t f = 0; f < features_; ++f) {
      mine.sums[index(f)] += subtract ? -entry.sums[index(f)] : entry.sums[index(f)];
    }
    if (mine.samples == 0) classes_.erase(id);  // check_change has seen to it that the sums are 0, too
  }
}

// --- samples
// -----------------------------------------------------------------------------------------------------

void CountStatistics::change(const CountRows& rows, const ParallelFor& parallel, bool subtract) {
  check_rows(rows);
  const Classes delta = class_sums(rows);
  check_change(delta, subtract);

  // Where the largest possible change cannot alter the width, the exact diagonal is not needed. No entry is
  // larger than the largest on the diagonal (Cauchy-Schwarz; see contradiction).
  const std::vector<std::int64_t> before = diagonal();
  std::int64_t most = *std::max_element(before.begin(), before.end());
  if (subtract || most + rows.samples * max_count_ * max_count_ > kNarrowMost) {
    most = most_after(delta, squares(rows), subtract);
  }
  const bool wide_after = most > kNarrowMost;
  if (wide_after) fit_width(true);

  const CountForm form = count_form(max_count_);
  const std::int64_t chunk = count_chunk(form, max_count_);
  const std::size_t bytes = index(blocks_ * packed_count_bytes(form, std::min(chunk, rows.samples)));
  const std::unique_ptr<void, void (*)(void*)> memory(
      std::aligned_alloc(64, std::max<std::size_t>(bytes, 64)), &std::free);
  if (memory == nullptr) throw std::bad_alloc();
  std::uint8_t* const packed = static_cast<std::uint8_t*>(memory.get());
  const auto sum = [&](bool negative) {
    for (std::int64_t at = 0; at < rows.samples; at += chunk) {
      const std::int64_t samples = std::min(chunk, rows.samples - at);
      const PackCounts pack{row_of(rows, features_, at), rows.type, form, samples, features_, packed};
      const CountMoments moments{packed,
                                 form,
                                 samples,
                                 blocks_,
                                 negative,
                                 wide() ? nullptr : narrow_.data(),
                                 wide() ? wide_.data() : nullptr};
      parallel(blocks_, [&](std::int64_t begin, std::int64_t end) { pack_counts(pack, begin, end); });
      parallel(count_tiles(blocks_),
               [&](std::int64_t begin, std::int64_t end) { count_moments(moments, begin, end); });
    }
  };
  if (!subtract) apply(delta, false);  // nothing throws from here on, unless a thread cannot be had
  sum(subtract);
  if (subtract) {
    if (const std::string found = contradiction(); !found.empty()) {
      sum(false);
      refuse("cannot subtract these samples: they would leave ", found,
             ", so they are not the ones that were added");
    }
    apply(delta, true);
  }
  fit_width(wide_after);
}

void CountStatistics::add(const CountRows& rows, const ParallelFor& parallel) {
  change(rows, parallel, false);
}
void CountStatistics::subtract(const CountRows& rows, const ParallelFor& parallel) {
  change(rows, parallel, true);
}

// --- other states
// ------------------------------------------------------------------------------------------------

void CountStatistics::change(const CountStatistics& other, bool subtract) {
  if (other.features_ != features_ || other.max_count_ != max_count_) {
    refuse("the other state has ", other.features_, " features and max_count ", other.max_count_,
           ", this one ", features_, " and ", max_count_,
           "; only states of the same features can be combined");
  }
  check_change(other.classes_, subtract);
  const Classes delta = other.classes_;  // a copy: the other state may be this one
  const bool wide_after = most_after(delta, other.diagonal(), subtract) > kNarrowMost;
  if (wide_after) fit_width(true);
  const auto combine = [](auto& mine, const auto& theirs, bool negative) {
    using Value = typename std::decay_t<decltype(mine)>::value_type;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      mine[i] += static_cast<Value>(negative ? -theirs[i] : theirs[i]);
    }
  };
  const auto sum = [&](bool negative) {
    if (!wide()) {
      combine(narrow_, other.narrow_, negative);  // the other one is a part of this one, or their sum fits
    } else if (other.wide()) {
      combine(wide_, other.wide_, negative);
    } else {
      combine(wide_, other.narrow_, negative);
    }
  };
  if (!subtract) apply(delta, false);
  sum(subtract);
  if (subtract) {
    if (const std::string found = contradiction(); !found.empty()) {
      sum(false);
      refuse("cannot subtract this state: it would leave ", found, ", so it is not a part of the whole");
    }
    apply(delta, true);
  }
  fit_width(wide_after);
}

void CountStatistics::merge(const CountStatistics& other) { change(other, false); }
void CountStatistics::subtract(const CountStatistics& other) { change(other, true); }

// --- states from outside
// -----------------------------------------------------------------------------------------

// Fills the second moment from read(i, j), i <= j.
void CountStatistics::fill(const std::function<std::int64_t(std::int64_t, std::int64_t)>& read) {
  std::int64_t most = 0;
  for (std::int64_t f = 0; f < features_; ++f) most = std::max<std::int64_t>(most, read(f, f));
  fit_width(most > kNarrowMost);
  for (std::int64_t i = 0; i < features_; ++i) {
    for (std::int64_t j = i; j < features_; ++j) {
      const std::int64_t value = read(i, j);
      if (value < 0 || value > most) {
        throw CountStatisticsError("the second moment of features " + std::to_string(i) + " and " +
                                   std::to_string(j) + " is " + std::to_string(value) +
                                   ", expected 0 to the largest square sum " + std::to_string(most));
      }
      const std::int64_t tile = count_tile(blocks_, i / kCountBlock, j / kCountBlock) * kCountTile;
      const std::int64_t r = i % kCountBlock, c = j % kCountBlock;
      const auto set = [&](std::int64_t at) {
        if (wide()) {
          wide_[index(at)] = value;
        } else {
          narrow_[index(at)] = static_cast<std::int32_t>(value);
        }
      };
      set(tile + r * kCountBlock + c);
      if (i / kCountBlock == j / kCountBlock)
        set(tile + c * kCountBlock + r);  // both triangles of a diagonal tile
    }
  }
}

// Throws where counts, sums and square sums contradict each other.
void CountStatistics::check_state() const {
  const auto broken = [](const std::string& what) {
    throw CountStatisticsError("the statistics contradict each other: " + what);
  };
  std::int64_t total = 0;
  std::vector<std::int64_t> sums(index(features_));
  for (const auto& [id, entry] : classes_) {
    if (id < 0) broken("class id " + std::to_string(id) + " is negative");
    if (entry.samples < 1 || entry.samples > kMaxCountSamples) {
      broken("class " + std::to_string(id) + " has " + std::to_string(entry.samples) + " samples");
    }
    total += entry.samples;
    if (total > kMaxCountSamples) broken("there are " + std::to_string(total) + " samples");
    if (entry.sums.size() != index(features_)) broken("class " + std::to_string(id) + " has too few sums");
    for (std::int64_t f = 0; f < features_; ++f) {
      const std::int64_t sum = entry.sums[index(f)];
      if (sum < 0 || sum > entry.samples * max_count_) {
        broken("feature " + std::to_string(f) + " of class " + std::to_string(id) + " has the sum " +
               std::to_string(sum));
      }
      sums[index(f)] += sum;
    }
  }
  for (std::int64_t f = 0; f < features_; ++f) {
    const std::int64_t square = moment(f, f);
    if (square < sums[index(f)] || square > sums[index(f)] * max_count_) {
      broken("feature " + std::to_string(f) + " has the sum " + std::to_string(sums[index(f)]) +
             " and the square sum " + std::to_string(square));
    }
  }
  if (const std::string found = contradiction(); !found.empty()) broken(found);
}

CountStatistics CountStatistics::from_parts(std::int64_t features, std::int64_t max_count, Classes classes,
                                            const std::int64_t* moment) {
  CountStatistics result(features, max_count);
  result.classes_ = std::move(classes);
  result.fill([&](std::int64_t i, std::int64_t j) { return moment[i * features + j]; });
  result.check_state();
  return result;
}

}  // namespace eccsnn
