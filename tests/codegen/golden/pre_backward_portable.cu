#include <pre_backward/args.cuh>
#include <pre_backward/phi_partials.cuh>

struct PreBackwardPhiPartialsSpec {
  using Element = device::bf16;
  static constexpr int n = 4;
  static constexpr int d = 4096;
  static constexpr int rows = 24;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int padded_rows = 24;
  static constexpr int rows_per_thread = 12;
  static constexpr int row_warps = 1;
  static constexpr int row_blocks = 2;
  static constexpr int threads_per_block = 256;
};

static_assert(sizeof(PreBackwardArgs) == 152);
static_assert(sizeof(PortableBackwardWork) == 48);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_phi_partials(const __grid_constant__ PreBackwardArgs args, const __grid_constant__ PortableBackwardWork work) {
  pre_backward_phi_partials<PreBackwardPhiPartialsSpec>(args, work);
}
