// What a launch asks of the driver beside its grid.
#include <array>

#include "runtime/driver_api.h"
#include "runtime/launch_config.h"
#include "runtime/nvrtc.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class LaunchConfigTest : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    api = llvm::cantFail(runtime::DriverApi::load(driver_path));
    llvm::cantFail(api->initialise());
    const auto no_environment = [](const char*) -> const char* { return nullptr; };
    const auto location = llvm::cantFail(runtime::locate_nvrtc(nvrtc_path, no_environment));
    const runtime::Nvrtc* nvrtc = llvm::cantFail(runtime::Nvrtc::load(location));
    const char* const source = "extern \"C\" __global__ void __launch_bounds__(128, 1)\nmhcjit_nothing() {}";
    const auto output = llvm::cantFail(nvrtc->compile({source, {}, {"--gpu-architecture=sm_90a"}, ""}));
    CUlibrary library = nullptr;
    CUkernel kernel = nullptr;
    ASSERT_EQ(api->cuLibraryLoadData(&library, output.cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
              CUDA_SUCCESS);
    ASSERT_EQ(api->cuLibraryGetKernel(&kernel, library, "mhcjit_nothing"), CUDA_SUCCESS);
    ASSERT_EQ(api->cuKernelGetFunction(&function, kernel), CUDA_SUCCESS);
  }

  static codegen::Kernel kernel_of(int threads_per_block, bool is_cooperative) {
    codegen::Kernel kernel = {};
    kernel.threads_per_block = threads_per_block;
    kernel.is_cooperative = is_cooperative;
    return kernel;
  }

  CUresult launch(const codegen::Kernel& kernel, codegen::Grid grid, bool overlaps_previous = false) {
    const runtime::LaunchConfig config(kernel, grid, nullptr, overlaps_previous);
    return api->cuLaunchKernelEx(config.get(), function, nullptr, nullptr);
  }

  const runtime::DriverApi* api = nullptr;
  CUfunction function = nullptr;
};

TEST_F(LaunchConfigTest, AsksForWhatTheKernelNeedsAndNothingElse) {
  for (const bool is_cooperative : {false, true})
    for (const unsigned cluster_size : {0, 4})
      for (const bool overlaps : {false, true}) {
        ASSERT_EQ(launch(kernel_of(128, is_cooperative), {.x = 8, .cluster_size = cluster_size}, overlaps),
                  CUDA_SUCCESS);
        const fake::Launch launched = driver().launches().back();
        EXPECT_EQ(launched.is_cooperative, is_cooperative);
        EXPECT_EQ(launched.cluster_size, cluster_size);
        EXPECT_EQ(launched.overlaps_previous, overlaps);
      }
}

TEST_F(LaunchConfigTest, CooperativeLaunchesRunAtOnceOrNotAtAll) {
  driver().multiprocessors = 10;
  driver().clusters_at_once = 3;
  const codegen::Kernel kernel = kernel_of(1024, true);
  EXPECT_EQ(launch(kernel, {.x = 10, .y = 2}), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, {.x = 21}), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  EXPECT_EQ(launch(kernel, {.x = 12, .cluster_size = 4}), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, {.x = 16, .cluster_size = 4}), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  EXPECT_EQ(launch(kernel_of(1024, false), {.x = 21}), CUDA_SUCCESS);
}

}  // namespace
}  // namespace mhcjit::test
