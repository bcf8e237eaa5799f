// Launches from CUDA graphs, on several streams and from several threads give the bits of a lone call; preparing during
// a capture is refused and leaves the capture valid.
#include <array>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "bench/gpu/stream.h"
#include "gpu_test.h"

namespace mhcjit::gpu {
namespace {

// Forward and backward of one case, with the outputs of a lone call for comparison.
class Layer {
 public:
  Layer(const Gpu& gpu, const Case& item)
      : forward_(gpu, item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), oracle::random_inputs(item.random)),
        backward_(forward_, gpu, item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)),
                  oracle::random_output_gradients(item.random)) {
    run(nullptr);
    expected_forward_ = forward_.outputs();
    expected_backward_ = backward_.outputs();
    poison();
  }

  void run(CUstream stream) const {
    require(forward_.run(stream), "mhcjit_pre_forward");
    require(backward_.run(stream), "mhcjit_pre_backward");
  }
  void poison() const {
    forward_.poison();
    backward_.poison();
  }
  // The outputs that are not those of the lone call.
  std::string differing_outputs() const {
    return differing(expected_forward_, forward_.outputs()) + differing(expected_backward_, backward_.outputs());
  }

 private:
  const ForwardCall forward_;
  const BackwardCall backward_;
  Tensors expected_forward_;
  Tensors expected_backward_;
};

const Case first_case = {{{512, 4, 2560, true}, MHCJIT_BF16, 21}};
const Case second_case = {{{700, 4, 1280, false}, MHCJIT_BF16, 22}};
// Backward in clusters, and in blocks that wait for one another without being a cluster.
const Case clustered_case = {{{1500, 4, 2560, true}, MHCJIT_BF16, 23}};
const Case cooperative_case = {{{900, 4, 7168, false}, MHCJIT_BF16, 24}};

class Streams : public GpuTest {};

TEST_F(Streams, GraphReplaysGiveTheSameBits) {
  for (const Case* item : {&first_case, &clustered_case, &cooperative_case}) {
    SCOPED_TRACE(to_string(*item));
    const Layer layer(gpu(), *item);
    const Graph graph(gpu(), [&](CUstream stream) { layer.run(stream); });
    EXPECT_NE(layer.differing_outputs(), "") << "the capture itself must not run anything";
    const Stream stream(gpu());
    for (int replay = 0; replay < 3; ++replay) {
      layer.poison();
      graph.launch(stream);
      stream.synchronize();
      EXPECT_EQ(layer.differing_outputs(), "") << "replay " << replay;
    }
  }
}

TEST_F(Streams, PreparingDuringACaptureIsRefusedAndTheCaptureStaysValid) {
  const Layer layer(gpu(), first_case);
  // No other test prepares this width.
  const mhcjit_problem unprepared = {.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 1111, .dtype = MHCJIT_BF16};
  const mhcjit_operator* op = nullptr;
  const Graph graph(gpu(), [&](CUstream stream) {
    EXPECT_EQ(mhcjit_prepare(engine(), &unprepared, MHCJIT_DEVICE_GPU, stream, &op), MHCJIT_ERROR_NOT_PREPARED);
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    gpu().driver.check(gpu().driver.cuStreamIsCapturing(stream, &status), "cuStreamIsCapturing");
    EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    // What is prepared stays available.
    const mhcjit_problem prepared = problem_of(first_case, MHCJIT_PRE_FORWARD);
    EXPECT_EQ(mhcjit_prepare(engine(), &prepared, MHCJIT_DEVICE_GPU, stream, &op), MHCJIT_SUCCESS)
        << mhcjit_last_error();
    layer.run(stream);
  });
  const Stream stream(gpu());
  graph.launch(stream);
  stream.synchronize();
  EXPECT_EQ(layer.differing_outputs(), "");
  EXPECT_EQ(mhcjit_prepare(engine(), &unprepared, MHCJIT_DEVICE_GPU, stream, &op), MHCJIT_SUCCESS)
      << mhcjit_last_error();
}

TEST_F(Streams, TwoStreamsDoNotDisturbEachOther) {
  const Layer layers[] = {Layer(gpu(), first_case), Layer(gpu(), second_case)};
  const Stream streams[] = {Stream(gpu()), Stream(gpu())};
  for (int round = 0; round < 20; ++round)
    for (int i = 0; i < 2; ++i) layers[i].run(streams[i]);
  for (int i = 0; i < 2; ++i) streams[i].synchronize();
  EXPECT_EQ(layers[0].differing_outputs(), "");
  EXPECT_EQ(layers[1].differing_outputs(), "");
}

// Both read what one forward saved, and write at the same time what is theirs.
class TwoBackwardCalls : public GpuTest, public ::testing::WithParamInterface<Case> {};

TEST_P(TwoBackwardCalls, OfOneForwardDoNotDisturbEachOther) {
  const Case& item = GetParam();
  const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)),
                            oracle::random_inputs(item.random));
  require(forward.run(), "mhcjit_pre_forward");
  const mhcjit_operator* op = prepare(problem_of(item, MHCJIT_PRE_BACKWARD));
  const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
  const BackwardCall calls[] = {BackwardCall(forward, gpu(), item, op, gradients),
                                BackwardCall(forward, gpu(), item, op, gradients)};
  require(calls[0].run(), "mhcjit_pre_backward");
  const Tensors expected = calls[0].outputs();
  const Stream streams[] = {Stream(gpu()), Stream(gpu())};
  for (int run = 0; run < 5; ++run) {
    for (const BackwardCall& call : calls) call.poison();
    for (int round = 0; round < 20; ++round)
      for (int i = 0; i < 2; ++i) require(calls[i].run(streams[i]), "mhcjit_pre_backward");
    for (int i = 0; i < 2; ++i) streams[i].synchronize();
    for (const BackwardCall& call : calls) ASSERT_EQ(differing(expected, call.outputs()), "") << "run " << run;
  }
  EXPECT_EQ(calls[0].damaged() + calls[1].damaged() + forward.damaged(), "");
}

INSTANTIATE_TEST_SUITE_P(, TwoBackwardCalls, ::testing::Values(first_case, clustered_case, cooperative_case),
                         [](const auto& info) {
                           return fmt::format("D{}", info.param.shape().D) + (info.index == 0 ? "_few" : "");
                         });

// Both threads launch the same operators.
TEST_F(Streams, TwoThreadsDoNotDisturbEachOther) {
  Case other_inputs = first_case;
  other_inputs.random.seed = 23;
  const Layer layers[] = {Layer(gpu(), first_case), Layer(gpu(), other_inputs)};
  std::array<std::string, 2> failures;
  {
    std::array<std::jthread, 2> threads;
    for (std::size_t i = 0; i < threads.size(); ++i) {
      threads[i] = std::jthread([&, i] {
        try {
          gpu().make_current();
          const Stream stream(gpu());
          for (int round = 0; round < 50; ++round) layers[i].run(stream);
          stream.synchronize();
        } catch (const std::exception& failure) {
          failures[i] = failure.what();
        }
      });
    }
  }
  for (std::size_t i = 0; i < failures.size(); ++i) {
    EXPECT_EQ(failures[i], "");
    EXPECT_EQ(layers[i].differing_outputs(), "") << "thread " << i;
  }
}

}  // namespace
}  // namespace mhcjit::gpu
