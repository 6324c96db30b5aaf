// Exact statistics of spike counts: what a class-incremental learner has to remember.
//
// A feature is an integer in 0..max_count (a spike count). The state holds, for each class, the number of
// samples and the sum of their features (int64), and for all classes together the second moment, the sum of
// x x^T over samples x. Integer sums do not depend on their order, so the state is the same, bit for bit,
// whatever the order of samples, the batches, the threads, the instruction set or the tree of merges, and
// what was added can be subtracted again.
//
// The second moment is kept as int32 while all of it fits, else as int64: decided by the largest square sum,
// and before anything is added. No entry is larger: M_ij^2 <= M_ii M_jj holds for samples, is kept by sums of
// states, and is checked where it might not hold (states from outside, and what a subtraction leaves). So
// nothing ever wraps around. At 1024 features it takes 2.2 MB and a class 8 KB.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "eccsnn/count_moments.h"

namespace eccsnn {

inline constexpr std::int64_t kMaxCountFeatures = 32768;
inline constexpr std::int64_t kMaxCount = 32767;
inline constexpr std::int64_t kMaxCountSamples = std::int64_t{1} << 32;  // times kMaxCount^2 fits into int64
inline constexpr std::uint32_t kCountStatisticsVersion = 1;
inline constexpr std::size_t kCountSourceBytes = 32;

// Bytes that are no state file, or those of a state that no samples can have.
struct CountStatisticsError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ClassCounts {
  std::int64_t samples = 0;
  std::vector<std::int64_t> sums;  // [features]
};

// Features of some samples, row by row, and their class ids.
struct CountRows {
  const void* rows = nullptr;  // [samples, features] of `type`
  CountType type = CountType::kUint8;
  const std::int64_t* labels = nullptr;  // [samples]
  std::int64_t samples = 0;
};

// Calls work(begin, end) over all of [0, count), in ranges that may run at the same time.
using ParallelFor =
    std::function<void(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work)>;

class CountStatistics {
 public:
  using Classes = std::map<std::int64_t, ClassCounts>;
  using Source = std::vector<std::uint8_t>;

  // Throws std::invalid_argument: features outside 1..32768, or max_count outside 1..32767.
  CountStatistics(std::int64_t features, std::int64_t max_count);

  // A state from its parts: `moment` is the second moment [features, features], of which the upper triangle
  // counts. Throws CountStatisticsError where no samples have these statistics.
  static CountStatistics from_parts(std::int64_t features, std::int64_t max_count, Classes classes,
                                    const std::int64_t* moment);

  // Each of these throws std::invalid_argument and leaves the state as it was where a value is outside
  // 0..max_count, a label is negative, a counter would not fit, the shapes differ, or more would be
  // subtracted than was added (as far as counts, sums and the second moment show: what is left must be a
  // state that `parse` takes).
  void add(const CountRows& rows, const ParallelFor& parallel);
  void subtract(const CountRows& rows, const ParallelFor& parallel);
  void merge(const CountStatistics& other);
  void subtract(const CountStatistics& other);

  std::int64_t features() const { return features_; }
  std::int64_t max_count() const { return max_count_; }
  std::int64_t samples() const;
  const Classes& classes() const { return classes_; }
  bool wide() const { return !wide_.empty(); }  // the second moment is int64
  std::int64_t state_bytes() const;             // held in memory for the state

  std::int64_t moment(std::int64_t i, std::int64_t j) const;
  void write_moment(std::int64_t* to) const;  // [features, features], both triangles
  void write_moment(double* to) const;        // rounded where an entry is above 2^53

  bool operator==(const CountStatistics& other) const;

  // The versioned, checksummed bytes of a state file; equal states give equal bytes. `source` names what made
  // the features (kCountSourceBytes bytes). Format: docs/incremental.md.
  std::vector<std::uint8_t> serialize(const Source& source) const;
  // Throws CountStatisticsError.
  static CountStatistics parse(const std::uint8_t* data, std::size_t size, Source* source);

 private:
  void change(const CountRows& rows, const ParallelFor& parallel, bool subtract);
  void change(const CountStatistics& other, bool subtract);
  void check_rows(const CountRows& rows) const;
  Classes class_sums(const CountRows& rows) const;
  std::vector<std::int64_t> squares(const CountRows& rows) const;
  std::vector<std::int64_t> diagonal() const;
  void check_change(const Classes& delta, bool subtract) const;
  std::int64_t most_after(const Classes& delta, const std::vector<std::int64_t>& change, bool subtract) const;
  std::string contradiction() const;
  void apply(const Classes& delta, bool subtract);
  void fit_width(bool wide);
  void fill(const std::function<std::int64_t(std::int64_t, std::int64_t)>& read);
  void check_state() const;
  template <class T>
  void write(T* to) const;

  std::int64_t features_, max_count_, blocks_;
  Classes classes_;
  std::vector<std::int32_t>
      narrow_;  // tiles of the upper triangle (count_moments.h); one of the two is empty
  std::vector<std::int64_t> wide_;
};

}  // namespace eccsnn
