// Every error that mhcjit/status.h documents, by its code and its text: what was wrong, what was given, what is
// allowed. After each refused call nothing was launched and no tensor was written.
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "mhcjit/memory.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class ErrorsTest : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    engine = make_engine(plan_without_clusters);
  }

  // Calls forward with what `spoil` makes of good arguments.
  template <typename Spoil>
  void expect_refused(mhcjit_status status, const std::vector<std::string>& parts, Spoil&& spoil,
                      const mhcjit_problem& problem = forward_problem) {
    const mhcjit_operator* op = prepare(engine, problem);
    ForwardCall call(problem, 7, workspace_bytes(op, 7));
    spoil(call.args);
    expect_failure(mhcjit_pre_forward(op, &call.args, nullptr), status, parts);
    EXPECT_TRUE(driver().launches().empty());
    EXPECT_TRUE(call.unchanged());
  }

  template <typename Spoil>
  void expect_backward_refused(mhcjit_status status, const std::vector<std::string>& parts, Spoil&& spoil,
                               const mhcjit_problem& problem = backward_problem) {
    const mhcjit_operator* op = prepare(engine, problem);
    BackwardCall call(problem, 7, workspace_bytes(op, 7));
    spoil(call.args);
    expect_failure(mhcjit_pre_backward(op, &call.args, nullptr), status, parts);
    EXPECT_TRUE(driver().launches().empty());
    EXPECT_TRUE(driver().memsets().empty());
    EXPECT_TRUE(call.unchanged());
  }

  // Prepares what `spoil` makes of a good problem.
  template <typename Spoil>
  void expect_problem_refused(const std::vector<std::string>& parts, Spoil&& spoil) {
    mhcjit_problem problem = forward_problem;
    spoil(problem);
    const mhcjit_operator* op = nullptr;
    for (const mhcjit_device device : {MHCJIT_DEVICE_CPU, MHCJIT_DEVICE_GPU})
      expect_failure(mhcjit_prepare(engine.get(), &problem, device, nullptr, &op), MHCJIT_ERROR_INVALID_ARGUMENT,
                     parts);
    expect_failure(mhcjit_compile(engine.get(), &problem, "sm_90a", nullptr), MHCJIT_ERROR_INVALID_ARGUMENT, parts);
    EXPECT_EQ(op, nullptr);
    EXPECT_EQ(compiler().compiles, 0);
  }

  EnginePtr engine;
};

TEST_F(ErrorsTest, NegativeThreadCount) {
  mhcjit_engine_options chosen = options();
  chosen.cpu_threads = -3;
  mhcjit_engine* made = engine.get();
  expect_failure(mhcjit_engine_create(&chosen, &made), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"cpu_threads is -3", "0 (one per core)"});
  EXPECT_EQ(made, nullptr);
}

TEST_F(ErrorsTest, EachFieldOfTheProblem) {
  expect_problem_refused({"n is 17", "1 to 16"}, [](mhcjit_problem& problem) { problem.n = 17; });
  expect_problem_refused({"n is 0", "1 to 16"}, [](mhcjit_problem& problem) { problem.n = 0; });
  expect_problem_refused({"D is 0", "1 to 16777216"}, [](mhcjit_problem& problem) { problem.d = 0; });
  expect_problem_refused({"D is 16777217", "1 to 16777216"}, [](mhcjit_problem& problem) { problem.d = 16777217; });
  expect_problem_refused({"dtype is 3", "0 (bf16), 1 (fp16) and 2 (fp32)"},
                         [](mhcjit_problem& problem) { problem.dtype = static_cast<mhcjit_dtype>(3); });
  expect_problem_refused({"op is 77", "0 (pre_forward), 1 (pre_backward)"},
                         [](mhcjit_problem& problem) { problem.op = static_cast<mhcjit_op>(77); });
  expect_problem_refused({"has_gamma is 5", "0 and 1"}, [](mhcjit_problem& problem) { problem.has_gamma = 5; });
  expect_problem_refused({"batch_invariant is -1", "0 and 1"},
                         [](mhcjit_problem& problem) { problem.batch_invariant = -1; });
  expect_problem_refused({"fp32_dx is 1", "0 for pre_forward, which has no dx"},
                         [](mhcjit_problem& problem) { problem.fp32_dx = 1; });
}

