// Exact statistics of spike counts against plain loops: every instruction set, and any order of additions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "checksum.h"
#include "count_moments_dispatch.h"
#include "eccsnn/count_statistics.h"
#include "eccsnn/isa.h"

namespace {

using namespace eccsnn;

struct Kernels {
  std::string isa;
  void (*pack)(const PackCounts&, std::int64_t, std::int64_t);
  void (*moments)(const CountMoments&, std::int64_t, std::int64_t);
  void (*add_row)(const void*, CountType, std::int64_t, std::int64_t*);
  std::int64_t (*find_outside)(const void*, CountType, std::int64_t, std::int64_t);
};

#define KERNELS_OF(isa)                                                      \
  {#isa, eccsnn::isa::pack_counts_kernel, eccsnn::isa::count_moments_kernel, \
   eccsnn::isa::add_count_row_kernel, eccsnn::isa::find_count_outside_kernel}

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all = {KERNELS_OF(baseline)};
#ifdef ECCSNN_HAVE_X86_KERNELS
  if (isa_choice().supported >= Isa::kAvx2) all.push_back(KERNELS_OF(avx2));
  if (isa_choice().supported >= Isa::kAvx512) all.push_back(KERNELS_OF(avx512));
#endif
  return all;
}

struct Samples {
  std::int64_t features, max_count;
  std::vector<std::int16_t> rows;
  std::vector<std::uint8_t> narrow;  // the same where they fit
  std::vector<std::int64_t> labels;

  Samples(std::int64_t features, std::int64_t max_count, std::int64_t samples, unsigned seed)
      : features(features), max_count(max_count) {
    std::mt19937 random(seed);
    for (std::int64_t i = 0; i < samples * features; ++i) {
      // The largest value often: that is where sums overflow.
      rows.push_back(static_cast<std::int16_t>(random() % 3 == 0
                                                   ? static_cast<unsigned>(max_count)
                                                   : random() % (static_cast<unsigned>(max_count) + 1)));
    }
    narrow.assign(rows.begin(), rows.end());
    for (std::int64_t s = 0; s < samples; ++s) labels.push_back(random() % 4);
  }
  CountRows view(std::int64_t begin, std::int64_t end) const {
    return {rows.data() + begin * features, CountType::kInt16, labels.data() + begin, end - begin};
  }
  std::int64_t count() const { return static_cast<std::int64_t>(labels.size()); }
  std::int64_t moment(std::int64_t i, std::int64_t j) const {
    std::int64_t sum = 0;
    for (std::int64_t s = 0; s < count(); ++s) {
      sum += std::int64_t{rows[static_cast<std::size_t>(s * features + i)]} *
             rows[static_cast<std::size_t>(s * features + j)];
    }
    return sum;
  }
};

void serial(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
  work(0, count);
}

ParallelFor on_threads(std::int64_t threads) {
  return [threads](std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
    std::vector<std::thread> all;
    for (std::int64_t i = 0; i < threads; ++i) {
      all.emplace_back(work, count * i / threads, count * (i + 1) / threads);
    }
    for (std::thread& one : all) one.join();
  };
}

CountStatistics of(const Samples& samples) {
  CountStatistics state(samples.features, samples.max_count);
  state.add(samples.view(0, samples.count()), serial);
  return state;
}

const CountStatistics::Source kSource(kCountSourceBytes, 7);

