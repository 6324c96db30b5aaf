// Runs a fuzz target without libFuzzer: on the files that are named, and on a given number of mutations of
// each.
//   fuzz_spike_codec_replay MUTATIONS FILE...
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: %s MUTATIONS FILE...\n", arguments[0]);
    return 2;
  }
  const long mutations = std::strtol(arguments[1], nullptr, 10);
  std::mt19937 random(0);
  for (int i = 2; i < count; ++i) {
    std::ifstream file(arguments[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s cannot be read\n", arguments[i]);
      return 2;
    }
    const std::vector<std::uint8_t> seed{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(seed.data(), seed.size());
    for (long m = 0; m < mutations; ++m) {
      std::vector<std::uint8_t> bytes = seed;
      for (unsigned edits = 1 + random() % 4; edits > 0 && !bytes.empty(); --edits) {
        const std::size_t at = random() % bytes.size();
        switch (random() % 4) {
          case 0:
            bytes[at] ^= static_cast<std::uint8_t>(1u << (random() % 8));
            break;
          case 1:
            bytes[at] = static_cast<std::uint8_t>(random());
            break;
          case 2:
            bytes.resize(at);
            break;
          default:
            bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                         static_cast<std::uint8_t>(random()));
        }
      }
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
  }
  std::printf("%d files, %ld mutations each\n", count - 2, mutations);
  return 0;
}
