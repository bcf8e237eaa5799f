// The calls that the library chooses while others use the device: their bits are those of a lone call, whether the
// others take time, bandwidth and caches from it or hold multiprocessors that its clusters would fill.
#include <chrono>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "bench/gpu/events.h"
#include "bench/gpu/fast_random.h"
#include "bench/gpu/stream.h"
#include "gpu_test.h"
#include "holder.h"

namespace mhcjit::gpu {
namespace {

struct Contended {
  mhcjit_op op;
  Case item;
};

// Both families of forward use clusters where the device has them: of one pass with many tokens, and for few tokens.
std::vector<Contended> contended_calls() {
  return {{MHCJIT_PRE_FORWARD, {{{2048, 4, 4096, false}, MHCJIT_BF16, 31}}},
          {MHCJIT_PRE_FORWARD, {{{2048, 4, 2560, true}, MHCJIT_BF16, 32}}},
          {MHCJIT_PRE_FORWARD, {{{16, 4, 4096, true}, MHCJIT_BF16, 33}}},
          {MHCJIT_PRE_BACKWARD, {{{1024, 4, 4096, false}, MHCJIT_BF16, 35}}},
          {MHCJIT_PRE_BACKWARD, {{{1024, 4, 2560, true}, MHCJIT_BF16, 36}, false, true}},
          {MHCJIT_PRE_BACKWARD, {{{16, 4, 4096, true}, MHCJIT_BF16, 37}}}};
}

class Contention : public GpuTest, public ::testing::WithParamInterface<Contended> {
 protected:
  // A lone call, after which everything is loaded and allocated.
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    const auto& [op, item] = GetParam();
    const oracle::Shape& shape = item.shape();
    const std::uint64_t seed = item.random.seed;
    forward_.emplace(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), parameters_of(item));
    upload_tokens({shape.columns(), item.random.dtype, seed, 1.0}, shape.T, forward_->buffer("x"));
    require(forward_->run(), "mhcjit_pre_forward");
    if (op == MHCJIT_PRE_BACKWARD) {
      backward_.emplace(*forward_, gpu(), item, prepare(problem_of(item, op)), oracle::OutputGradients{},
                        BackwardOptions{.gradients_by_caller = true});
      const std::int64_t n = shape.n;
      upload_tokens({shape.D, item.random.dtype, seed + 100, 1.0}, shape.T, backward_->buffer("dh_in"));
      upload_tokens({n, MHCJIT_FP32, seed + 200, 1.0}, shape.T, backward_->buffer("dh_post"));
      upload_tokens({n * n, MHCJIT_FP32, seed + 300, 1.0}, shape.T, backward_->buffer("dh_res"));
      require(backward_->run(), "mhcjit_pre_backward");
    }
    alone_ = call().outputs();
  }

  static oracle::Inputs parameters_of(const Case& item) {
    oracle::RandomOptions no_tokens = item.random;
    no_tokens.shape.T = 0;
    return oracle::random_inputs(no_tokens);
  }

  // The outputs that are not those of the lone call.
  std::string differing_outputs() const { return differing(alone_, call().outputs()); }

