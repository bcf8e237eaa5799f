#include <pre_backward/args.cuh>
#include <pre_backward/dx.cuh>

struct PreBackwardDxSpec {
  using Element = device::bf16;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr bool has_gamma = true;
  static constexpr bool has_fp32_dx = false;
  static constexpr int row_blocks = 1;
  static constexpr int streams_per_block = 4;
  static constexpr int warps_per_stream = 2;
  static constexpr int tiles_per_warp = 2;
  static constexpr int pipeline_stages = 4;
  static constexpr bool phi_in_registers = true;
  static constexpr bool adds_in_cluster = true;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
};

static_assert(sizeof(PreBackwardArgs) == 152);
static_assert(sizeof(PortableBackwardWork) == 48);
static_assert(PreBackwardDx<PreBackwardDxSpec>::shared_floats * sizeof(float) == 83984);

extern "C" __global__ void __launch_bounds__(256, 2)
mhcjit_pre_backward_dx(const __grid_constant__ PreBackwardArgs args, const __grid_constant__ PortableBackwardWork work) {
  pre_backward_dx<PreBackwardDxSpec>(args, work);
}
