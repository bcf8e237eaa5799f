// Bad arguments meet a real driver: an error with its text, and every output left as it was.
#include <algorithm>

#include "gpu_test.h"

namespace mhcjit::gpu {
namespace {

const Case item = {{{16, 4, 1280, true}, MHCJIT_BF16, 31}};

class Refusal : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    forward_.emplace(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), oracle::random_inputs(item.random));
    backward_.emplace(*forward_, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)),
                      oracle::random_output_gradients(item.random));
  }
  void TearDown() override {
    backward_.reset();
    forward_.reset();
    GpuTest::TearDown();
  }

  template <typename AnyCall>
  void expect_refused(const AnyCall& call, mhcjit_status status, const char* argument) {
    EXPECT_EQ(call.run(), status) << argument;
    EXPECT_NE(std::string(mhcjit_last_error()).find(argument), std::string::npos) << mhcjit_last_error();
    gpu().synchronize();
    for (const auto& [tensor, bytes] : call.outputs())
      EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0xff}; }))
          << tensor << " was written although " << argument << " is bad";
    EXPECT_EQ(call.damaged(), "");
  }

  template <typename T>
  static T* moved_by(T* pointer, std::size_t bytes) {
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(pointer) + bytes);
  }

  std::optional<ForwardCall> forward_;
  std::optional<BackwardCall> backward_;
};

TEST_F(Refusal, MisalignedPointer) {
  const auto x = std::exchange(forward_->args.x, moved_by(static_cast<const char*>(forward_->args.x), 2));
  expect_refused(*forward_, MHCJIT_ERROR_MISALIGNED_POINTER, "x");
  forward_->args.x = x;
  const auto phi = std::exchange(forward_->args.phi, moved_by(forward_->args.phi, 4));
  expect_refused(*forward_, MHCJIT_ERROR_MISALIGNED_POINTER, "phi");
  forward_->args.phi = phi;
  backward_->args.dbias = moved_by(backward_->args.dbias, 2);
  expect_refused(*backward_, MHCJIT_ERROR_MISALIGNED_POINTER, "dbias");
}

TEST_F(Refusal, SmallWorkspace) {
  // Not every plan of forward needs one; those of odd D do.
  Case odd = item;
  odd.random.shape.D = 1281;
  ForwardCall forward(gpu(), odd, prepare(problem_of(odd, MHCJIT_PRE_FORWARD)), oracle::random_inputs(odd.random));
  ASSERT_GT(forward.args.workspace_bytes, 0u);
  --forward.args.workspace_bytes;
  expect_refused(forward, MHCJIT_ERROR_WORKSPACE_TOO_SMALL, "workspace");
  --backward_->args.workspace_bytes;
  expect_refused(*backward_, MHCJIT_ERROR_WORKSPACE_TOO_SMALL, "workspace");
}

TEST_F(Refusal, HostPointer) {
  int reads_host_memory = 0;
  gpu().driver.check(
      gpu().driver.cuDeviceGetAttribute(&reads_host_memory, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, gpu().device),
      "cuDeviceGetAttribute");
  if (reads_host_memory != 0) GTEST_SKIP() << "NOT RUN: kernels of this device may use host memory";
  std::vector<float> host(forward_->buffer("h_post").size() / sizeof(float), -1.0f);
  forward_->args.h_post = host.data();
  expect_refused(*forward_, MHCJIT_ERROR_WRONG_DEVICE, "h_post");
  EXPECT_TRUE(std::ranges::all_of(host, [](float value) { return value == -1.0f; }));
}

TEST_F(Refusal, NullPointerAndNegativeT) {
  const auto alpha = std::exchange(backward_->args.alpha, nullptr);
  expect_refused(*backward_, MHCJIT_ERROR_NULL_POINTER, "alpha");
  backward_->args.alpha = alpha;
  forward_->args.T = -1;
  expect_refused(*forward_, MHCJIT_ERROR_INVALID_ARGUMENT, "T");
}

TEST_F(Refusal, TheProcessGoesOn) {
  forward_->args.T = -1;
  expect_refused(*forward_, MHCJIT_ERROR_INVALID_ARGUMENT, "T");
  expect_matches_oracle(item);
}

}  // namespace
}  // namespace mhcjit::gpu