TEST(CountMoments, EveryInstructionSetAgreesWithPlainLoops) {
  for (const std::int64_t max_count : {1, 4, 127, 128, 255, 3000, 32767}) {
    const CountForm form = count_form(max_count);
    for (const std::int64_t features : {1, 31, 32, 33, 70}) {
      for (const std::int64_t wish : {1, 2, 3, 5, 63, 64, 65, 130}) {
        const std::int64_t samples = std::min<std::int64_t>(wish, count_chunk(form, max_count));
        const Samples data(features, max_count, samples, static_cast<unsigned>(features * 1000 + samples));
        const std::int64_t blocks = count_blocks(features), tiles = count_tiles(blocks);
        for (const Kernels& kernels : all_kernels()) {
          for (const bool bytes : {false, true}) {
            if (bytes && max_count > 255) continue;
            const std::size_t size = static_cast<std::size_t>(blocks * packed_count_bytes(form, samples));
            const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(64, (size + 63) / 64 * 64),
                                                                &std::free);
            auto* const packed = static_cast<std::uint8_t*>(memory.get());
            const void* const rows = bytes ? static_cast<const void*>(data.narrow.data()) : data.rows.data();
            kernels.pack(
                {rows, bytes ? CountType::kUint8 : CountType::kInt16, form, samples, features, packed}, 0,
                blocks);
            std::vector<std::int32_t> narrow(static_cast<std::size_t>(tiles * kCountTile), 3);
            std::vector<std::int64_t> wide(narrow.size(), -2);
            if (samples * max_count * max_count <= 0x7ffffff0) {
              kernels.moments({packed, form, samples, blocks, false, narrow.data(), nullptr}, 0, tiles);
            }
            kernels.moments({packed, form, samples, blocks, true, nullptr, wide.data()}, 0, tiles / 2);
            kernels.moments({packed, form, samples, blocks, true, nullptr, wide.data()}, tiles / 2, tiles);
            for (std::int64_t i = 0; i < features; ++i) {
              for (std::int64_t j = i; j < features; ++j) {
                const std::int64_t at =
                    count_tile(blocks, i / 32, j / 32) * kCountTile + i % 32 * 32 + j % 32;
                const std::int64_t expected = data.moment(i, j);
                ASSERT_EQ(wide[static_cast<std::size_t>(at)], -2 - expected)
                    << kernels.isa << " " << max_count << " " << samples;
                if (samples * max_count * max_count <= 0x7ffffff0) {
                  ASSERT_EQ(narrow[static_cast<std::size_t>(at)], 3 + expected)
                      << kernels.isa << " " << max_count;
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(CountMoments, RowsAreAddedAndValuesOutsideAreFound) {
  for (const Kernels& kernels : all_kernels()) {
    std::vector<std::int16_t> row(2500, 5);
    std::vector<std::int64_t> sums(row.size(), 1);
    kernels.add_row(row.data(), CountType::kInt16, 2500, sums.data());
    EXPECT_EQ(sums, std::vector<std::int64_t>(row.size(), 6));
    EXPECT_EQ(kernels.find_outside(row.data(), CountType::kInt16, 2500, 5), -1);
    for (const std::int64_t at : {0, 1023, 1024, 2499}) {
      row[static_cast<std::size_t>(at)] = -1;
      EXPECT_EQ(kernels.find_outside(row.data(), CountType::kInt16, 2500, 5), at) << kernels.isa;
      row[static_cast<std::size_t>(at)] = 6;
      EXPECT_EQ(kernels.find_outside(row.data(), CountType::kInt16, 2500, 5), at) << kernels.isa;
      row[static_cast<std::size_t>(at)] = 5;
    }
    const std::vector<std::uint8_t> bytes = {0, 255, 7};
    EXPECT_EQ(kernels.find_outside(bytes.data(), CountType::kUint8, 3, 255), -1);
    EXPECT_EQ(kernels.find_outside(bytes.data(), CountType::kUint8, 3, 254), 1);
  }
}

// The state of the same samples in a random order, in batches up to `most` by up to `threads` threads and
// over a random tree of merges.
CountStatistics shuffled(const Samples& data, std::mt19937& random, unsigned most, unsigned threads) {
  const std::int64_t features = data.features;
  std::vector<std::int64_t> order(static_cast<std::size_t>(data.count()));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  Samples samples = data;
  for (std::size_t s = 0; s < order.size(); ++s) {
    samples.labels[s] = data.labels[static_cast<std::size_t>(order[s])];
    std::copy_n(data.rows.begin() + order[s] * features, features,
                samples.rows.begin() + static_cast<std::int64_t>(s) * features);
  }
  std::vector<CountStatistics> parts;
  for (std::int64_t at = 0; at < data.count();) {
    if (parts.empty() || random() % 3 == 0) parts.emplace_back(features, data.max_count);
    const std::int64_t end = std::min<std::int64_t>(data.count(), at + 1 + random() % most);
    parts.back().add(samples.view(at, end), on_threads(1 + random() % threads));
    at = end;
  }
  while (parts.size() > 1) {
    const std::size_t a = random() % parts.size();
    CountStatistics taken = parts[a];
    parts.erase(parts.begin() + static_cast<std::int64_t>(a));
    parts[random() % parts.size()].merge(taken);
  }
  return parts[0];
}

TEST(CountStatistics, IsTheSameInAnyOrderBatchThreadsAndMerge) {
  std::mt19937 random(1);
  for (const std::int64_t max_count : {1, 4, 1000}) {
    const Samples data(70, max_count, 300, 5);
    const std::vector<std::uint8_t> expected = of(data).serialize(kSource);
    for (int round = 0; round < 40; ++round) {
      ASSERT_EQ(shuffled(data, random, 90, 4).serialize(kSource), expected);
    }
  }
}

TEST(CountStatistics, SubtractingRestoresTheState) {
  const Samples data(40, 9, 100, 3);
  CountStatistics state(40, 9);
  state.add(data.view(0, 60), serial);
  const CountStatistics before = state;
  state.add(data.view(60, 100), serial);
  state.subtract(data.view(60, 100), serial);
  EXPECT_EQ(state, before);
  CountStatistics part(40, 9);
  part.add(data.view(60, 100), serial);
  state.merge(part);
  EXPECT_EQ(state, of(data));
  state.subtract(part);
  EXPECT_EQ(state, before);
  state.subtract(before);
  EXPECT_EQ(state, CountStatistics(40, 9));
  EXPECT_TRUE(state.classes().empty());
  CountStatistics twice = before;
  twice.merge(twice);
  EXPECT_EQ(twice.moment(3, 7), 2 * before.moment(3, 7));
}

// 32767^2 is 2^30 - 65535: two samples fit into int32, three do not.
TEST(CountStatistics, WidensBeforeAnythingOverflowsAndNarrowsAgain) {
  const std::vector<std::int16_t> rows(3 * 33, 32767);
  const std::vector<std::int64_t> labels(3, 2);
  const CountRows two{rows.data(), CountType::kInt16, labels.data(), 2},
      one{rows.data(), CountType::kInt16, labels.data(), 1};
  CountStatistics state(33, 32767);
  state.add(two, serial);
  EXPECT_FALSE(state.wide());
  const CountStatistics narrow = state;
  state.add(one, serial);
  EXPECT_TRUE(state.wide());
  EXPECT_EQ(state.moment(0, 32), 3 * std::int64_t{32767} * 32767);
  CountStatistics merged = narrow;
  CountStatistics single(33, 32767);
  single.add(one, serial);
  merged.merge(single);
  EXPECT_EQ(merged, state);
  state.subtract(one, serial);
  EXPECT_EQ(state, narrow);
  merged.subtract(single);
  EXPECT_EQ(merged, narrow);
}

TEST(CountStatistics, BadInputLeavesTheStateAsItWas) {
  const Samples data(40, 9, 50, 3);
  CountStatistics state = of(data);
  const CountStatistics before = state;
  Samples bad = data;
  bad.rows[77] = 10;
  EXPECT_THROW(state.add(bad.view(0, 50), serial), std::invalid_argument);
  bad.rows[77] = -1;
  EXPECT_THROW(state.add(bad.view(0, 50), serial), std::invalid_argument);
  bad = data;
  bad.labels[9] = -3;
  EXPECT_THROW(state.add(bad.view(0, 50), serial), std::invalid_argument);
  bad.labels[9] = 99;  // unknown, so nothing of it can be subtracted
  EXPECT_THROW(state.subtract(bad.view(0, 50), serial), std::invalid_argument);
  EXPECT_THROW(state.merge(CountStatistics(41, 9)), std::invalid_argument);
  EXPECT_THROW(state.merge(CountStatistics(40, 8)), std::invalid_argument);
  CountStatistics more = state;
  more.merge(state);
  EXPECT_THROW(state.subtract(more), std::invalid_argument);
  // As many samples of the class, but others: sums or square sums would become negative.
  Samples other = data;
  std::fill(other.rows.begin(), other.rows.end(), std::int16_t{9});
  EXPECT_THROW(state.subtract(other.view(0, 50), serial), std::invalid_argument);
  EXPECT_EQ(state, before);
  EXPECT_THROW(CountStatistics(0, 4), std::invalid_argument);
  EXPECT_THROW(CountStatistics(4, 32768), std::invalid_argument);
}

// M_ij^2 <= M_ii M_jj: merging keeps it, so that the largest square sum bounds every entry.
TEST(CountStatistics, PairsThatNoSamplesHaveAreRefused) {
  const auto made = [](std::int64_t left, std::int64_t both, std::int64_t right) {
    const std::int64_t moment[] = {left, both, both, right};
    const auto sum = [](std::int64_t square) { return (square + 32766) / 32767; };
    CountStatistics::Classes classes;
    classes[0] = {1 << 20, {sum(left), sum(right)}};
    return CountStatistics::from_parts(2, 32767, classes, moment);
  };
  const std::int64_t big = 0x7fffffff, huge = std::int64_t{1} << 40;
  EXPECT_NO_THROW(made(16, 8, 4));
  EXPECT_NO_THROW(made(big, big, big));
  EXPECT_NO_THROW(made(huge, huge, huge));
  EXPECT_THROW(made(16, 9, 4), CountStatisticsError);
  EXPECT_THROW(made(16, 1, 0), CountStatisticsError);
  EXPECT_THROW(made(big, big, 0), CountStatisticsError);
  EXPECT_THROW(made(big, big, big - 1), CountStatisticsError);
  EXPECT_THROW(made(huge, huge, huge - 1), CountStatisticsError);
  CountStatistics sum = made(big, big - 1, big - 1);
  sum.merge(made(big - 1, big - 1, big));
  EXPECT_TRUE(sum.wide());
  EXPECT_EQ(sum.moment(0, 1), 2 * (big - 1));
}

// Counts, sums and square sums would be those of samples, the second moment of two features would not.
TEST(CountStatistics, SamplesThatWereNotAddedAreFoundInThePairs) {
  for (const std::int16_t most : {4, 32767}) {
    for (const int copies : {1, 3}) {  // of 32767, three are wide
      std::vector<std::int16_t> rows;
      std::vector<std::int64_t> labels;
      for (int i = 0; i < copies; ++i) {
        const std::int16_t added[] = {most, most, 0, 0, 1, 1};
        rows.insert(rows.end(), added, added + 6);
        labels.insert(labels.end(), 3, 7);
      }
      CountStatistics state(2, most);
      state.add({rows.data(), CountType::kInt16, labels.data(), 3 * copies}, serial);
      EXPECT_EQ(state.wide(), most == 32767 && copies == 3);
      const CountStatistics before = state;
      std::vector<std::int16_t> others;
      for (int i = 0; i < copies; ++i) {
        const std::int16_t wrong[] = {most, 0, 0, most};
        others.insert(others.end(), wrong, wrong + 4);
      }
      const CountRows wrong{others.data(), CountType::kInt16, labels.data(), 2 * copies};
      EXPECT_THROW(state.subtract(wrong, on_threads(2)), std::invalid_argument);
      EXPECT_EQ(state, before);
      CountStatistics part(2, most);
      part.add(wrong, serial);
      EXPECT_THROW(state.subtract(part), std::invalid_argument);
      EXPECT_EQ(state, before);
    }
  }
  // A square sum that the sum left cannot have, and an entry that would become negative.
  const auto refuses = [](const std::vector<std::uint8_t>& added, const std::vector<std::uint8_t>& wrong) {
    const std::vector<std::int64_t> labels(8);
    const auto rows = [&](const std::vector<std::uint8_t>& values) {
      return CountRows{values.data(), CountType::kUint8, labels.data(),
                       static_cast<std::int64_t>(values.size() / 2)};
    };
    CountStatistics state(2, 4);
    state.add(rows(added), serial);
    const CountStatistics before = state;
    EXPECT_THROW(state.subtract(rows(wrong), serial), std::invalid_argument);
    EXPECT_EQ(state, before);
  };
  refuses({4, 0, 0, 0}, {2, 0});
  refuses({4, 0, 0, 4, 1, 1}, {4, 4});
}

TEST(CountStatistics, CountsTooManySamplesBeforeTheyOverflow) {
  CountStatistics::Classes classes;
  classes[0] = {kMaxCountSamples, {0}};
  const std::int64_t moment = 0;
  CountStatistics state = CountStatistics::from_parts(1, 4, classes, &moment);
  const std::uint8_t row = 1;
  const std::int64_t label = 0;
  EXPECT_THROW(state.add({&row, CountType::kUint8, &label, 1}, serial), std::invalid_argument);
  classes[0].samples = 3;
  EXPECT_NO_THROW(CountStatistics::from_parts(1, 4, classes, &moment));
  classes[0].sums[0] = 13;  // more than 3 samples of at most 4
  EXPECT_THROW(CountStatistics::from_parts(1, 4, classes, &moment), CountStatisticsError);
}

// The bytes of format version 1: they must not change while kCountStatisticsVersion stays.
TEST(CountStatistics, GoldenBytes) {
  const std::vector<std::uint8_t> rows = {1, 2, 0, 3};
  const std::vector<std::int64_t> labels = {5, 2};
  CountStatistics state(2, 3);
  state.add({rows.data(), CountType::kUint8, labels.data(), 2}, serial);
  std::vector<std::uint8_t> expected = {'E', 'C', 'S', 'T', 'A', 'T', 'E', 0, 1, 0, 0, 0, 4, 0, 0, 0};
  const auto u64 = [&](std::uint64_t value) {
    for (int i = 0; i < 8; ++i) expected.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  };
  for (const std::uint64_t value : {2, 3, 2}) u64(value);  // features, max_count, classes
  expected.insert(expected.end(), kSource.begin(), kSource.end());
  for (const std::uint64_t value : {2, 1, 0, 3}) u64(value);  // class 2: one sample, its sums
  for (const std::uint64_t value : {5, 1, 1, 2}) u64(value);
  for (const std::uint8_t value : {1, 2, 13}) expected.insert(expected.end(), {value, 0, 0, 0});
  expected.insert(expected.end(), {0x5d, 0x87, 0x9a, 0x18});
  EXPECT_EQ(state.serialize(kSource), expected);
}

TEST(CountStatistics, FilesReadBackAndBrokenOnesAreRefused) {
  const CountStatistics state = of(Samples(35, 4, 60, 8));
  const std::vector<std::uint8_t> bytes = state.serialize(kSource);
  CountStatistics::Source source;
  EXPECT_EQ(CountStatistics::parse(bytes.data(), bytes.size(), &source), state);
  EXPECT_EQ(source, kSource);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(CountStatistics::parse(bytes.data(), size, nullptr), CountStatisticsError);
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::vector<std::uint8_t> changed = bytes;
    changed[at] ^= 1;
    EXPECT_THROW(CountStatistics::parse(changed.data(), changed.size(), nullptr), CountStatisticsError);
  }
  std::vector<std::uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_THROW(CountStatistics::parse(longer.data(), longer.size(), nullptr), CountStatisticsError);
  // Values that no samples have, under a right checksum.
  const std::size_t sums = 72 + 16, moments = bytes.size() - 4 - 4 * 35 * 36 / 2;
  const std::vector<std::pair<std::size_t, std::size_t>> places = {
      {72, 1},      {72, 7},      {80, 7},          {sums, 1},       {sums, 7},
      {moments, 1}, {moments, 3}, {moments + 4, 2}, {moments + 4, 3}};
  for (const auto& [at, byte] : places) {
    std::vector<std::uint8_t> changed = bytes;
    changed[at + byte] = 0xff;
    const std::uint32_t crc = crc32(changed.data(), changed.size() - 4);
    for (std::size_t i = 0; i < 4; ++i)
      changed[changed.size() - 4 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
    EXPECT_THROW(CountStatistics::parse(changed.data(), changed.size(), nullptr), CountStatisticsError) << at;
  }
}

// By hand (make learner-long-test): 1,000 orders, batch sizes, thread counts and merge trees at 256 features.
TEST(CountStatistics, DISABLED_ThousandOrders) {
  const Samples data(256, 4, 2000, 11);
  const std::vector<std::uint8_t> expected = of(data).serialize(kSource);
  std::mt19937 random(2);
  for (int round = 0; round < 1000; ++round) {
    ASSERT_EQ(shuffled(data, random, 400, 8).serialize(kSource), expected) << "round " << round;
  }
}

}  // namespace