TEST_F(ErrorsTest, UnknownDevice) {
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, static_cast<mhcjit_device>(7), nullptr, &op),
                 MHCJIT_ERROR_INVALID_ARGUMENT, {"device is 7", "0 (MHCJIT_DEVICE_CPU) and 1 (MHCJIT_DEVICE_GPU)"});
}

TEST_F(ErrorsTest, UnknownArchitecture) {
  for (const char* architecture : {"sm_70", "sm_", "90a", "sm_90x", ""})
    expect_failure(mhcjit_compile(engine.get(), &forward_problem, architecture, nullptr), MHCJIT_ERROR_INVALID_ARGUMENT,
                   {std::string("architecture is '") + architecture + "'", "sm_80 and newer"});
}

TEST_F(ErrorsTest, DeviceOlderThanAllowed) {
  driver().major = 7;
  driver().minor = 5;
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_INVALID_ARGUMENT, {"device 0", "compute capability 7.5", "8.0 and newer"});
}

TEST_F(ErrorsTest, TOutsideItsRange) {
  expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"pre_forward n=4 D=256 bf16 gamma sm_90a", "T is -1", "0 to 2147483647"},
                 [](mhcjit_pre_forward_args& args) { args.T = -1; });
  expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"T is 2147483648", "0 to 2147483647"},
                 [](mhcjit_pre_forward_args& args) { args.T = std::int64_t{1} << 31; });
  expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"pre_backward", "T is -9", "0 to 2147483647"},
                          [](mhcjit_pre_backward_args& args) { args.T = -9; });
  std::size_t bytes = 77;
  expect_failure(mhcjit_workspace_bytes(prepare(engine, forward_problem), -1, &bytes), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"T is -1", "0 to 2147483647"});
  EXPECT_EQ(bytes, 77u);
}

TEST_F(ErrorsTest, EpsilonsThatAreNoEpsilons) {
  for (const float value : {-1e-6f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"norm_eps is", "finite and not negative"},
                   [&](mhcjit_pre_forward_args& args) { args.norm_eps = value; });
    expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"hc_eps is", "finite and not negative"},
                   [&](mhcjit_pre_forward_args& args) { args.hc_eps = value; });
    expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"hc_eps is", "finite and not negative"},
                            [&](mhcjit_pre_backward_args& args) { args.hc_eps = value; });
  }
}

TEST_F(ErrorsTest, PostMultThatIsNotFinite) {
  for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"pre_forward", "post_mult is", "allowed: finite; 2 is usual"},
                   [&](mhcjit_pre_forward_args& args) { args.post_mult = value; });
    expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"pre_backward", "post_mult is", "allowed: finite"},
                            [&](mhcjit_pre_backward_args& args) { args.post_mult = value; });
  }
}

TEST_F(ErrorsTest, FlagsThatAreNoFlags) {
  expect_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"overlap_previous is 2", "0 and 1"},
                 [](mhcjit_pre_forward_args& args) { args.overlap_previous = 2; });
  expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"accumulate_dx is 2", "0 and 1"},
                          [](mhcjit_pre_backward_args& args) { args.accumulate_dx = 2; });
  expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"accumulate_parameters is -1", "0 and 1"},
                          [](mhcjit_pre_backward_args& args) { args.accumulate_parameters = -1; });
  expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"overlap_previous is 2", "0 and 1"},
                          [](mhcjit_pre_backward_args& args) { args.overlap_previous = 2; });
  expect_backward_refused(MHCJIT_ERROR_INVALID_ARGUMENT, {"reserved is 1", "allowed: 0;"},
                          [](mhcjit_pre_backward_args& args) { args.reserved = 1; });
}

