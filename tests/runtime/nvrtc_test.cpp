// The real NVRTC of CUDA 12 and 13: a source with a header becomes a cubin that the cache accepts, its log says what
// each kernel uses, a refusal carries everything needed to look into it, and a warm cache never opens the library.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "cache/cubin_check.h"
#include "mhcjit/mhcjit.h"
#include "runtime/compiler.h"
#include "runtime/ptxas_log.h"
#include "support/error.h"
#include "support/threads.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::runtime {
namespace {

struct Version {
  const char* path;
  int major;
  int minor;
};

void PrintTo(const Version& version, std::ostream* stream) { *stream << version.major << '.' << version.minor; }

constexpr codegen::Architecture sm_90a = {9, 0, 'a'};

class NvrtcTest : public ::testing::TestWithParam<Version> {
 protected:
  void SetUp() override {
    if (access(GetParam().path, R_OK) != 0)
      GTEST_SKIP() << "scripts/install-deps --tests has not installed " << GetParam().path;
  }

  CompileRequest request(std::string source, std::string_view architecture = "sm_90a") {
    auto identities = compiler.identities(sm_90a);
    if (!identities) {
      ADD_FAILURE() << take_failure(identities.takeError()).text;
      return {};
    }
    const CompilerIdentity& identity = identities->front();
    EXPECT_EQ(identity.major, GetParam().major);
    EXPECT_EQ(identity.minor, GetParam().minor);
    return {std::move(source),
            {{"values.cuh", "#pragma once\nconstexpr int words = 200;\n"}},
            compile_options(architecture, identity),
            folder / "cache/source.cu"};
  }

  test::TemporaryFolder folder;
  Compiler compiler{{.nvrtc_path = GetParam().path}};
};

constexpr char two_kernels[] = R"(#include <values.cuh>
extern "C" __global__ void __launch_bounds__(128) first(float* p) {
  __shared__ float s[words];
  s[threadIdx.x] = p[threadIdx.x];
  __syncthreads();
  p[threadIdx.x] = s[127 - threadIdx.x];
}
__device__ __noinline__ float helper(const float* p, int n) { float a[64]; for (int i = 0; i < 64; ++i) a[i] = p[i]; return a[n & 63]; }
extern "C" __global__ void __launch_bounds__(1024, 2) second(float* p, int n) {
  float kept[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) kept[i] = p[i * 7 + n];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 96; ++i) p[i * 1024 + threadIdx.x] = kept[i] * kept[95 - i] + helper(p, n);
}
)";

TEST_P(NvrtcTest, CompilesAndReportsWhatEachKernelUses) {
  auto output = compiler.compile(sm_90a, request(two_kernels));
  ASSERT_TRUE(static_cast<bool>(output)) << take_failure(output.takeError()).text;
  EXPECT_FALSE(static_cast<bool>(cache::check_cubin(output->cubin, "sm_90a")));
  const auto kernels = parse_ptxas_log(output->log);
  ASSERT_EQ(kernels.size(), 2u) << output->log;
  for (const cache::KernelResources& kernel : kernels) {
    EXPECT_GT(kernel.registers, 0) << output->log;
    if (kernel.name == "first") {
      EXPECT_GE(kernel.static_smem_bytes, 800);
      EXPECT_EQ(kernel.spill_store_bytes, 0);
    } else {
      EXPECT_EQ(kernel.name, "second");
      EXPECT_EQ(kernel.registers, 32) << "2 blocks of 1024 threads leave 32";
      EXPECT_GT(kernel.spill_store_bytes, 0) << output->log;
      EXPECT_GT(kernel.spill_load_bytes, 0) << output->log;
    }
  }
}

// At the same time, too.
TEST_P(NvrtcTest, TheSameSourceGivesTheSameBytes) {
  const auto source = [](int factor) {
    return fmt::format("extern \"C\" __global__ void kernel(float* p) {{ p[threadIdx.x] *= {}.0f; }}\n", factor);
  };
  std::array<std::string, 4> cubins;
  parallel_for(cubins.size(), 0, [&](std::int64_t i) {
    auto output = compiler.compile(sm_90a, request(source(i % 2 == 0 ? 3 : 5), "sm_80"));
    if (output)
      cubins[i] = output->cubin;
    else
      ADD_FAILURE() << take_failure(output.takeError()).text;
  });
  EXPECT_EQ(cubins[0], cubins[2]);
  EXPECT_EQ(cubins[1], cubins[3]);
  EXPECT_NE(cubins[0], cubins[1]);
}

