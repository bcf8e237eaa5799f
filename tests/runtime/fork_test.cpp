// Forking: before the first use a child has everything, afterwards it gets a clear error for what it cannot use, never
// a hang or a crash.
#include <sys/wait.h>
#include <unistd.h>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

// Runs `body` in a child, where a failed expectation makes the exit status 1.
template <typename Body>
void expect_in_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a hang is a failure
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

using ForkTest = FakeGpuTest;

TEST_F(ForkTest, BeforeTheFirstUseAChildHasEverything) {
  if (driver().is_initialised()) GTEST_SKIP() << "an earlier test of this process used CUDA; run this test alone";
  const EnginePtr engine = make_engine();
  expect_in_child([&] { prepare(engine, forward_problem); });
}

TEST_F(ForkTest, AfterTheParentUsedCudaAChildGetsAnError) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 3, workspace_bytes(op, 3));
  expect_in_child([&] {
    const std::vector<std::string> parts = {"forked", "initialised CUDA", "exec"};
    expect_failure(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_ERROR_FORKED, parts);
    const mhcjit_operator* made = nullptr;
    expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &made),
                   MHCJIT_ERROR_FORKED, parts);
    expect_failure(mhcjit_prepare(make_engine().get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &made),
                   MHCJIT_ERROR_FORKED, parts);
    std::int32_t count = 0;
    expect_failure(mhcjit_device_count(&count), MHCJIT_ERROR_FORKED, parts);
    EXPECT_TRUE(call.unchanged());
  });
  EXPECT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << "the parent goes on";
}

TEST_F(ForkTest, AChildMayUseTheCpuOperatorsOfItsParent) {
  const EnginePtr engine = make_engine();
  const auto prepare_on_cpu = [](const EnginePtr& on) {
    const mhcjit_operator* op = nullptr;
    EXPECT_EQ(mhcjit_prepare(on.get(), &forward_problem, MHCJIT_DEVICE_CPU, nullptr, &op), MHCJIT_SUCCESS);
    return op;
  };
  const mhcjit_operator* op = prepare_on_cpu(engine);
  const ForwardCall call(forward_problem, 300, workspace_bytes(op, 300));
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  expect_in_child([&] {
    EXPECT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    const EnginePtr own = make_engine();
    EXPECT_EQ(mhcjit_pre_forward(prepare_on_cpu(own), &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    mhcjit_engine_destroy(const_cast<EnginePtr&>(engine).release());
  });
}

}  // namespace
}  // namespace mhcjit::test
