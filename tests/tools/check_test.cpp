// The verdict of `run --check`: right results pass wherever numbers are few, small, zero or huge; one wrong row or
// element of any output, NaN and infinity do not.
#include "tools/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "oracle/random_inputs.h"
#include "oracle/storage.h"
#include "support/error.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::tools {
namespace {

constexpr mhcjit_dtype dtypes[] = {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32};

HostBuffer stored(const std::vector<double>& values, mhcjit_dtype dtype) {
  if (values.empty()) return {};
  const std::vector<std::byte> bytes = oracle::to_storage(values, dtype);
  HostBuffer buffer = llvm::cantFail(HostBuffer::allocate(bytes.size()));
  std::ranges::copy(bytes, buffer.data());
  return buffer;
}

// One call on the CPU, forward and backward.
class Check : public testing::Test {
 protected:
  void draw(const oracle::RandomOptions& random) {
    options = {.placement = std::nullopt, .backward = true, .cache_dir = folder / "cache"};
    values = oracle::random_inputs(random);
    gradients = oracle::random_output_gradients(random);
    inputs = {};
    inputs.leading = {random.shape.T};
    inputs.T = random.shape.T;
    inputs.n = random.shape.n;
    inputs.d = random.shape.D;
    inputs.dtype = random.dtype;
  }

  void run() {
    inputs.x = stored(values.x, inputs.dtype);
    inputs.phi = stored(values.phi, MHCJIT_FP32);
    inputs.alpha = stored(values.alpha, MHCJIT_FP32);
    inputs.bias = stored(values.bias, MHCJIT_FP32);
    inputs.gamma = stored(values.gamma, MHCJIT_FP32);
    inputs.dh_in = stored(gradients.dh_in, inputs.dtype);
    inputs.dh_post = stored(gradients.dh_post, MHCJIT_FP32);
    inputs.dh_res = stored(gradients.dh_res, MHCJIT_FP32);
    llvm::Expected<RunResult> result = run_operator(inputs, options);
    if (!result) FAIL() << take_failure(result.takeError()).text;
    outputs = std::move(result->outputs);
  }

  // The tensors that failed.
  std::vector<std::string> failed() const {
    std::vector<std::string> names;
    for (const CheckRow& row : check_outputs(inputs, options, outputs))
      if (!row.comparison.ok()) names.push_back(row.tensor);
    return names;
  }

  oracle::Comparison compared(const std::string& tensor) const {
    const std::vector<CheckRow> rows = check_outputs(inputs, options, outputs);
    return std::ranges::find(rows, tensor, &CheckRow::tensor)->comparison;
  }

  void expect_right() {
    run();
    for (const CheckRow& row : check_outputs(inputs, options, outputs))
      EXPECT_TRUE(row.comparison.ok()) << row.tensor << ": " << to_string(row.comparison);
  }

  double value_at(const OutputTensor& output, std::size_t index) const {
    return oracle::from_storage(output.values.data() + index * oracle::bytes_of(output.dtype), 1, output.dtype)[0];
  }
  void set(OutputTensor& output, std::size_t index, double value) const {
    const std::vector<std::byte> bytes = oracle::to_storage(std::vector{value}, output.dtype);
    std::memcpy(output.values.data() + index * bytes.size(), bytes.data(), bytes.size());
  }

  test::TemporaryFolder folder;
  RunOptions options;
  oracle::Inputs values;
  oracle::OutputGradients gradients;
  RunInputs inputs;
  std::vector<OutputTensor> outputs;
};

// In 20 seeds, h_in of one element is up to 3.3e-3 off as the nearest bf16.
TEST_F(Check, OneElementIsRightWhenItIsTheNearest) {
  bool beyond_the_norm = false;
  for (const mhcjit_dtype dtype : dtypes) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(fmt::format("dtype {}, seed {}", static_cast<int>(dtype), seed));
      draw({.shape = {.T = 1, .n = 1, .D = 1}, .dtype = dtype, .seed = seed});
      expect_right();
      const oracle::Comparison h_in = compared("h_in");
      beyond_the_norm |= h_in.error > h_in.bound;
    }
  }
  EXPECT_TRUE(beyond_the_norm) << "no seed shows it";
}

// h_res of one token and one stream is one number, which may be nearly zero.
TEST_F(Check, FewNumbersAreRight) {
  for (const mhcjit_dtype dtype : dtypes) {
    for (const auto& [T, n, D] : {std::tuple{1, 1, 64}, {1, 1, 512}, {1, 2, 1}, {2, 1, 1}, {3, 4, 1}}) {
      for (std::uint64_t seed = 0; seed < 10; ++seed) {
        SCOPED_TRACE(fmt::format("T {} n {} D {} dtype {}, seed {}", T, n, D, static_cast<int>(dtype), seed));
        draw({.shape = {.T = T, .n = n, .D = D}, .dtype = dtype, .seed = seed});
        expect_right();
      }
    }
  }
}

TEST_F(Check, SmallXIsRight) {
  for (const mhcjit_dtype dtype : dtypes) {
    // Subnormal numbers of fp16; of bf16 and fp32; zeros.
    for (const double x_std : {1e-4, 1e-6, 1e-7, 1e-30, 1e-38, 1e-40, 0.0}) {
      for (const bool has_gamma : {false, true}) {
        SCOPED_TRACE(fmt::format("dtype {}, std {}", static_cast<int>(dtype), x_std));
        draw({.shape = {.T = 13, .n = 4, .D = 64, .has_gamma = has_gamma}, .dtype = dtype, .x_std = x_std});
        expect_right();
      }
    }
  }
  draw({.shape = {.T = 13, .n = 4, .D = 64}, .dtype = MHCJIT_FP16, .x_std = 1e-6});
  expect_right();
  EXPECT_TRUE(compared("h_in").is_rounded);
}