TEST_F(ErrorsTest, GammaThatTheProblemDoesNotHave) {
  mhcjit_problem plain = forward_problem;
  plain.has_gamma = 0;
  expect_refused(
      MHCJIT_ERROR_INVALID_ARGUMENT, {"gamma is 0x", "NULL", "has_gamma = 1"},
      [](mhcjit_pre_forward_args& args) { args.gamma = args.phi; }, plain);
  plain.op = MHCJIT_PRE_BACKWARD;
  expect_backward_refused(
      MHCJIT_ERROR_INVALID_ARGUMENT, {"dgamma is 0x", "NULL", "has_gamma = 1"},
      [](mhcjit_pre_backward_args& args) { args.dgamma = args.dphi; }, plain);
}

TEST_F(ErrorsTest, OperatorOfTheOtherKind) {
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const BackwardCall call(backward_problem, 7, 1 << 20);
  expect_failure(mhcjit_pre_backward(op, &call.args, nullptr), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"pre_forward n=4", "called as pre_backward"});
  EXPECT_TRUE(driver().launches().empty());
}

TEST_F(ErrorsTest, EveryRequiredTensorOfForward) {
  const auto without = [&](const char* name, auto member) {
    expect_refused(MHCJIT_ERROR_NULL_POINTER, {std::string(name) + " is NULL", "T = 7"},
                   [&](mhcjit_pre_forward_args& args) { args.*member = nullptr; });
  };
  without("x", &mhcjit_pre_forward_args::x);
  without("phi", &mhcjit_pre_forward_args::phi);
  without("alpha", &mhcjit_pre_forward_args::alpha);
  without("bias", &mhcjit_pre_forward_args::bias);
  without("gamma", &mhcjit_pre_forward_args::gamma);
  without("h_in", &mhcjit_pre_forward_args::h_in);
  without("h_post", &mhcjit_pre_forward_args::h_post);
  without("h_res", &mhcjit_pre_forward_args::h_res);
  without("workspace", &mhcjit_pre_forward_args::workspace);
}

TEST_F(ErrorsTest, EveryRequiredTensorOfBackward) {
  const auto without = [&](const char* name, auto member) {
    expect_backward_refused(MHCJIT_ERROR_NULL_POINTER, {std::string(name) + " is NULL", "T = 7"},
                            [&](mhcjit_pre_backward_args& args) { args.*member = nullptr; });
  };
  without("x", &mhcjit_pre_backward_args::x);
  without("phi", &mhcjit_pre_backward_args::phi);
  without("alpha", &mhcjit_pre_backward_args::alpha);
  without("gamma", &mhcjit_pre_backward_args::gamma);
  without("inv_rms", &mhcjit_pre_backward_args::inv_rms);
  without("h_mix", &mhcjit_pre_backward_args::h_mix);
  without("h_pre", &mhcjit_pre_backward_args::h_pre);
  without("h_post", &mhcjit_pre_backward_args::h_post);
  without("workspace", &mhcjit_pre_backward_args::workspace);
}

