// The conversions that every host path rounds with: a wrong tie or subnormal here would make every comparison of bf16
// and fp16 results wrong by a rounding. Checked against llvm::APFloat.
#include "support/half.h"

#include <bit>
#include <cmath>
#include <random>

#include <gtest/gtest.h>
#include <llvm/ADT/APFloat.h>

namespace mhcjit {
namespace {

struct Format {
  const llvm::fltSemantics& semantics;
  float (*to_float)(std::uint16_t);
  std::uint16_t (*from_float)(float);
  int mantissa_bits;
};

const Format formats[] = {{llvm::APFloat::BFloat(), bf16_to_float, float_to_bf16, 7},
                          {llvm::APFloat::IEEEhalf(), fp16_to_float, float_to_fp16, 10}};

std::uint16_t reference_from_float(const Format& format, float value) {
  llvm::APFloat converted(value);
  bool loses_info = false;
  converted.convert(format.semantics, llvm::APFloat::rmNearestTiesToEven, &loses_info);
  return static_cast<std::uint16_t>(converted.bitcastToAPInt().getZExtValue());
}

// Empty when they agree, so that a sweep over millions of values costs no assertion object each.
std::string disagreement(const Format& format, float value) {
  const std::uint16_t actual = format.from_float(value);
  if (std::isnan(value)) {
    const llvm::APFloat result(format.semantics, llvm::APInt(16, actual));
    const bool same_sign = result.isNegative() == std::signbit(value);
    return result.isNaN() && !result.isSignaling() && same_sign ? "" : "a NaN became something else";
  }
  const std::uint16_t expected = reference_from_float(format, value);
  if (actual == expected) return "";
  return testing::PrintToString(value) + " gave bits " + std::to_string(actual) + ", not " + std::to_string(expected);
}

TEST(Half, EveryBitPatternBecomesTheSameNumber) {
  for (const Format& format : formats) {
    for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
      llvm::APFloat expected(format.semantics, llvm::APInt(16, bits));
      const float actual = format.to_float(static_cast<std::uint16_t>(bits));
      bool loses_info = false;
      expected.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven, &loses_info);
      if (expected.isNaN()) {
        ASSERT_TRUE(std::isnan(actual)) << bits;
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(actual), expected.bitcastToAPInt().getZExtValue()) << bits;
      }
    }
  }
}

// Each 16-bit value, the midpoint to its successor, and the floats on both sides of both.
TEST(Half, RoundsToNearestEvenAtAndAroundEveryMidpoint) {
  for (const Format& format : formats) {
    for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
      const float value = format.to_float(static_cast<std::uint16_t>(bits));
      if (std::isnan(value)) continue;
      const float next = format.to_float(static_cast<std::uint16_t>(bits + 1));
      // Where `next` is infinite, the midpoint is where an unbounded exponent would have put it.
      const double step = std::isfinite(next) ? double{next} - value
                                              : double{value} - format.to_float(static_cast<std::uint16_t>(bits - 1));
      const auto middle = static_cast<float>(double{value} + step / 2);
      for (const float base : {value, middle}) {
        for (const float candidate : {base, std::nextafter(base, INFINITY), std::nextafter(base, -INFINITY)}) {
          ASSERT_EQ(disagreement(format, candidate), "");
        }
      }
    }
  }
}

TEST(Half, RoundsADenseSweepOfAllFloats) {
  std::mt19937 engine(20240607);
  for (const Format& format : formats) {
    // A stride without a common factor with 2^32 visits every exponent, sign and low bit.
    for (std::uint64_t bits = engine() % 4099; bits <= 0xffffffff; bits += 4099) {
      ASSERT_EQ(disagreement(format, std::bit_cast<float>(static_cast<std::uint32_t>(bits))), "");
    }
  }
}

TEST(Half, EveryValueSurvivesTheRoundTrip) {
  for (const Format& format : formats) {
    const std::uint32_t quiet_bit = 1u << (format.mantissa_bits - 1);
    for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
      const float value = format.to_float(static_cast<std::uint16_t>(bits));
      ASSERT_EQ(format.from_float(value), std::isnan(value) ? bits | quiet_bit : bits);
    }
  }
}

static_assert(float_to_bf16(1.0f) == 0x3f80 && bf16_to_float(0x3f80) == 1.0f);
static_assert(float_to_fp16(65519.0f) == 0x7bff && float_to_fp16(65520.0f) == 0x7c00);

}  // namespace
}  // namespace mhcjit
