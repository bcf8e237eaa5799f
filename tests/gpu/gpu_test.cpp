#include "gpu_test.h"

#include <algorithm>

#include <fmt/format.h>

#include "oracle/compare.h"
#include "oracle/storage.h"

namespace mhcjit::gpu {

namespace {

std::vector<double> values_in(const Case& item, const std::string& tensor, const Tensors& tensors) {
  const std::vector<std::byte>& storage = tensors.at(tensor);
  const mhcjit_dtype dtype = dtype_of(tensor, item.random.dtype);
  const auto count = static_cast<std::int64_t>(storage.size() / oracle::bytes_of(dtype));
  return oracle::from_storage(storage.data(), count, dtype);
}

}  // namespace

void GpuTest::SetUp() {
  gpu_ = find_gpu();
  if (gpu_ == nullptr) GTEST_SKIP() << "NOT RUN, NO GPU: " << missing_gpu();
}

void GpuTest::TearDown() {
  for (const auto& [tensor, error] : worst_error_) RecordProperty("error of " + tensor, fmt::format("{:.3g}", error));
}

void GpuTest::expect_matches_oracle(const Case& item) {
  SCOPED_TRACE(to_string(item));
  const oracle::Inputs inputs = oracle::random_inputs(item.random);
  const oracle::Forward reference = oracle::pre_forward(item.shape(), inputs);
  const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), inputs);
  ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  const Tensors values = forward.outputs();
  expect_close(item, "h_in", reference.h_in, values);
  expect_close(item, "h_post", reference.h_post, values);
  expect_close(item, "h_res", reference.h_res, values);
  expect_close(item, "inv_rms", reference.inv_rms, values);
  expect_close(item, "h_mix", reference.h_mix, values);
  expect_close(item, "h_pre", reference.h_pre, values);

  // Backward is a function of what forward saved, as it was saved.
  oracle::Forward saved = reference;
  saved.inv_rms = values_in(item, "inv_rms", values);
  saved.h_mix = values_in(item, "h_mix", values);
  saved.h_pre = values_in(item, "h_pre", values);
  saved.h_post = values_in(item, "h_post", values);
  const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
  const oracle::Backward expected = oracle::pre_backward(item.shape(), inputs, saved, gradients);
  const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)), gradients);
  ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  const Tensors slopes = backward.outputs();
  expect_close(item, "dx", expected.dx, slopes);
  expect_close(item, "dphi", expected.dphi, slopes);
  if (item.shape().has_gamma) expect_close(item, "dgamma", expected.dgamma, slopes);
  expect_close(item, "dalpha", expected.dalpha, slopes);
  expect_close(item, "dbias", expected.dbias, slopes);
  EXPECT_EQ(forward.damaged(), "");
  EXPECT_EQ(backward.damaged(), "");
}

void GpuTest::expect_close(const Case& item, const std::string& tensor, std::span<const double> reference,
                           std::span<const double> value) {
  const double error = oracle::normalised_error(reference, value);
  EXPECT_LE(error, oracle::error_bound(tensor, item.random.dtype).value()) << tensor << " of " << to_string(item);
  // NaN is worse than any number.
  double& worst = worst_error_.emplace(tensor, 0.0).first->second;
  worst = error <= worst ? worst : error;
}

void GpuTest::expect_close(const Case& item, const std::string& tensor, std::span<const double> reference,
                           const Tensors& tensors) {
  expect_close(item, tensor, reference, values_in(item, tensor, tensors));
}

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
