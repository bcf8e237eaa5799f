// Shows a race, a read of memory that nobody wrote, or a sum whose order depends on chance: the same call gives other
// bits the next time, or another T gives a row other bits.
#include <fmt/format.h>

#include "gpu_test.h"
#include "oracle/storage.h"

namespace mhcjit::gpu {
namespace {

constexpr int runs = 100;

std::vector<Case> repeated_cases() {
  return {
      {{{256, 4, 4096, true}, MHCJIT_BF16, 1}}, {{{1100, 4, 2560, false}, MHCJIT_BF16, 2}},
      {{{137, 3, 127, true}, MHCJIT_FP32, 3}},  {{{700, 16, 1920, false}, MHCJIT_FP16, 4}},
      {{{13, 8, 5129, true}, MHCJIT_BF16, 5}},  {{{700, 4, 1280, true}, MHCJIT_BF16, 6}, false, true},
  };
}

class Repeat : public GpuTest, public ::testing::WithParamInterface<Case> {};

TEST_P(Repeat, GivesTheSameBits) {
  const Case& item = GetParam();
  const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)),
                            oracle::random_inputs(item.random));
  const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)),
                              oracle::random_output_gradients(item.random));
  Tensors first_forward, first_backward;
  for (int run = 0; run < runs; ++run) {
    // Another poison each time, so that what is left of it differs.
    const auto poison = static_cast<unsigned char>(0xff - run);
    forward.poison(poison);
    backward.poison(poison);
    ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
    ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
    if (run == 0) {
      first_forward = forward.outputs();
      first_backward = backward.outputs();
      continue;
    }
    ASSERT_EQ(differing(first_forward, forward.outputs()), "") << "run " << run << " of " << to_string(item);
    ASSERT_EQ(differing(first_backward, backward.outputs()), "") << "run " << run << " of " << to_string(item);
  }
  EXPECT_EQ(forward.damaged() + backward.damaged(), "");
}

INSTANTIATE_TEST_SUITE_P(, Repeat, ::testing::ValuesIn(repeated_cases()),
                         [](const auto& info) { return fmt::format("{}", info.index); });

// Tokens [first, first + count) of all tensors that have a row for each token.
std::vector<double> rows(const std::vector<double>& all, std::int64_t tokens, std::int64_t first, std::int64_t count) {
  const auto row = static_cast<std::int64_t>(all.size()) / tokens;
  return {all.begin() + first * row, all.begin() + (first + count) * row};
}

Tensors rows(const Tensors& all, std::int64_t tokens, std::int64_t first, std::int64_t count) {
  Tensors part;
  for (const char* tensor : {"h_in", "h_post", "h_res", "inv_rms", "h_mix", "h_pre", "dx"}) {
    const auto found = all.find(tensor);
    if (found == all.end()) continue;
    const auto row = static_cast<std::int64_t>(found->second.size()) / tokens;
    part[tensor] = {found->second.begin() + first * row, found->second.begin() + (first + count) * row};
  }
  return part;
}

class BatchInvariance : public GpuTest {};

TEST_F(BatchInvariance, GivesARowTheSameBitsWhereverItStands) {
  constexpr std::int64_t T = 700;
  for (const auto& [D, dtype] : {std::pair{4096, MHCJIT_BF16}, {2560, MHCJIT_BF16}, {127, MHCJIT_FP32}}) {
    Case item = {{{T, 4, D, true}, dtype, 7}, true};
    const oracle::Inputs inputs = oracle::random_inputs(item.random);
    const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
    const auto run = [&](std::int64_t first, std::int64_t count) {
      item.random.shape.T = count;
      oracle::Inputs part = inputs;
      part.x = rows(inputs.x, T, first, count);
      const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), part);
      const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)),
                                  {rows(gradients.dh_in, T, first, count), rows(gradients.dh_post, T, first, count),
                                   rows(gradients.dh_res, T, first, count)});
      require(forward.run(), "mhcjit_pre_forward");
      require(backward.run(), "mhcjit_pre_backward");
      Tensors outputs = forward.outputs();
      outputs.merge(backward.outputs());
      return rows(outputs, count, 0, count);
    };
    const Tensors all = run(0, T);
    for (const auto& [first, count] : {std::pair{0, 1}, {699, 1}, {37, 64}, {131, 500}})
      EXPECT_EQ(differing(rows(all, T, first, count), run(first, count)), "")
          << "rows " << first << " to " << first + count << " of " << to_string(item);
  }
}

}  // namespace
}  // namespace mhcjit::gpu
