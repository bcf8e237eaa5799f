#include "gpu_test.h"

#include <string_view>

#include "oracle/storage.h"
#include "oracle/tensors.h"

namespace mhcjit::gpu {

namespace {

std::vector<double> values_in(const Case& item, const std::string& tensor, const Tensors& tensors) {
  const std::vector<std::byte>& storage = tensors.at(tensor);
  const mhcjit_dtype dtype = oracle::dtype_of(tensor, item.dtypes());
  const auto count = static_cast<std::int64_t>(storage.size() / oracle::bytes_of(dtype));
  return oracle::from_storage(storage.data(), count, dtype);
}

}  // namespace

void GpuTest::SetUp() {
  gpu_ = find_gpu();
  if (gpu_ == nullptr) GTEST_SKIP() << "NOT RUN, NO GPU: " << missing_gpu();
}

void GpuTest::TearDown() {
  for (const auto& [tensor, worst] : worst_) RecordProperty("error of " + tensor, oracle::to_string(worst));
}

void GpuTest::expect_matches_oracle(const Case& item) {
  SCOPED_TRACE(to_string(item));
  const oracle::Inputs inputs = oracle::random_inputs(item.random);
  const oracle::Forward reference = oracle::pre_forward(item.shape(), inputs);
  const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), inputs);
  ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  const Tensors values = forward.outputs();
  expect_right(item, oracle::outputs_of(item.shape(), reference), values);

  // Backward is a function of what forward saved, as it was saved.
  const oracle::Forward saved =
      oracle::saved_by_forward([&](const char* tensor) { return values_in(item, tensor, values); });
  const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
  const oracle::Backward expected = oracle::pre_backward(item.shape(), inputs, saved, gradients);
  const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)), gradients);
  ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  expect_right(item, oracle::outputs_of(item.shape(), expected), backward.outputs());
  EXPECT_EQ(forward.damaged(), "");
  EXPECT_EQ(backward.damaged(), "");
}

void GpuTest::expect_right(const Case& item, const oracle::Reference& output, std::span<const double> value) {
  const oracle::Comparison comparison = oracle::compare(output, value, item.dtypes());
  EXPECT_TRUE(comparison.ok()) << output.name << " of " << to_string(item) << ": " << oracle::to_string(comparison);
  oracle::Comparison& worst = worst_.try_emplace(std::string(output.name), comparison).first->second;
  if (comparison.share() > worst.share()) worst = comparison;
}

void GpuTest::expect_right(const Case& item, const std::vector<oracle::Reference>& outputs, const Tensors& tensors) {
  for (const oracle::Reference& output : outputs)
    expect_right(item, output, values_in(item, std::string(output.name), tensors));
}

bool has_clusters(const Gpu& gpu) { return std::stoi(gpu.architecture.substr(std::string_view("sm_").size())) >= 90; }

std::vector<mhcjit_problem> problems_of(std::span<const Case> cases) {
  std::vector<mhcjit_problem> problems;
  for (const Case& item : cases)
    for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD}) problems.push_back(problem_of(item, op));
  return problems;
}

std::string differing(const Tensors& expected, const Tensors& actual) {
  std::string names;
  for (const auto& [tensor, bytes] : expected)
    if (const auto found = actual.find(tensor); found == actual.end() || found->second != bytes) names += tensor + " ";
  return names;
}

}  // namespace mhcjit::gpu
