#include <pre_forward/args.cuh>
#include <pre_forward/few_tokens.cuh>

struct PreForwardFewTokensSpec {
  using Element = device::bf16;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr bool has_gamma = true;
  static constexpr int cluster_size = 16;
  static constexpr int gemm_warps = 16;
  static constexpr int unit_chunks = 1;
  static constexpr int units_per_warp = 4;
  static constexpr int panel_units = 1;
  static constexpr bool as_one_pass = false;
  static constexpr int stages = 4;
};

static_assert(sizeof(PreForwardArgs) == 112);
static_assert(PreForwardFewTokens<PreForwardFewTokensSpec>::shared_floats * sizeof(float) == 174608);

extern "C" __global__ void __launch_bounds__(544, 1)
mhcjit_pre_forward_few_tokens(const __grid_constant__ PreForwardArgs args) {
  pre_forward_few_tokens<PreForwardFewTokensSpec>(args);
}