TEST_F(Check, HugeXIsRight) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP32}) {
    draw({.shape = {.T = 13, .n = 4, .D = 64, .has_gamma = true}, .dtype = dtype, .x_std = 1e15});
    expect_right();
  }
  draw({.shape = {.T = 13, .n = 4, .D = 64, .has_gamma = true}, .dtype = MHCJIT_FP16, .x_std = 10000.0});
  expect_right();
}

// dx of fp16, of the size of inv_rms = 1e6, is beyond the type in part.
TEST_F(Check, AnInfinityIsRightWhereTheReferenceIsBeyondTheType) {
  draw({.shape = {.T = 13, .n = 4, .D = 64, .has_gamma = true}, .dtype = MHCJIT_FP16, .x_std = 1e-6});
  options.norm_eps = 1e-20f;
  expect_right();
  OutputTensor& dx = *std::ranges::find(outputs, "dx", &OutputTensor::name);
  const std::size_t count = dx.values.size() / 2;
  std::size_t infinite = 0;
  std::size_t finite = 0;
  for (std::size_t i = 0; i < count; ++i) (std::isinf(value_at(dx, i)) ? infinite : finite) = i;
  ASSERT_GT(infinite, 0u);
  ASSERT_GT(finite, 0u);
  const double was = value_at(dx, infinite);
  set(dx, infinite, -was);
  EXPECT_EQ(failed(), std::vector<std::string>{"dx"});
  set(dx, infinite, was);
  EXPECT_EQ(failed(), std::vector<std::string>{});
  set(dx, finite, was);
  EXPECT_EQ(failed(), std::vector<std::string>{"dx"});
}

// The gates are shut, or open: h_post is 0 in fp32, or 2.
TEST_F(Check, SaturatedGatesAreRight) {
  for (const mhcjit_dtype dtype : dtypes) {
    for (const double bias : {-1e4, -200.0, -95.0, -88.0, -20.0, 20.0, 88.0, 200.0, 1e4}) {
      for (const float hc_eps : {0.0f, 1e-6f}) {
        SCOPED_TRACE(fmt::format("dtype {}, bias {}, hc_eps {}", static_cast<int>(dtype), bias, hc_eps));
        draw({.shape = {.T = 13, .n = 4, .D = 64}, .dtype = dtype});
        std::ranges::fill(values.bias, bias);
        options.hc_eps = hc_eps;
        expect_right();
        // Where nothing but the gate's gradient is in the sum.
        gradients.dh_in.clear();
        gradients.dh_res.clear();
        expect_right();
      }
    }
  }
}

TEST_F(Check, ParametersOfZeroAreRight) {
  for (const mhcjit_dtype dtype : dtypes) {
    for (auto tensor : {&oracle::Inputs::alpha, &oracle::Inputs::phi, &oracle::Inputs::bias, &oracle::Inputs::gamma}) {
      draw({.shape = {.T = 7, .n = 2, .D = 64, .has_gamma = true}, .dtype = dtype});
      std::ranges::fill(values.*tensor, 0.0);
      expect_right();
    }
  }
}

// In every output, each alone.
TEST_F(Check, WhatIsWrongInOneTensorFailsIt) {
  for (const mhcjit_dtype dtype : dtypes) {
    SCOPED_TRACE(static_cast<int>(dtype));
    draw({.shape = {.T = 64, .n = 4, .D = 256, .has_gamma = true}, .dtype = dtype});
    expect_right();
    for (OutputTensor& output : outputs) {
      SCOPED_TRACE(output.name);
      const std::size_t count = output.values.size() / oracle::bytes_of(output.dtype);
      const std::size_t index = count * 5 / 8;
      const double was = value_at(output, index);
      const auto expect_failed = [&](double wrong) {
        set(output, index, wrong);
        const std::vector<std::string> names = failed();
        EXPECT_TRUE(std::ranges::count(names, output.name)) << wrong;
        set(output, index, was);
      };
      for (const double wrong : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                                 -std::numeric_limits<double>::infinity(), 3e4})
        expect_failed(wrong);
    }
    EXPECT_EQ(failed(), std::vector<std::string>{});
  }
}

TEST_F(Check, AWrongRowFailsAndIsNamed) {
  for (const mhcjit_dtype dtype : dtypes) {
    SCOPED_TRACE(static_cast<int>(dtype));
    draw({.shape = {.T = 3000, .n = 2, .D = 64}, .dtype = dtype});
    run();
    ASSERT_EQ(failed(), std::vector<std::string>{});
    for (const char* name : {"h_in", "dx"}) {
      OutputTensor& output = *std::ranges::find(outputs, name, &OutputTensor::name);
      const std::size_t row = output.values.size() / oracle::bytes_of(output.dtype) / 3000;
      const std::size_t begin = 2345 * row;
      // Four hundredths of it: 7e-4 of the norm of the whole.
      for (std::size_t i = begin; i < begin + row; ++i) set(output, i, value_at(output, i) * 1.04);
      const oracle::Comparison comparison = compared(name);
      EXPECT_FALSE(comparison.ok()) << to_string(comparison);
      EXPECT_EQ(comparison.worst_row, 2345);
      EXPECT_EQ(comparison.error > comparison.bound, dtype != MHCJIT_BF16) << "what the norm sees of it";
    }
  }
}

}  // namespace
}  // namespace mhcjit::tools
