#include <pre_backward/args.cuh>
#include <pre_backward/one_pass_finish.cuh>

struct PreBackwardOnePassFinishSpec {
  using Element = device::bf16;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr bool has_gamma = true;
  static constexpr int threads_per_block = 256;
  static constexpr int group_blocks = 16;
  static constexpr int slice = 256;
  static constexpr int block_tiles = 64;
  static constexpr int coefficient_pairs = 1;
  static constexpr int warps_per_stream = 2;
  static constexpr int steps = 8;
};

static_assert(sizeof(PreBackwardArgs) == 152);
static_assert(sizeof(OnePassBackwardWork) == 40);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_one_pass_finish(const __grid_constant__ PreBackwardArgs args, const __grid_constant__ OnePassBackwardWork work) {
  pre_backward_one_pass_finish<PreBackwardOnePassFinishSpec>(args, work);
}
