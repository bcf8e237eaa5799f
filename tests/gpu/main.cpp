// gpu_tests: the tests that need a GPU. Without one every test skips and says what is missing.
//
//   gpu_tests [--gtest_...]
//   gpu_tests --device                     prints what device 0 is; exit code 3 and the reason when there is none
//   gpu_tests --prepare-with-cache FOLDER  one process of warm_cache_test.cpp
#include <exception>
#include <string_view>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "bench/gpu/gpu.h"
#include "warm_cache.h"

namespace {

using mhcjit::gpu::find_gpu;
using mhcjit::gpu::Gpu;

std::string describe(const Gpu& gpu) {
  return fmt::format("{}, {}, driver of CUDA {}", gpu.name, gpu.architecture, gpu.driver_version);
}

int print_device() {
  if (const Gpu* gpu = find_gpu()) {
    fmt::print("{}\n", describe(*gpu));
    return 0;
  }
  fmt::print(stderr, "no GPU: {}\n", mhcjit::gpu::missing_gpu());
  return 3;
}

int run(int argc, char** argv) {
  const std::string_view option = argc > 1 ? argv[1] : "";
  if (option == "--device") return print_device();
  if (option == mhcjit::gpu::prepare_option && argc == 3) return mhcjit::gpu::prepare_with(argv[2]);
  ::testing::InitGoogleTest(&argc, argv);
  if (::testing::GTEST_FLAG(list_tests)) return RUN_ALL_TESTS();
  if (const Gpu* gpu = find_gpu()) {
    fmt::print("device 0: {}\n", describe(*gpu));
    ::testing::Test::RecordProperty("device", describe(*gpu));
  } else {
    fmt::print("NO GPU, every test will be skipped: {}\n", mhcjit::gpu::missing_gpu());
  }
  return RUN_ALL_TESTS();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "gpu_tests: {}\n", failure.what());
    return 1;
  }
}