TEST_F(ErrorsTest, EveryHandleAndResultPointer) {
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  const mhcjit_operator* made = nullptr;
  std::size_t bytes = 0;
  mhcjit_counters counters;
  const auto expect_null = [](mhcjit_status status, const char* argument) {
    expect_failure(status, MHCJIT_ERROR_NULL_POINTER, {std::string(argument) + " is NULL"});
  };
  expect_null(mhcjit_engine_create(nullptr, nullptr), "engine");
  expect_null(mhcjit_prepare(nullptr, &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &made), "engine");
  expect_null(mhcjit_prepare(engine.get(), nullptr, MHCJIT_DEVICE_GPU, nullptr, &made), "problem");
  expect_null(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, nullptr), "op");
  expect_null(mhcjit_workspace_bytes(nullptr, 1, &bytes), "op");
  expect_null(mhcjit_workspace_bytes(op, 1, nullptr), "bytes");
  expect_null(mhcjit_compile(nullptr, &forward_problem, "sm_90a", nullptr), "engine");
  expect_null(mhcjit_compile(engine.get(), nullptr, "sm_90a", nullptr), "problem");
  expect_null(mhcjit_compile(engine.get(), &forward_problem, nullptr, nullptr), "architecture");
  expect_null(mhcjit_engine_counters(nullptr, &counters), "engine");
  expect_null(mhcjit_engine_counters(engine.get(), nullptr), "counters");
  std::size_t count = 0;
  mhcjit_argument argument;
  expect_null(mhcjit_operator_arguments(nullptr, &count, &bytes), "problem");
  expect_null(mhcjit_operator_arguments(&forward_problem, nullptr, &bytes), "count");
  expect_null(mhcjit_operator_arguments(&forward_problem, &count, nullptr), "struct_bytes");
  expect_null(mhcjit_operator_argument(nullptr, 0, &argument), "problem");
  expect_null(mhcjit_operator_argument(&forward_problem, 0, nullptr), "argument");
  expect_null(mhcjit_pre_forward(nullptr, &call.args, nullptr), "op");
  expect_null(mhcjit_pre_forward(op, nullptr, nullptr), "args");
  expect_null(mhcjit_pre_backward(nullptr, nullptr, nullptr), "op");
  expect_null(mhcjit_pre_backward(op, nullptr, nullptr), "args");
  EXPECT_EQ(made, nullptr);
  EXPECT_TRUE(driver().launches().empty());
  mhcjit_engine_destroy(nullptr);
}

template <typename Pointer>
void shift(Pointer& pointer, std::size_t bytes) {
  pointer = reinterpret_cast<Pointer>(reinterpret_cast<std::uintptr_t>(pointer) + bytes);
}

// D * sizeof(bf16) = 512 asks for 16; the alignment that a pointer has is named.
TEST_F(ErrorsTest, MisalignedPointers) {
  expect_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"x is 0x", "a multiple of 8 bytes", "must be a multiple of 16"},
                 [](mhcjit_pre_forward_args& args) { shift(args.x, 8); });
  expect_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"phi is 0x", "a multiple of 4 bytes", "must be a multiple of 16"},
                 [](mhcjit_pre_forward_args& args) { shift(args.phi, 4); });
  expect_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"h_in is 0x", "a multiple of 2 bytes", "must be a multiple of 16"},
                 [](mhcjit_pre_forward_args& args) { shift(args.h_in, 2); });
  expect_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"h_pre is 0x", "a multiple of 1 bytes", "must be a multiple of 4"},
                 [](mhcjit_pre_forward_args& args) { shift(args.h_pre, 1); });
  expect_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"workspace is 0x", "must be a multiple of 16"},
                 [](mhcjit_pre_forward_args& args) { shift(args.workspace, 4); });
  expect_backward_refused(MHCJIT_ERROR_MISALIGNED_POINTER, {"dgamma is 0x", "must be a multiple of 16"},
                          [](mhcjit_pre_backward_args& args) { shift(args.dgamma, 8); });
}

// An odd D asks for no more than its element: rows lie anywhere.
TEST_F(ErrorsTest, OddRowsNeedOnlyTheAlignmentOfTheirElement) {
  mhcjit_problem odd = forward_problem;
  odd.d = 127;
  const mhcjit_operator* op = prepare(engine, odd);
  ForwardCall call(odd, 6, workspace_bytes(op, 7));
  shift(call.args.x, 2);
  shift(call.args.h_in, 2);
  shift(call.args.h_pre, 4);
  EXPECT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  expect_refused(
      MHCJIT_ERROR_MISALIGNED_POINTER, {"x is 0x", "must be a multiple of 2"},
      [&](mhcjit_pre_forward_args& args) {
        shift(args.x, 1);
        driver().reset();
        driver().set_current_device(0);
      },
      odd);
}

