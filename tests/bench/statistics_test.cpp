// Quantiles are samples, not values between two of them.
#include "bench/statistics.h"

#include <gtest/gtest.h>

namespace mhcjit::bench {
namespace {

TEST(Quantile, OfOneSampleIsTheSample) {
  for (const double fraction : {0.0, 0.1, 0.5, 0.9, 1.0}) EXPECT_EQ(quantile({7.5}, fraction), 7.5);
}

TEST(Quantile, MedianOfAnOddCountStandsInTheMiddle) {
  EXPECT_EQ(quantile({5.0, 1.0, 3.0}, 0.5), 3.0);
  EXPECT_EQ(quantile({9.0, 2.0, 2.0, 2.0, 8.0}, 0.5), 2.0);
}

TEST(Quantile, MedianOfAnEvenCountIsTheUpperOfTheMiddleTwo) { EXPECT_EQ(quantile({4.0, 1.0, 3.0, 2.0}, 0.5), 3.0); }

TEST(Quantile, TenthsOfElevenSamples) {
  const std::vector<double> values = {10.0, 0.0, 9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0};
  EXPECT_EQ(quantile(values, 0.0), 0.0);
  EXPECT_EQ(quantile(values, 0.1), 1.0);
  EXPECT_EQ(quantile(values, 0.5), 5.0);
  EXPECT_EQ(quantile(values, 0.9), 9.0);
  EXPECT_EQ(quantile(values, 1.0), 10.0);
}

}  // namespace
}  // namespace mhcjit::bench
