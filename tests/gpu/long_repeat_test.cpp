// What chance shows once in a thousand launches: each call again and again, its outputs compared where they are.
#include <array>
#include <cstring>
#include <map>
#include <memory>

#include <fmt/format.h>

#include "gpu_test.h"
#include "kernel_program.h"

namespace mhcjit::gpu {
namespace {

constexpr int runs = 2000;

constexpr const char* source = R"(
struct CompareArgs {
  const unsigned int* expected;
  const unsigned int* actual;
  long long words;
  unsigned int* differing;
};

extern "C" __global__ void compare(const __grid_constant__ CompareArgs args) {
  unsigned int differing = 0;
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < args.words; i += step)
    differing += args.expected[i] != args.actual[i];
  if (differing != 0) atomicAdd(args.differing, differing);
}
)";

struct CompareArgs {
  const void* expected;
  const void* actual;
  long long words;
  void* differing;
};

constexpr std::array<const char*, 11> outputs = {"h_in", "h_post", "h_res",  "inv_rms", "h_mix", "h_pre",
                                                 "dx",   "dphi",   "dgamma", "dalpha",  "dbias"};

// A call's outputs as they were at one time.
class Expected {
 public:
  Expected(const Gpu& gpu, const KernelProgram& program, const Call& call)
      : program_(program), call_(call), differing_(gpu, sizeof(std::uint32_t), 16) {
    differing_.fill(0);
    for (const char* name : outputs) {
      if (!call.has(name)) continue;
      DeviceBuffer& copy = copies_.try_emplace(name, gpu, call.buffer(name).size(), 16).first->second;
      copy.copy_from(call.buffer(name));
    }
  }

  // Enqueues; what is found is added up.
  void compare() const {
    for (const auto& [name, copy] : copies_) {
      const CompareArgs args = {copy.as(), call_.buffer(name).as(), static_cast<long long>(copy.size() / 4),
                                differing_.as()};
      program_.launch("compare", {.grid_x = 132, .threads_per_block = 512}, &args);
    }
  }

  std::uint32_t differing() const {
    std::uint32_t words = 0;
    std::memcpy(&words, differing_.download().data(), sizeof words);
    return words;
  }

 private:
  const KernelProgram& program_;
  const Call& call_;
  std::map<std::string, DeviceBuffer> copies_;
  DeviceBuffer differing_;
};

class LongRepeat : public GpuTest, public ::testing::WithParamInterface<Case> {};

TEST_P(LongRepeat, GivesTheSameBits) {
  const Case& item = GetParam();
  const KernelProgram program(gpu(), source);
  const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)),
                            oracle::random_inputs(item.random));
  const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)),
                              oracle::random_output_gradients(item.random));
  for (const Call* call : {static_cast<const Call*>(&forward), static_cast<const Call*>(&backward)}) {
    call->poison();
    ASSERT_EQ(call->run(), MHCJIT_SUCCESS) << mhcjit_last_error();
    const Expected expected(gpu(), program, *call);
    for (int run = 0; run < runs; ++run) {
      call->poison(static_cast<unsigned char>(run));
      ASSERT_EQ(call->run(), MHCJIT_SUCCESS) << mhcjit_last_error();
      expected.compare();
    }
    EXPECT_EQ(expected.differing(), 0u) << "words in " << runs << " runs of " << to_string(item);
    // What the comparison would have seen.
    call->poison(0x55);
    expected.compare();
    EXPECT_GT(expected.differing(), 0u);
  }
}

// Clusters, blocks that exchange sums through the L2 cache, kernels that every device runs.
INSTANTIATE_TEST_SUITE_P(, LongRepeat,
                         ::testing::Values(Case{{{1000, 4, 4096, true}, MHCJIT_BF16, 1}},
                                           Case{{{600, 4, 7168, false}, MHCJIT_BF16, 2}},
                                           Case{{{500, 8, 1032, true}, MHCJIT_FP16, 3}}),
                         [](const auto& info) { return fmt::format("{}", info.index); });

}  // namespace
}  // namespace mhcjit::gpu
