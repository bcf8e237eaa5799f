// A process that finds a warm cache compiles nothing: two processes, one behind the other, on one empty cache folder.
#include "warm_cache.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "gpu_test.h"

namespace mhcjit::gpu {

int prepare_with(const char* folder) {
  if (find_gpu() == nullptr) return 3;
  const auto begin = std::chrono::steady_clock::now();
  mhcjit_engine_options options = {};
  options.cache_dir = folder;
  mhcjit_engine* engine = nullptr;
  require(mhcjit_engine_create(&options, &engine), "mhcjit_engine_create");
  for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD}) {
    const mhcjit_problem problem = {.op = op, .n = 4, .d = 4096, .dtype = MHCJIT_BF16, .has_gamma = 1};
    const mhcjit_operator* prepared = nullptr;
    require(mhcjit_prepare(engine, &problem, MHCJIT_DEVICE_GPU, nullptr, &prepared), "mhcjit_prepare");
  }
  mhcjit_counters counters = {};
  require(mhcjit_engine_counters(engine, &counters), "mhcjit_engine_counters");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  fmt::print("{} {} {:.6f}\n", counters.disk_hits, counters.misses, seconds.count());
  return 0;
}

namespace {

struct Outcome {
  int exit_code = -1;
  int disk_hits = -1;
  int misses = -1;
  double seconds = 0.0;
};

Outcome prepare_in_another_process(const std::string& folder) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  std::FILE* output = popen(fmt::format("'{}' {} '{}'", self, prepare_option, folder).c_str(), "r");
  if (output == nullptr) return {};
  Outcome outcome;
  const int fields = std::fscanf(output, "%d %d %lf", &outcome.disk_hits, &outcome.misses, &outcome.seconds);
  outcome.exit_code = pclose(output);
  if (fields != 3) outcome.exit_code = -1;
  return outcome;
}

class WarmCache : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    std::string name = std::filesystem::temp_directory_path() / "mhcjit-warm-cache-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
    GpuTest::TearDown();
  }

  std::string folder_;
};

TEST_F(WarmCache, TheSecondProcessCompilesNothing) {
  const Outcome cold = prepare_in_another_process(folder_);
  ASSERT_EQ(cold.exit_code, 0);
  EXPECT_GT(cold.misses, 2) << "kernels of two operators";
  EXPECT_EQ(cold.disk_hits, 0);
  const Outcome warm = prepare_in_another_process(folder_);
  ASSERT_EQ(warm.exit_code, 0);
  EXPECT_EQ(warm.misses, 0);
  EXPECT_EQ(warm.disk_hits, cold.misses);
  RecordProperty("cold seconds", fmt::format("{:.4f}", cold.seconds));
  RecordProperty("warm seconds", fmt::format("{:.4f}", warm.seconds));
}

}  // namespace
}  // namespace mhcjit::gpu
