// An engine on the fake driver and the fake compiler, with a cache folder of its own, and calls with every tensor in
// device memory that notices when it is written.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "mhcjit/memory.h"
#include "mhcjit/mhcjit.h"
#include "tests/fake_driver/fake_driver.h"
#include "tests/fake_driver/fake_nvrtc.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::test {

// The states of the fakes that the engines of these tests use, loaded at the first call.
fake::Driver& driver();
fake::Compiler& compiler();

struct DestroyEngine {
  void operator()(mhcjit_engine* engine) const { mhcjit_engine_destroy(engine); }
};
using EnginePtr = std::unique_ptr<mhcjit_engine, DestroyEngine>;

// Device memory of the current device, full of random bytes. Freed with the program.
class Tensor {
 public:
  explicit Tensor(std::size_t bytes);
  template <typename T = void>
  T* data() const {
    return static_cast<T*>(memory_);
  }
  bool unchanged() const;

 private:
  void* memory_ = nullptr;
  std::vector<std::uint8_t> written_;
};

// Arguments that pass every check, each output given.
struct ForwardCall {
  ForwardCall(const mhcjit_problem& problem, std::int64_t T, std::size_t workspace_bytes);
  bool unchanged() const;

  std::vector<Tensor> tensors;
  mhcjit_pre_forward_args args = {};
};

struct BackwardCall {
  BackwardCall(const mhcjit_problem& problem, std::int64_t T, std::size_t workspace_bytes);
  bool unchanged() const;

  std::vector<Tensor> tensors;
  mhcjit_pre_backward_args args = {};
};

class FakeGpuTest : public ::testing::Test {
 protected:
  void SetUp() override;

  mhcjit_engine_options options();
  // `plan` NULL: the library chooses.
  EnginePtr make_engine(const char* plan = nullptr);
  // Prepared on the GPU; fails the test when that does not succeed.
  const mhcjit_operator* prepare(const EnginePtr& engine, const mhcjit_problem& problem);
  static std::size_t workspace_bytes(const mhcjit_operator* op, std::int64_t T);
  static mhcjit_counters counters(const EnginePtr& engine);

  // What the library prepares for the problem on the fake device.
  static std::vector<codegen::Bucket> buckets_of(const mhcjit_problem& problem, const std::string& plan = "");
  // The entries of the kernels, each once however many buckets share it; and their sources, which tell apart kernels of
  // several problems too.
  static std::vector<std::string> kernels_of(const mhcjit_problem& problem, const std::string& plan = "");
  static std::set<std::string> units_of(const mhcjit_problem& problem, const std::string& plan = "");
  static int kernel_count(const mhcjit_problem& problem, const std::string& plan = "") {
    return static_cast<int>(kernels_of(problem, plan).size());
  }
  // Buckets that launch a kernel in two ways load it twice.
  static int load_count(const mhcjit_problem& problem);

  // The last call failed with `status`, and its text has each of `parts`.
  static void expect_failure(mhcjit_status got, mhcjit_status status, const std::vector<std::string>& parts);

  static constexpr mhcjit_problem forward_problem = {
      .op = MHCJIT_PRE_FORWARD, .n = 4, .d = 256, .dtype = MHCJIT_BF16, .has_gamma = 1};
  static constexpr mhcjit_problem backward_problem = {
      .op = MHCJIT_PRE_BACKWARD, .n = 4, .d = 256, .dtype = MHCJIT_BF16, .has_gamma = 1};
  // For forward_problem: one kernel, whatever T is.
  static constexpr char plan_of_one_kernel[] = "one_pass cluster_size=2 tokens_per_tile=16 gemm_warps=4";
  // Three kernels of forward, with a workspace between them.
  static constexpr char plan_without_clusters[] = "two_pass cluster_size=0";
  // Three kernels of backward, of which outputs that are not wanted leave some out.
  static constexpr char plan_of_three_kernels[] =
      "portable tiles_per_warp=1 warps_per_stream=2 streams_per_block=4 splits_in_dx=0";

  TemporaryFolder folder;
  std::string cache_dir = folder / "cache";
  std::string driver_path;
  std::string nvrtc_path;
  std::vector<std::string> warnings;
};

}  // namespace mhcjit::test