TEST_P(NvrtcTest, ARefusedSourceIsKeptAndTheLogTravels) {
  const std::string source = "extern \"C\" __global__ void kernel() { undeclared = 1; }\n";
  auto output = compiler.compile(sm_90a, request(source));
  ASSERT_FALSE(static_cast<bool>(output));
  const Failure failure = take_failure(output.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_COMPILATION_FAILED);
  for (const std::string& part : {std::string("mhcjit.cu(1): error: identifier \"undeclared\" is undefined"),
                                  std::string("--gpu-architecture=sm_90a"), folder / "cache/source.cu",
                                  fmt::format("NVRTC {}.{}", GetParam().major, GetParam().minor)})
    EXPECT_NE(failure.text.find(part), std::string::npos) << part << "\nis not in: " << failure.text;
  EXPECT_EQ(test::read_file(folder / "cache/source.cu"), source);
}

TEST_P(NvrtcTest, AnUnknownArchitectureIsRefusedByName) {
  auto output = compiler.compile(sm_90a, request(two_kernels, "sm_999"));
  ASSERT_FALSE(static_cast<bool>(output));
  const Failure failure = take_failure(output.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_COMPILATION_FAILED);
  EXPECT_NE(failure.text.find("--gpu-architecture=sm_999"), std::string::npos) << failure.text;
  EXPECT_NE(failure.text.find("needs a newer NVRTC"), std::string::npos) << failure.text;
}

// The table of architectures beside what the library itself says.
TEST_P(NvrtcTest, EveryArchitectureThatItCompilesForIsKnownToTheSearch) {
  const auto location = llvm::cantFail(locate_nvrtc(GetParam().path, [](const char*) { return (const char*)nullptr; }));
  void* const library = dlopen(GetParam().path, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto count_of = reinterpret_cast<nvrtcResult (*)(int*)>(dlsym(library, "nvrtcGetNumSupportedArchs"));
  const auto list = reinterpret_cast<nvrtcResult (*)(int*)>(dlsym(library, "nvrtcGetSupportedArchs"));
  int count = 0;
  ASSERT_EQ(count_of(&count), NVRTC_SUCCESS);
  std::vector<int> supported(count);
  ASSERT_EQ(list(supported.data()), NVRTC_SUCCESS);
  int known = 0;
  for (const int number : {80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121}) {
    const codegen::Architecture architecture = {number / 10, number % 10};
    const bool is_supported = llvm::is_contained(supported, number);
    EXPECT_EQ(unfit_because(location, architecture, 0).empty(), is_supported) << number;
    if (is_supported) ++known;
  }
  EXPECT_GE(known, 9);
  EXPECT_LE(*std::max_element(supported.begin(), supported.end()), 121) << "the table ends before";
}

// The compile happens in a child, so this process has not opened NVRTC when it meets the warm cache.
TEST_P(NvrtcTest, AWarmCacheNeverOpensTheLibrary) {
  const std::string root = folder / "cache";
  const auto compile = [&](mhcjit_compile_result& result) {
    mhcjit_engine_options options = {};
    options.cache_dir = root.c_str();
    options.nvrtc_path = GetParam().path;
    const mhcjit_problem problem = {.op = MHCJIT_PRE_FORWARD, .n = 2, .d = 64, .dtype = MHCJIT_FP32};
    mhcjit_engine* engine = nullptr;
    mhcjit_status status = mhcjit_engine_create(&options, &engine);
    if (status == MHCJIT_SUCCESS) status = mhcjit_compile(engine, &problem, "sm_80", &result);
    mhcjit_engine_destroy(engine);
    return status == MHCJIT_SUCCESS;
  };
  const auto is_open = [] { return dlopen(GetParam().path, RTLD_NOW | RTLD_NOLOAD) != nullptr; };
  if (is_open()) GTEST_SKIP() << "an earlier test of this process opened NVRTC; run this test alone";
  const pid_t child = fork();
  mhcjit_compile_result result = {};
  if (child == 0) _exit(compile(result) && result.cache_hit == 0 && is_open() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(compile(result)) << mhcjit_last_error();
  EXPECT_EQ(result.cache_hit, 1);
  EXPECT_FALSE(is_open());
}

INSTANTIATE_TEST_SUITE_P(Cuda, NvrtcTest,
                         ::testing::Values(Version{TEST_NVRTC_13, 13, 0}, Version{TEST_NVRTC_12, 12, 9}),
                         [](const auto& info) { return std::to_string(info.param.major); });

}  // namespace
}  // namespace mhcjit::runtime
