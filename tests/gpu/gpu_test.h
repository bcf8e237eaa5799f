// What the hardware tests share: the skip where there is no GPU, the comparison with the oracle, and its record.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bench/gpu/calls.h"
#include "engine.h"

namespace mhcjit::gpu {

class GpuTest : public ::testing::Test {
 protected:
  // Skips with a text that says what is missing. The device's context is current afterwards.
  void SetUp() override;
  // Records the largest error of each tensor in the test's result, as a property "error of h_in".
  void TearDown() override;

  const Gpu& gpu() const { return *gpu_; }

  // Forward, then backward from what forward saved, both against the oracle, with poisoned outputs and guard words.
  void expect_matches_oracle(const Case& item);

  // The tensor's error is within the bound of its dtype.
  void expect_close(const Case& item, const std::string& tensor, std::span<const double> reference,
                    std::span<const double> value);
  void expect_close(const Case& item, const std::string& tensor, std::span<const double> reference,
                    const Tensors& tensors);

 private:
  const Gpu* gpu_ = nullptr;
  std::map<std::string, double> worst_error_;
};

// Both operators of each case.
std::vector<mhcjit_problem> problems_of(std::span<const Case> cases);

// Names of tensors that differ, as test messages: empty when all bits are equal.
std::string differing(const Tensors& expected, const Tensors& actual);

}  // namespace mhcjit::gpu
