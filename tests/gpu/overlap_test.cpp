// Calls that begin before the kernel before them has ended, in a chain in which each reads what the one before writes:
// they give the bits of calls one after the other.
#include <deque>
#include <vector>

#include <fmt/format.h>

#include "bench/gpu/stream.h"
#include "gpu_test.h"

namespace mhcjit::gpu {
namespace {

// Layers of one stream: each takes the h_in of the one before as its x.
class Chain {
 public:
  static constexpr int layers = 24;

  Chain(const Gpu& gpu, const Case& item, const mhcjit_operator* op) {
    const oracle::Inputs inputs = oracle::random_inputs(item.random);
    for (int layer = 0; layer < layers; ++layer) {
      ForwardCall& call = calls_.emplace_back(gpu, item, op, inputs);
      if (layer > 0) call.args.x = calls_[calls_.size() - 2].args.h_in;
    }
  }

  void run(CUstream stream, bool overlapped) const {
    for (const ForwardCall& call : calls_)
      require(overlapped ? call.run_overlapped(stream) : call.run(stream), "mhcjit_pre_forward");
  }
  void poison() const {
    for (const ForwardCall& call : calls_) call.poison();
  }
  std::vector<Tensors> outputs() const {
    std::vector<Tensors> all;
    all.reserve(calls_.size());
    for (const ForwardCall& call : calls_) all.push_back(call.outputs());
    return all;
  }

 private:
  std::deque<ForwardCall> calls_;
};

class Overlap : public GpuTest, public ::testing::WithParamInterface<Case> {};

TEST_P(Overlap, AChainOfCallsGivesTheBitsOfCallsOneAfterTheOther) {
  const Chain chain(gpu(), GetParam(), prepare(problem_of(GetParam(), MHCJIT_PRE_FORWARD)));
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
    for (int layer = 0; layer < Chain::layers; ++layer)
      ASSERT_EQ(differing(expected[layer], outputs[layer]), "") << "layer " << layer << " of round " << round;
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
