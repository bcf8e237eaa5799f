// What the hardware tests share: the skip where there is no GPU, the comparison with the oracle, and its record.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bench/gpu/pre_backward_call.h"
#include "engine.h"
#include "oracle/outputs.h"

namespace mhcjit::gpu {

class GpuTest : public ::testing::Test {
 protected:
  // Skips with a text that says what is missing. The device's context is current afterwards.
  void SetUp() override;
  // Records in the test's result what took the largest share of each tensor's bound, as a property "error of h_in".
  void TearDown() override;

  const Gpu& gpu() const { return *gpu_; }

  // Forward, then backward from what forward saved, both against the oracle, with poisoned outputs and guard words.
  void expect_matches_oracle(const Case& item);

  void expect_right(const Case& item, const oracle::Reference& output, std::span<const double> value);
  void expect_right(const Case& item, const std::vector<oracle::Reference>& outputs, const Tensors& tensors);

 private:
  const Gpu* gpu_ = nullptr;
  std::map<std::string, oracle::Comparison> worst_;  // by tensor, of what was compared
};

bool has_clusters(const Gpu& gpu);

// Both operators of each case.
std::vector<mhcjit_problem> problems_of(std::span<const Case> cases);

// Names of tensors that differ, as test messages: empty when all bits are equal.
std::string differing(const Tensors& expected, const Tensors& actual);

}  // namespace mhcjit::gpu
