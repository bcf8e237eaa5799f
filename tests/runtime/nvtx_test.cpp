// A profiler sees each compile, load and launch as a range that is closed again, also when the step fails; where none
// listens, nothing is loaded.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/runtime/fake_gpu.h"
#include "tests/runtime/nvtx_listener.h"

namespace mhcjit::test {
namespace {

using Lines = std::vector<std::string>;

void* open_listener() { return ::dlopen(NVTX_LISTENER, RTLD_NOW | RTLD_NOLOAD); }

class NvtxTest : public FakeGpuTest {
 protected:
  // The lines that `body` adds. NVTX looks for a tool once in a process, so this is one of its own.
  template <typename Body>
  static Lines lines_of(const char* tool, Body&& body) {
    int ends[2] = {};
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      if (tool != nullptr) ::setenv("NVTX_INJECTION64_PATH", tool, 1);
      body();
      std::string text;
      if (void* const listener = open_listener()) {
        const auto lines = reinterpret_cast<decltype(&nvtx_listener_lines)>(::dlsym(listener, "nvtx_listener_lines"));
        for (const std::string& line : *lines()) text += line + "\n";
      }
      const bool written = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
      ::_exit(written && !HasFailure() ? 0 : 1);
    }
    ::close(ends[1]);
    Lines lines;
    std::string line;
    for (char c = 0; ::read(ends[0], &c, 1) == 1;)
      if (c == '\n')
        lines.push_back(std::exchange(line, ""));
      else
        line += c;
    ::close(ends[0]);
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return lines;
  }

  void prepare_and_launch() {
    const EnginePtr engine = make_engine(plan_of_one_kernel);
    const mhcjit_operator* op = prepare(engine, forward_problem);
    prepare(engine, forward_problem);
    const ForwardCall call(forward_problem, 3, workspace_bytes(op, 3));
    EXPECT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  }

  static constexpr char name[] = "pre_forward n=4 D=256 bf16 gamma sm_90a";
};

TEST_F(NvtxTest, CompileLoadAndLaunchAreRanges) {
  const std::string push = std::string("mhcjit push ");
  EXPECT_EQ(lines_of(NVTX_LISTENER, [&] { prepare_and_launch(); }),
            (Lines{push + "compile " + name, "mhcjit pop", push + "load " + name, "mhcjit pop", push + "launch " + name,
                   "mhcjit pop"}));
}

TEST_F(NvtxTest, AFailureClosesItsRange) {
  const Lines lines = lines_of(NVTX_LISTENER, [&] {
    compiler().result = NVRTC_ERROR_COMPILATION;
    const mhcjit_operator* op = nullptr;
    EXPECT_EQ(mhcjit_prepare(make_engine(plan_of_one_kernel).get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
              MHCJIT_ERROR_COMPILATION_FAILED);
  });
  EXPECT_EQ(lines, (Lines{std::string("mhcjit push compile ") + name, "mhcjit pop"}));
}

TEST_F(NvtxTest, WithoutAToolNothingIsLoaded) {
  EXPECT_EQ(lines_of(nullptr,
                     [&] {
                       prepare_and_launch();
                       EXPECT_EQ(open_listener(), nullptr);
                     }),
            Lines{});
}

}  // namespace
}  // namespace mhcjit::test