  // Behind a holder of so many multiprocessors.
  void expect_waits_for_holder(unsigned blocks, unsigned cluster_size) {
    const Stream stream(gpu());
    const Events events(gpu(), 1);
    call().poison();
    const Holder holder(gpu(), blocks, cluster_size);
    ASSERT_EQ(launch(stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    events.record(0, stream);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(events.has_happened(0)) << "the call, or a part of it, ran where it had no room";
    EXPECT_TRUE(holder.release());
    stream.synchronize();
    EXPECT_EQ(differing_outputs(), "") << to_string(GetParam().item);
    EXPECT_EQ(call().damaged(), "");
  }

  const Call& call() const { return backward_ ? static_cast<const Call&>(*backward_) : *forward_; }
  mhcjit_status launch(CUstream stream) const { return backward_ ? backward_->run(stream) : forward_->run(stream); }

 private:
  std::optional<ForwardCall> forward_;
  std::optional<BackwardCall> backward_;
  Tensors alone_;
};

// Backward writes and reads all over memory and fills every multiprocessor. What it computes does not matter here.
class Load {
 public:
  Load(const Gpu& gpu, const oracle::Inputs& parameters)
      : saved_(gpu, load_case, prepare(problem_of(load_case, MHCJIT_PRE_FORWARD)), parameters),
        backward_(saved_, gpu, load_case, prepare(problem_of(load_case, MHCJIT_PRE_BACKWARD)), {},
                  {.gradients_by_caller = true}) {}

  // Milliseconds of it.
  void enqueue(CUstream stream) const {
    for (int call = 0; call < 16; ++call) require(backward_.run(stream), "mhcjit_pre_backward");
  }

  static inline const Case load_case = {{{4096, 4, 2560, false}, MHCJIT_BF16, 34}};

 private:
  const ForwardCall saved_;
  const BackwardCall backward_;
};

TEST_P(Contention, HundredRepeatsBesideABusyStreamGiveTheSameBits) {
  const Load load(gpu(), parameters_of(Load::load_case));
  const Stream busy(gpu()), stream(gpu());
  enum { load_begins, load_ends, begins, ends, count };
  const Events events(gpu(), count);
  for (int run = 0; run < 100; ++run) {
    // Another poison each time, so that what is left of it differs.
    call().poison(static_cast<unsigned char>(0xff - run));
    events.record(load_begins, busy);
    load.enqueue(busy);
    events.record(load_ends, busy);
    events.record(begins, stream);
    ASSERT_EQ(launch(stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    events.record(ends, stream);
    stream.synchronize();
    ASSERT_EQ(differing_outputs(), "") << "run " << run << " of " << to_string(GetParam().item);
    busy.synchronize();
    ASSERT_GT(events.microseconds(load_begins, begins), 0.0) << "run " << run << " began before the load";
    ASSERT_GT(events.microseconds(ends, load_ends), 0.0) << "run " << run << " ended after the load";
  }
  EXPECT_EQ(call().damaged(), "");
}

// The holder's clusters lie in three of the device's graphics processing clusters at most: in the others there is room
// for clusters of any size.
constexpr unsigned holder_clusters = 3;
constexpr unsigned holder_cluster_size = 8;

TEST_P(Contention, GivesTheSameBitsBesideAHolderOfMultiprocessors) {
  if (!has_clusters(gpu())) GTEST_SKIP() << gpu().architecture << " has no clusters";
  const Stream stream(gpu());
  const Holder holder(gpu(), holder_clusters * holder_cluster_size, holder_cluster_size);
  for (int run = 0; run < 10; ++run) {
    call().poison(static_cast<unsigned char>(0xff - run));
    ASSERT_EQ(launch(stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    stream.synchronize();
    ASSERT_EQ(differing_outputs(), "") << "run " << run << " of " << to_string(GetParam().item);
  }
  EXPECT_TRUE(holder.release()) << "the holder had gone before the last run ended";
  EXPECT_EQ(call().damaged(), "");
}

TEST_P(Contention, WaitsForAHolderOfAllMultiprocessorsAndGivesTheSameBits) {
  expect_waits_for_holder(multiprocessors(gpu()), 0);
}

std::string name_of(const ::testing::TestParamInfo<Contended>& info) {
  const auto& [op, item] = info.param;
  return fmt::format("{}_T{}_D{}", op == MHCJIT_PRE_FORWARD ? "forward" : "backward", item.shape().T, item.shape().D);
}

INSTANTIATE_TEST_SUITE_P(, Contention, ::testing::ValuesIn(contended_calls()), name_of);

// All blocks of a cooperative launch run at the same time: it waits for a holder of some multiprocessors too. The
// family that launches so is of devices with clusters.
class CooperativeContention : public Contention {};

TEST_P(CooperativeContention, WaitsForAHolderOfSomeMultiprocessorsAndGivesTheSameBits) {
  if (!has_clusters(gpu())) GTEST_SKIP() << gpu().architecture << " has no clusters";
  expect_waits_for_holder(holder_clusters * holder_cluster_size, holder_cluster_size);
}

INSTANTIATE_TEST_SUITE_P(, CooperativeContention,
                         ::testing::Values(Contended{MHCJIT_PRE_BACKWARD, {{{1024, 4, 7168, false}, MHCJIT_BF16, 38}}}),
                         name_of);

}  // namespace
}  // namespace mhcjit::gpu
