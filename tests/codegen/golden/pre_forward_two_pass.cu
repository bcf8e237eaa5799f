#include <pre_forward/args.cuh>
#include <pre_forward/project.cuh>

struct PreForwardProjectSpec {
  using Element = device::bf16;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr bool scales_phi = false;
  static constexpr bool uses_wgmma = false;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int row_tiles = 3;
  static constexpr int row_blocks = 1;
  static constexpr int tokens_per_warp = 32;
  static constexpr int columns_per_sum = 2048;
  static constexpr bool in_cluster = false;
  static constexpr int k_splits = 8;
  static constexpr int columns_per_split = 2048;
  static constexpr int pipeline_stages = 2;
  static constexpr int threads_per_token = 256;
};

static_assert(sizeof(PreForwardArgs) == 112);
static_assert(sizeof(TwoPassWork) == 24);
static_assert(PreForwardProject<PreForwardProjectSpec>::shared_floats * sizeof(float) == 77824);

extern "C" __global__ void __launch_bounds__(256, 2)
mhcjit_pre_forward_project(const __grid_constant__ PreForwardArgs args, const __grid_constant__ TwoPassWork work) {
  pre_forward_project<PreForwardProjectSpec>(args, work);
}
