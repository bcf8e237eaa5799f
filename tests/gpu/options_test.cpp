// Optional tensors and accumulation on the device: an absent gradient counts as zero, an output that is not wanted is
// not written and changes no other, an existing gradient is added to.
#include <algorithm>

#include "gpu_test.h"
#include "oracle/storage.h"
#include "oracle/tensors.h"

namespace mhcjit::gpu {
namespace {

const Case item = {{{137, 4, 1280, true}, MHCJIT_BF16, 11}};
const Case fp32_dx_item = {{{137, 4, 1280, true}, MHCJIT_BF16, 11}, false, true};

class Options : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    inputs = oracle::random_inputs(item.random);
    gradients = oracle::random_output_gradients(item.random);
  }

  ForwardCall forward_call() const {
    return ForwardCall(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), inputs);
  }
  BackwardCall backward_call(const ForwardCall& forward, const oracle::OutputGradients& given,
                             const BackwardOptions& options = {}, const Case& of = item) const {
    return BackwardCall(forward, gpu(), of, prepare(problem_of(of, MHCJIT_PRE_BACKWARD)), given, options);
  }

  // What backward should be from what forward has saved.
  oracle::Backward reference(const ForwardCall& forward, const oracle::OutputGradients& given) const {
    const oracle::Forward saved =
        oracle::saved_by_forward([&](const char* tensor) { return forward.values_of(tensor); });
    return oracle::pre_backward(item.shape(), inputs, saved, given);
  }

  // The same halved values, in another order, stand in the outputs before.
  void expect_adds_to_existing_gradients(const Case& of);

  oracle::Inputs inputs;
  oracle::OutputGradients gradients;
};

bool is_poison(const std::vector<std::byte>& bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0xff}; });
}

TEST_F(Options, AbsentGradientsCountAsZero) {
  const ForwardCall forward = forward_call();
  ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  for (const auto absent :
       {&oracle::OutputGradients::dh_in, &oracle::OutputGradients::dh_post, &oracle::OutputGradients::dh_res}) {
    oracle::OutputGradients given = gradients;
    (given.*absent).clear();
    const BackwardCall backward = backward_call(forward, given);
    ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
    const oracle::Backward expected = reference(forward, given);
    expect_right(item, oracle::outputs_of(item.shape(), expected), backward.outputs());
  }
}

TEST_F(Options, UnwantedOutputsAreNotWrittenAndChangeNoOther) {
  ForwardCall forward = forward_call();
  ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  BackwardCall backward = backward_call(forward, gradients);
  ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  const Tensors forward_outputs = forward.outputs();
  const Tensors backward_outputs = backward.outputs();

  const auto expect_left_out = [](const auto& call, const Tensors& complete, const char* tensor) {
    call.poison();
    ASSERT_EQ(call.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
    Tensors wanted = complete;
    wanted.erase(tensor);
    Tensors actual = call.outputs();
    EXPECT_TRUE(is_poison(actual.at(tensor))) << tensor << " was written";
    EXPECT_EQ(differing(wanted, actual), "") << "without " << tensor;
  };
  const auto dx = std::exchange(backward.args.dx, nullptr);
  expect_left_out(backward, backward_outputs, "dx");
  backward.args.dx = dx;
  for (const auto& [tensor, member] : {std::pair{"dphi", &mhcjit_pre_backward_args::dphi},
                                       {"dgamma", &mhcjit_pre_backward_args::dgamma},
                                       {"dalpha", &mhcjit_pre_backward_args::dalpha},
                                       {"dbias", &mhcjit_pre_backward_args::dbias}}) {
    float* const address = std::exchange(backward.args.*member, nullptr);
    expect_left_out(backward, backward_outputs, tensor);
    backward.args.*member = address;
  }
  for (const auto& [tensor, member] : {std::pair{"inv_rms", &mhcjit_pre_forward_args::inv_rms},
                                       {"h_mix", &mhcjit_pre_forward_args::h_mix},
                                       {"h_pre", &mhcjit_pre_forward_args::h_pre}}) {
    float* const address = std::exchange(forward.args.*member, nullptr);
    expect_left_out(forward, forward_outputs, tensor);
    forward.args.*member = address;
  }
}

void Options::expect_adds_to_existing_gradients(const Case& of) {
  const ForwardCall forward = forward_call();
  ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  const BackwardCall backward = backward_call(forward, gradients, {true, true}, of);
  // As large as the gradients themselves, so that neither hides the other's error.
  oracle::Backward expected = reference(forward, gradients);
  const auto start_from_half = [&](const char* tensor, std::vector<double>& values) {
    const mhcjit_dtype dtype = oracle::dtype_of(tensor, of.dtypes());
    std::vector<double> existing = values;
    std::ranges::reverse(existing);
    for (double& value : existing) value = oracle::round_to(0.5 * value, dtype);
    backward.buffer(tensor).upload(oracle::to_storage(existing, dtype));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += existing[i];
  };
  start_from_half("dx", expected.dx);
  start_from_half("dphi", expected.dphi);
  start_from_half("dgamma", expected.dgamma);
  start_from_half("dalpha", expected.dalpha);
  start_from_half("dbias", expected.dbias);
  ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
  expect_right(of, oracle::outputs_of(of.shape(), expected), backward.outputs());
}

TEST_F(Options, AddsToExistingGradients) { expect_adds_to_existing_gradients(item); }
TEST_F(Options, AddsToAnExistingDxOfFp32) { expect_adds_to_existing_gradients(fp32_dx_item); }

}  // namespace
}  // namespace mhcjit::gpu
