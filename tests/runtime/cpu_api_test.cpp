// The CPU path through the C ABI: no driver and no compiler are touched, the checks are those of the GPU, and the bits
// are those of the operator behind it.
#include <cstring>
#include <thread>

#include "codegen/problem.h"
#include "runtime/cpu/pre_backward.h"
#include "runtime/cpu/pre_forward.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class CpuApiTest : public FakeGpuTest {
 protected:
  const mhcjit_operator* prepare_on_cpu(const mhcjit_problem& problem) {
    const mhcjit_operator* op = nullptr;
    EXPECT_EQ(mhcjit_prepare(engine.get(), &problem, MHCJIT_DEVICE_CPU, nullptr, &op), MHCJIT_SUCCESS)
        << mhcjit_last_error();
    return op;
  }

  void SetUp() override {
    FakeGpuTest::SetUp();
    driver_path = nvrtc_path = "/nonexistent/library.so";
    engine = make_engine();
  }

  EnginePtr engine;
};

TEST_F(CpuApiTest, BackwardGivesTheOperatorsBits) {
  const mhcjit_operator* op = prepare_on_cpu(backward_problem);
  const BackwardCall call(backward_problem, 30, workspace_bytes(op, 30));
  std::vector<float> expected_dphi(24 * 4 * 256), expected_dalpha(3);
  mhcjit_pre_backward_args direct = call.args;
  direct.dphi = expected_dphi.data();
  direct.dalpha = expected_dalpha.data();
  runtime::cpu::pre_backward(*codegen::from_public(backward_problem, {}), direct, 1);

  ASSERT_EQ(mhcjit_pre_backward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(std::memcmp(call.args.dphi, expected_dphi.data(), expected_dphi.size() * 4), 0);
  EXPECT_EQ(std::memcmp(call.args.dalpha, expected_dalpha.data(), 12), 0);
  EXPECT_EQ(prepare_on_cpu(backward_problem), op) << "the second call is a look-up";
}

TEST_F(CpuApiTest, NoTokensMakeOverwrittenParameterGradientsZero) {
  const mhcjit_operator* op = prepare_on_cpu(backward_problem);
  BackwardCall call(backward_problem, 0, 0);
  call.args.accumulate_parameters = 1;
  ASSERT_EQ(mhcjit_pre_backward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_TRUE(call.unchanged());
  call.args.accumulate_parameters = 0;
  ASSERT_EQ(mhcjit_pre_backward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  for (int i = 0; i < 24; ++i) EXPECT_EQ(call.args.dbias[i], 0.0f);
  EXPECT_EQ(call.args.dphi[24 * 4 * 256 - 1], 0.0f);
}

TEST_F(CpuApiTest, RefusedCallsWriteNothing) {
  const mhcjit_operator* op = prepare_on_cpu(forward_problem);
  ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  const auto expect_refused = [&](mhcjit_status status, const std::vector<std::string>& parts, auto spoil) {
    mhcjit_pre_forward_args args = call.args;
    spoil(args);
    expect_failure(mhcjit_pre_forward(op, &args, nullptr), status, parts);
    EXPECT_TRUE(call.unchanged());
  };
  expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"pre_forward n=4 D=256 bf16 gamma cpu: T is -1"},
                 [](mhcjit_pre_forward_args& args) { args.T = -1; });
  expect_refused(MHCJIT_ERROR_NULL_POINTER, {"phi is NULL"}, [](mhcjit_pre_forward_args& args) { args.phi = nullptr; });
  expect_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"x is 0x", "must be a multiple of 16"},
                 [](mhcjit_pre_forward_args& args) { args.x = static_cast<const char*>(args.x) + 2; });
}

TEST_F(CpuApiTest, TouchesNeitherDriverNorCompilerNorCache) {
  const mhcjit_operator* op = prepare_on_cpu(forward_problem);
  const ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  driver().reset();
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_TRUE(driver().call_counts.empty());
  EXPECT_EQ(compiler().compiles, 0);
  EXPECT_EQ(folder.file_count(), 0);
}

TEST_F(CpuApiTest, SeveralHostThreadsShareOneOperator) {
  const mhcjit_operator* op = prepare_on_cpu(forward_problem);
  const std::size_t bytes = workspace_bytes(op, 40);
  const ForwardCall first(forward_problem, 40, bytes);
  std::vector<std::vector<float>> h_mix(4, std::vector<float>(40 * 24));
  std::vector<std::unique_ptr<ForwardCall>> outputs;
  for (int i = 0; i < 4; ++i) outputs.push_back(std::make_unique<ForwardCall>(forward_problem, 40, bytes));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      mhcjit_pre_forward_args args = outputs[i]->args;
      args.x = first.args.x;
      args.phi = first.args.phi;
      args.gamma = first.args.gamma;
      args.h_mix = h_mix[i].data();
      EXPECT_EQ(mhcjit_pre_forward(op, &args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    });
  for (std::thread& thread : threads) thread.join();
  for (int i = 1; i < 4; ++i) EXPECT_EQ(std::memcmp(h_mix[i].data(), h_mix[0].data(), 40 * 24 * 4), 0);
}

}  // namespace
}  // namespace mhcjit::test