TEST_F(ErrorsTest, WorkspaceTooSmall) {
  const std::size_t forward = workspace_bytes(prepare(engine, forward_problem), 7);
  ASSERT_GT(forward, 0u);
  expect_refused(MHCJIT_ERROR_WORKSPACE_TOO_SMALL,
                 {"workspace_bytes is " + std::to_string(forward - 1), "T = 7", "at least " + std::to_string(forward)},
                 [&](mhcjit_pre_forward_args& args) { --args.workspace_bytes; });
  const std::size_t backward = workspace_bytes(prepare(engine, backward_problem), 7);
  ASSERT_GT(backward, 0u);
  expect_backward_refused(MHCJIT_ERROR_WORKSPACE_TOO_SMALL, {"workspace_bytes is 0", std::to_string(backward)},
                          [](mhcjit_pre_backward_args& args) { args.workspace_bytes = 0; });
}

TEST_F(ErrorsTest, HostMemory) {
  alignas(16) static float host[24];
  expect_refused(MHCJIT_ERROR_WRONG_DEVICE, {"bias is 0x", "host memory", "memory of device 0"},
                 [](mhcjit_pre_forward_args& args) { args.bias = host; });
}

TEST_F(ErrorsTest, MemoryOfAnotherDevice) {
  alignas(16) static float remote[24];
  driver().add_allocation(remote, sizeof remote, 1, /*managed=*/false);
  expect_refused(MHCJIT_ERROR_WRONG_DEVICE, {"bias is 0x", "memory of device 1", "memory of device 0"},
                 [](mhcjit_pre_forward_args& args) { args.bias = remote; });
  expect_backward_refused(MHCJIT_ERROR_WRONG_DEVICE, {"dalpha is 0x", "memory of device 1"},
                          [](mhcjit_pre_backward_args& args) { args.dalpha = remote; });
}

TEST_F(ErrorsTest, ContextOfAnotherDevice) {
  expect_refused(MHCJIT_ERROR_WRONG_DEVICE, {"current context is of device 1", "prepared for device 0"},
                 [](mhcjit_pre_forward_args&) { driver().set_current_device(1); });
}

TEST_F(ErrorsTest, NoContextAtLaunch) {
  expect_refused(MHCJIT_ERROR_NO_DEVICE, {"no CUDA context is current on this thread"},
                 [](mhcjit_pre_forward_args&) { driver().set_current_device(-1); });
}

TEST_F(ErrorsTest, NoContextAtPrepare) {
  driver().set_current_device(-1);
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NO_DEVICE, {"no CUDA context is current on this thread", "mhcjit_device_open"});
}

TEST_F(ErrorsTest, NoDriver) {
  driver_path = "/nonexistent/libcuda.so.1";
  const EnginePtr without = make_engine();
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(without.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NO_DEVICE, {"/nonexistent/libcuda.so.1", "cannot be opened", "MHCJIT_DEVICE_CPU"});
}

TEST_F(ErrorsTest, DriverThatIsTooOld) {
  const mhcjit_operator* op = nullptr;
  driver_path = FAKE_OLD_DRIVER;
  expect_failure(mhcjit_prepare(make_engine().get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NO_DEVICE, {"too old", "no cuLibraryLoadData", "CUDA 12.0"});
  driver_path = FAKE_NVRTC;  // a library that is no driver at all
  expect_failure(mhcjit_prepare(make_engine().get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NO_DEVICE, {"too old", "cuGetProcAddress_v2"});
}

TEST_F(ErrorsTest, DriverWithoutADevice) {
  driver().device_count = 0;
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "nvidia-smi"});
}

