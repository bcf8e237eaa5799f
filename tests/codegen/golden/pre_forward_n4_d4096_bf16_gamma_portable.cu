// pre_forward n=4 D=4096 bf16 gamma sm_90a
#include <pre_forward_pack_phi.cuh>

struct PreForwardPackPhiSpec {
  using Element = device::bf16;
  static constexpr bool has_gamma = true;
  static constexpr bool scales_phi = false;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int tokens_per_warp = 16;
  static constexpr int row_tiles = 3;
  static constexpr int row_blocks = 1;
  static constexpr int in_cluster = 0;
  static constexpr int k_splits = 2;
  static constexpr int columns_per_split = 8192;
  static constexpr int columns_per_sum = 2048;
  static constexpr int pack_columns = 256;
  static constexpr int uses_wgmma = 1;
  static constexpr int pipeline_stages = 8;
  static constexpr int threads_per_token = 256;
};

static_assert(sizeof(PreForwardArgs) == 136);

extern "C" __global__ void __launch_bounds__(256, 4)
mhcjit_pre_forward_pack_phi(const __grid_constant__ PreForwardArgs args) {
  pre_forward_pack_phi<PreForwardPackPhiSpec>(args);
}

// pre_forward n=4 D=4096 bf16 gamma sm_90a
#include <pre_forward_project_wgmma.cuh>

struct PreForwardProjectWgmmaSpec {
  using Element = device::bf16;
  static constexpr bool has_gamma = true;
  static constexpr bool scales_phi = false;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int tokens_per_warp = 16;
  static constexpr int row_tiles = 3;
  static constexpr int row_blocks = 1;
  static constexpr int in_cluster = 0;
  static constexpr int k_splits = 2;
  static constexpr int columns_per_split = 8192;
  static constexpr int columns_per_sum = 2048;
  static constexpr int pack_columns = 256;
  static constexpr int uses_wgmma = 1;
  static constexpr int pipeline_stages = 8;
  static constexpr int threads_per_token = 256;
};

static_assert(sizeof(PreForwardArgs) == 136);
static_assert(PreForwardProjectWgmma<PreForwardProjectWgmmaSpec>::shared_floats * sizeof(float) == 180352);

extern "C" __global__ void __launch_bounds__(384, 1)
mhcjit_pre_forward_project_wgmma(const __grid_constant__ PreForwardArgs args, const __grid_constant__ device::TensorMap x) {
  pre_forward_project_wgmma<PreForwardProjectWgmmaSpec>(args, x);
}

// pre_forward n=4 D=4096 bf16 gamma sm_90a
#include <pre_forward_apply.cuh>

struct PreForwardApplySpec {
  using Element = device::bf16;
  static constexpr bool has_gamma = true;
  static constexpr bool scales_phi = false;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int tokens_per_warp = 16;
  static constexpr int row_tiles = 3;
  static constexpr int row_blocks = 1;
  static constexpr int in_cluster = 0;
  static constexpr int k_splits = 2;
  static constexpr int columns_per_split = 8192;
  static constexpr int columns_per_sum = 2048;
  static constexpr int pack_columns = 256;
  static constexpr int uses_wgmma = 1;
  static constexpr int pipeline_stages = 8;
  static constexpr int threads_per_token = 256;
};

static_assert(sizeof(PreForwardArgs) == 136);
static_assert(PreForwardApply<PreForwardApplySpec>::shared_floats * sizeof(float) == 20);

extern "C" __global__ void __launch_bounds__(256, 4)
mhcjit_pre_forward_apply(const __grid_constant__ PreForwardArgs args) {
  pre_forward_apply<PreForwardApplySpec>(args);
}
