// Half of the stacks that mhcjit/engine.h asks of a calling thread: a host with many threads gives each little, and one
// that overflows ends the host.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

constexpr std::size_t kib = 1024;
constexpr std::size_t compile_stack = 512 * kib / 2, stack = 256 * kib / 2;

// The exit status of a child in which a thread with a stack of `bytes` has run `body`; -1 when a signal ended it.
template <typename Body>
int on_a_stack_of(std::size_t bytes, Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::function<void()> work = body;
    pthread_attr_t attributes;
    pthread_t thread;
    ::pthread_attr_init(&attributes);
    if (::pthread_attr_setstacksize(&attributes, bytes) != 0) ::_exit(2);
    const auto run = [](void* of) -> void* { return (*static_cast<std::function<void()>*>(of))(), nullptr; };
    if (::pthread_create(&thread, &attributes, run, &work) != 0) ::_exit(3);
    ::pthread_join(thread, nullptr);
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class StackTest : public FakeGpuTest {
 protected:
  static const mhcjit_operator* prepared(mhcjit_engine* engine, const mhcjit_problem& problem, mhcjit_device device) {
    const mhcjit_operator* op = nullptr;
    EXPECT_EQ(mhcjit_prepare(engine, &problem, device, nullptr, &op), MHCJIT_SUCCESS) << mhcjit_last_error();
    return op;
  }

  // From an engine's creation to its end, with a call that is refused.
  void run(const mhcjit_problem& forward, const mhcjit_problem& backward, mhcjit_device device) {
    driver().set_current_device(0);
    const EnginePtr engine = make_engine();
    const mhcjit_operator* const forward_op = prepared(engine.get(), forward, device);
    const mhcjit_operator* const backward_op = prepared(engine.get(), backward, device);
    const ForwardCall forward_call(forward, T, workspace_bytes(forward_op, T));
    const BackwardCall backward_call(backward, T, workspace_bytes(backward_op, T));
    EXPECT_EQ(mhcjit_pre_forward(forward_op, &forward_call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    EXPECT_EQ(mhcjit_pre_backward(backward_op, &backward_call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    EXPECT_EQ(mhcjit_pre_forward(backward_op, &forward_call.args, nullptr), MHCJIT_ERROR_INVALID_ARGUMENT);
    mhcjit_counters counters = {};
    EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS);
  }

  static constexpr std::int64_t T = 20;
};

// The largest n and D above a chunk of columns: all of the scratch is used.
TEST_F(StackTest, OfTheCpuPath) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP32}) {
    const mhcjit_problem forward = {.op = MHCJIT_PRE_FORWARD, .n = 16, .d = 600, .dtype = dtype, .has_gamma = 1};
    const mhcjit_problem backward = {.op = MHCJIT_PRE_BACKWARD, .n = 16, .d = 600, .dtype = dtype, .has_gamma = 1};
    EXPECT_EQ(on_a_stack_of(stack, [&] { run(forward, backward, MHCJIT_DEVICE_CPU); }), 0);
  }
}

// With the fake compiler: what is the library's own.
TEST_F(StackTest, OfTheGpuPath) {
  EXPECT_EQ(on_a_stack_of(stack, [&] { run(forward_problem, backward_problem, MHCJIT_DEVICE_GPU); }), 0);
}

TEST_F(StackTest, OfTheRealCompilers) {
  for (const char* compiler : {TEST_NVRTC_13, TEST_NVRTC_12}) {
    if (::access(compiler, R_OK) != 0) GTEST_SKIP() << "scripts/install-deps has not installed " << compiler;
    nvrtc_path = compiler;
    cache_dir = folder / (compiler == std::string(TEST_NVRTC_13) ? "cache13" : "cache12");
    for (mhcjit_problem problem :
         {mhcjit_problem{.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 4096, .dtype = MHCJIT_BF16, .has_gamma = 1},
          mhcjit_problem{.op = MHCJIT_PRE_BACKWARD, .n = 4, .d = 4096, .dtype = MHCJIT_BF16, .has_gamma = 1}}) {
      EXPECT_EQ(
          on_a_stack_of(compile_stack,
                        [&] {
                          EXPECT_EQ(mhcjit_compile(make_engine().get(), &problem, "sm_90a", nullptr), MHCJIT_SUCCESS)
                              << mhcjit_last_error();
                        }),
          0)
          << compiler;
    }
  }
}

}  // namespace
}  // namespace mhcjit::test
