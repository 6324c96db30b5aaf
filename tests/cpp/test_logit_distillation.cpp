#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "eccsnn/logit_distillation.h"

namespace {

using eccsnn::DType;
using eccsnn::LogitDistillation;
using eccsnn::LogitDistillationBackward;

struct Result {
  std::vector<double> loss, gradient;
};

Result distill(const std::vector<double>& student, const std::vector<double>& teacher, std::int64_t samples,
               double temperature, const std::vector<std::int64_t>& class_ids = {}) {
  const std::int64_t k = static_cast<std::int64_t>(student.size()) / samples;
  const std::int64_t m = static_cast<std::int64_t>(teacher.size()) / samples;
  Result result{std::vector<double>(samples), std::vector<double>(student.size())};
  LogitDistillation args;
  args.dtype = DType::kFloat64;
  args.student = {student.data(), k, k, 1};
  args.teacher = {teacher.data(), m, m, 1};
  args.class_ids = class_ids.empty() ? nullptr : class_ids.data();
  args.temperature = temperature;
  args.loss = result.loss.data();
  args.gradient = result.gradient.data();
  for (std::int64_t n = 0; n < samples; ++n) eccsnn::logit_distillation(args, n, n + 1);
  return result;
}

TEST(LogitDistillation, AgreesWithTheClosedFormForTwoClasses) {
  // With one logit difference each, p = sigmoid(d_t / T) and q = sigmoid(d_s / T).
  const double t = 3.0;
  const double p = 1 / (1 + std::exp(-2.0 / t)), q = 1 / (1 + std::exp(1.0 / t));
  const Result result = distill({0.0, 1.0}, {5.0, 3.0}, 1, t);
  EXPECT_NEAR(result.loss[0], t * t * (p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q))), 1e-14);
  EXPECT_NEAR(result.gradient[0], t * (q - p), 1e-14);
  EXPECT_NEAR(result.gradient[1], t * (p - q), 1e-14);
}

TEST(LogitDistillation, ClassIdsChooseAndRenormaliseTheTeacher) {
  const Result chosen = distill({0.3, -0.7}, {9.0, 1.0, -4.0, 2.0}, 1, 2.0, {3, 1});
  const Result plain = distill({0.3, -0.7}, {2.0, 1.0}, 1, 2.0);
  EXPECT_EQ(chosen.loss, plain.loss);
  EXPECT_EQ(chosen.gradient, plain.gradient);
}

TEST(LogitDistillation, IsExactlyZeroForEqualLogitsAndForOneClass) {
  EXPECT_EQ(distill({1.5, -2.0, 0.1}, {1.5, -2.0, 0.1}, 1, 4.0).loss[0], 0.0);
  const Result one = distill({123.0}, {-7.0}, 1, 3.0);
  EXPECT_EQ(one.loss[0], 0.0);
  EXPECT_EQ(one.gradient[0], 0.0);
}

TEST(LogitDistillation, SurvivesLargeLogitsAndKeepsNanToItsSample) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const Result large = distill({1e5, -1e5, 1e5, 0.0}, {1e5, -1e5, 0.0, -inf}, 2, 1.0);
  EXPECT_EQ(large.loss[0], 0.0);
  EXPECT_EQ(large.loss[1], 0.0);  // p = (1, 0): the impossible class costs nothing
  const Result bad = distill({nan, 1.0, 2.0, 1.0}, {1.0, 2.0, 1.0, 2.0}, 2, 1.0);
  EXPECT_TRUE(std::isnan(bad.loss[0]));
  EXPECT_TRUE(std::isfinite(bad.loss[1]));
}

TEST(LogitDistillationBackward, ScalesTheSavedGradientPerSample) {
  const std::vector<float> grad_loss{2.0f, -1.0f}, gradient{1, 2, 3, 4};
  std::vector<float> grad_student(4);
  LogitDistillationBackward args;
  args.dtype = DType::kFloat32;
  args.classes = 2;
  args.grad_loss = grad_loss.data();
  args.gradient = gradient.data();
  args.grad_student = grad_student.data();
  eccsnn::logit_distillation_backward(args, 0, 2);
  EXPECT_EQ(grad_student, (std::vector<float>{2, 4, -3, -4}));
}

}  // namespace