TEST_F(ErrorsTest, NvrtcThatDoesNotExist) {
  nvrtc_path = "/nonexistent/libnvrtc.so.13";
  const mhcjit_operator* op = nullptr;
  const EnginePtr without = make_engine();
  const std::vector<std::string> parts = {"nvrtc_path is '/nonexistent/libnvrtc.so.13'", "does not exist"};
  expect_failure(mhcjit_prepare(without.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NO_NVRTC, parts);
  expect_failure(mhcjit_compile(without.get(), &forward_problem, "sm_90a", nullptr), MHCJIT_ERROR_NO_NVRTC, parts);
}

TEST_F(ErrorsTest, CompilationFailed) {
  compiler().result = NVRTC_ERROR_COMPILATION;
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_COMPILATION_FAILED,
                 {"pre_forward n=4 D=256 bf16 gamma sm_90a", "NVRTC_ERROR_COMPILATION",
                  "options: --gpu-architecture=sm_90a --minimal --no-cache", "source: " + cache_dir + "/",
                  ".pre_forward_pack_phi.cu\n", "log:\nmhcjit.cu(1): error: the fake compiler was told to refuse"});
  // Each kernel was refused: the first is reported. The kept source is what was compiled.
  const std::string text = mhcjit_last_error();
  EXPECT_EQ(text.find(".pre_forward_apply.cu"), std::string::npos) << text;
  const std::size_t begin = text.find(cache_dir + "/", text.find("source: "));
  const std::string source = read_file(text.substr(begin, text.find('\n', begin) - begin));
  EXPECT_NE(source.find("extern \"C\" __global__"), std::string::npos);

  // A failure is not kept.
  compiler().result = NVRTC_SUCCESS;
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
}

// Where others may write, one of them may have put a link in the source's place.
TEST_F(ErrorsTest, CompilationFailedInAFolderThatOthersMayWrite) {
  namespace fs = std::filesystem;
  compiler().result = NVRTC_ERROR_COMPILATION;
  ASSERT_EQ(mhcjit_compile(engine.get(), &forward_problem, "sm_80", nullptr), MHCJIT_ERROR_COMPILATION_FAILED);
  const std::string text = mhcjit_last_error();
  const std::size_t begin = text.find(cache_dir + "/", text.find("source: "));
  const std::string kept = text.substr(begin, text.find('\n', begin) - begin);
  const std::string precious = folder / "precious";
  write_file(precious, "precious");
  for (const bool writable_by_others : {true, false}) {
    fs::remove(kept);
    fs::create_symlink(precious, kept);
    fs::permissions(cache_dir, writable_by_others ? fs::perms::all : fs::perms::owner_all);
    expect_failure(mhcjit_compile(make_engine(plan_without_clusters).get(), &forward_problem, "sm_80", nullptr),
                   MHCJIT_ERROR_COMPILATION_FAILED,
                   {writable_by_others ? "source: not kept: '" + cache_dir + "' is writable by other users" : kept});
    EXPECT_EQ(read_file(precious), "precious");
    EXPECT_EQ(fs::is_symlink(fs::symlink_status(kept)), writable_by_others) << "a link is replaced, not followed";
  }
}

TEST_F(ErrorsTest, CompilationFailedWithoutACacheFolder) {
  cache_dir = "";
  const EnginePtr without = make_engine();
  compiler().result = NVRTC_ERROR_COMPILATION;
  expect_failure(mhcjit_compile(without.get(), &forward_problem, "sm_80", nullptr), MHCJIT_ERROR_COMPILATION_FAILED,
                 {"source: not kept: there is no cache folder", "--gpu-architecture=sm_80"});
}

