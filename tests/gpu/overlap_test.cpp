// Calls that begin before the kernel before them has ended, in a chain in which each reads what the one before writes:
// they give the bits of calls one after the other.
#include <deque>
#include <vector>

#include <fmt/format.h>

#include "bench/gpu/stream.h"
#include "gpu_test.h"

namespace mhcjit::gpu {
namespace {

// Layers of one stream, of one residual stream each: forward takes the h_in of the layer before as its x, backward the
// dx of the layer behind as its dh_in.
class Chain {
 public:
  static constexpr int layers = 24;

  Chain(const Gpu& gpu, const Case& item) {
    const oracle::Inputs inputs = oracle::random_inputs(item.random);
    const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
    const mhcjit_operator* forward_op = prepare(problem_of(item, MHCJIT_PRE_FORWARD));
    const mhcjit_operator* backward_op = prepare(problem_of(item, MHCJIT_PRE_BACKWARD));
    for (int layer = 0; layer < layers; ++layer) {
      ForwardCall& call = forward_.emplace_back(gpu, item, forward_op, inputs);
      if (layer > 0) call.args.x = forward_[forward_.size() - 2].args.h_in;
    }
    for (int layer = layers - 1; layer >= 0; --layer) {
      const ForwardCall& saved = forward_[static_cast<std::size_t>(layer)];
      BackwardCall& call = backward_.emplace_back(saved, gpu, item, backward_op, gradients);
      call.args.x = saved.args.x;
      if (layer < layers - 1) call.args.dh_in = backward_[backward_.size() - 2].args.dx;
    }
  }

  void run(CUstream stream, bool overlapped) const {
    for (const ForwardCall& call : forward_)
      require(overlapped ? call.run_overlapped(stream) : call.run(stream), "mhcjit_pre_forward");
    for (const BackwardCall& call : backward_)
      require(overlapped ? call.run_overlapped(stream) : call.run(stream), "mhcjit_pre_backward");
  }
  void poison() const {
    for (const ForwardCall& call : forward_) call.poison();
    for (const BackwardCall& call : backward_) call.poison();
  }
  // In the order of the calls.
  std::vector<Tensors> outputs() const {
    std::vector<Tensors> all;
    all.reserve(forward_.size() + backward_.size());
    for (const ForwardCall& call : forward_) all.push_back(call.outputs());
    for (const BackwardCall& call : backward_) all.push_back(call.outputs());
    return all;
  }

 private:
  std::deque<ForwardCall> forward_;
  std::deque<BackwardCall> backward_;
};

class Overlap : public GpuTest, public ::testing::WithParamInterface<Case> {};

TEST_P(Overlap, AChainOfCallsGivesTheBitsOfCallsOneAfterTheOther) {
  const Chain chain(gpu(), GetParam());
  const Stream stream(gpu());
  chain.poison();
  chain.run(stream, false);
  stream.synchronize();
  const std::vector<Tensors> expected = chain.outputs();

  const Graph graph(gpu(), [&](CUstream captured) { chain.run(captured, true); });
  for (int round = 0; round < 10; ++round) {
    chain.poison();
    if (round % 2 == 0)
      chain.run(stream, true);
    else
      graph.launch(stream);
    stream.synchronize();
    const std::vector<Tensors> outputs = chain.outputs();
    for (std::size_t call = 0; call < expected.size(); ++call)
      ASSERT_EQ(differing(expected[call], outputs[call]), "") << "call " << call << " of round " << round;
  }
}

// The kernel for few tokens, the one-pass kernel, two passes, and x in fp32.
INSTANTIATE_TEST_SUITE_P(
    , Overlap,
    ::testing::Values(Case{{{5, 1, 2048, true}, MHCJIT_BF16, 51}}, Case{{{3000, 1, 2048, false}, MHCJIT_BF16, 52}},
                      Case{{{300, 1, 1023, true}, MHCJIT_BF16, 53}}, Case{{{600, 1, 1024, false}, MHCJIT_FP32, 54}}),
    [](const auto& info) { return fmt::format("T{}_D{}", info.param.shape().T, info.param.shape().D); });

}  // namespace
}  // namespace mhcjit::gpu
