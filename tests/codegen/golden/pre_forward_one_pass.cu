#include <pre_forward/args.cuh>
#include <pre_forward/one_pass.cuh>

struct PreForwardOnePassSpec {
  using Element = device::bf16;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr bool has_gamma = true;
  static constexpr bool scales_phi = false;
  static constexpr int threads_per_block = 256;
  static constexpr int cluster_size = 16;
  static constexpr int tokens_per_tile = 16;
  static constexpr int pipeline_stages = 4;
  static constexpr int panel_columns = 64;
  static constexpr int panels_per_stream = 4;
  static constexpr int gemm_warps = 2;
  static constexpr int row_groups = 1;
  static constexpr int apply_warps = 2;
  static constexpr int k_steps_per_warp = 32;
  static constexpr int phi_register_operands = 37;
  static constexpr int gemm_registers = 0;
  static constexpr int apply_registers = 0;
  static constexpr int helper_registers = 0;
};

static_assert(sizeof(PreForwardArgs) == 112);
static_assert(PreForwardOnePass<PreForwardOnePassSpec>::shared_floats * sizeof(float) == 208080);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_forward_one_pass(const __grid_constant__ PreForwardArgs args, const __grid_constant__ device::TensorMap x) {
  pre_forward_one_pass<PreForwardOnePassSpec>(args, x);
}