TEST_F(ErrorsTest, NotPreparedDuringACapture) {
  void* const stream = reinterpret_cast<void*>(std::uintptr_t{0x77});
  const mhcjit_operator* op = nullptr;
  driver().begin_capture(stream);
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, stream, &op),
                 MHCJIT_ERROR_NOT_PREPARED, {"stream 0x77 is being captured", "before the capture begins"});
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NOT_PREPARED, {"before the capture begins"});
  EXPECT_TRUE(driver().end_capture(stream)) << "the capture was broken";
  EXPECT_EQ(compiler().compiles, 0);
  EXPECT_EQ(op, nullptr);
}

TEST_F(ErrorsTest, LoadFailed) {
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE);
  driver().version = 12040;
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_LOAD_FAILED,
                 {"pre_forward n=4 D=256", "CUDA driver 12.4", "NVRTC 13.0", "CUDA_ERROR_INVALID_IMAGE"});
  EXPECT_EQ(compiler().compiles, kernel_count(forward_problem, plan_without_clusters))
      << "what was just compiled is not compiled again";
}

TEST_F(ErrorsTest, OutOfMemoryAtLoad) {
  for (const char* function : {"cuLibraryLoadData", "cuKernelGetFunction"}) {
    driver().fail(function, CUDA_ERROR_OUT_OF_MEMORY);
    const mhcjit_operator* op = nullptr;
    expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                   MHCJIT_ERROR_OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "free memory and call again"});
  }
  EXPECT_EQ(compiler().compiles, kernel_count(forward_problem, plan_without_clusters)) << "a compiled kernel was lost";
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
}

TEST_F(ErrorsTest, OutOfMemoryInTheCompiler) {
  compiler().result = NVRTC_ERROR_OUT_OF_MEMORY;
  expect_failure(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", nullptr), MHCJIT_ERROR_OUT_OF_MEMORY,
                 {"NVRTC 13.0 ran out of host memory"});
}

TEST_F(ErrorsTest, LaunchFailed) {
  expect_refused(MHCJIT_ERROR_LAUNCH_FAILED,
                 {"pre_forward n=4 D=256", "launch 1 of 3", "T = 7", "CUDA_ERROR_ILLEGAL_ADDRESS"},
                 [](mhcjit_pre_forward_args&) { driver().fail("cuLaunchKernelEx", CUDA_ERROR_ILLEGAL_ADDRESS); });
}

TEST_F(ErrorsTest, TheSecondStageIsRefused) {
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, 7, workspace_bytes(op, 7));
  driver().fail("cuLaunchKernelEx", CUDA_ERROR_OUT_OF_MEMORY, 2);
  expect_failure(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_ERROR_OUT_OF_MEMORY, {"launch 2 of 3"});
}

// The text of a thread's failure is its own, and a success leaves it.
TEST_F(ErrorsTest, LastErrorBelongsToTheThread) {
  expect_failure(mhcjit_workspace_bytes(nullptr, 0, nullptr), MHCJIT_ERROR_NULL_POINTER, {"op is NULL"});
  std::string other = "unset";
  std::thread([&] { other = mhcjit_last_error(); }).join();
  EXPECT_EQ(other, "");
  mhcjit_counters counters;
  EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS);
  EXPECT_STREQ(mhcjit_last_error(), "op is NULL; pass a pointer");
}

TEST_F(ErrorsTest, EveryStatusHasItsName) {
  EXPECT_STREQ(mhcjit_status_name(MHCJIT_SUCCESS), "MHCJIT_SUCCESS");
  EXPECT_STREQ(mhcjit_status_name(MHCJIT_ERROR_NO_NVRTC), "MHCJIT_ERROR_NO_NVRTC");
  for (int status = 1; status <= 16; ++status)
    EXPECT_EQ(std::strncmp(mhcjit_status_name(static_cast<mhcjit_status>(status)), "MHCJIT_ERROR_", 13), 0) << status;
  EXPECT_STREQ(mhcjit_status_name(static_cast<mhcjit_status>(64)), "unknown status");
}

}  // namespace
}  // namespace mhcjit::test
