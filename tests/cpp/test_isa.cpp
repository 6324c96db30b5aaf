#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "eccsnn/isa.h"

namespace {

TEST(Isa, SelectsWhatIsSupportedAndSaysWhy) {
  const eccsnn::IsaChoice& choice = eccsnn::isa_choice();
  EXPECT_LE(choice.selected, choice.supported);
  EXPECT_FALSE(choice.reason.empty());
  if (const char* wish = std::getenv("ECCSNN_ISA"); wish != nullptr && *wish != '\0') {
    EXPECT_EQ(eccsnn::isa_name(choice.selected), std::string(wish));
  } else {
    EXPECT_EQ(choice.selected, choice.supported);
  }
}

TEST(Isa, NamesAreThoseOfTheEnvironmentVariable) {
  EXPECT_STREQ(eccsnn::isa_name(eccsnn::Isa::kBaseline), "baseline");
  EXPECT_STREQ(eccsnn::isa_name(eccsnn::Isa::kAvx2), "avx2");
  EXPECT_STREQ(eccsnn::isa_name(eccsnn::Isa::kAvx512), "avx512");
}

}  // namespace
