// pre_backward n=3 D=127 fp32 sm_90a
#include <pre_backward_coefficients.cuh>

struct PreBackwardCoefficientsSpec {
  using Element = float;
  static constexpr bool has_gamma = false;
  static constexpr int n = 3;
  static constexpr int d = 127;
  static constexpr int rows = 15;
  static constexpr int columns = 381;
  static constexpr int vec_size = 1;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 8;
  static constexpr int row_warps = 2;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 128;
  static constexpr int padded_rows = 16;
  static constexpr int dx_columns_per_block = 256;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardCoefficients<PreBackwardCoefficientsSpec>::shared_floats * sizeof(float) == 96);

extern "C" __global__ void __launch_bounds__(256, 2)
mhcjit_pre_backward_coefficients(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_coefficients<PreBackwardCoefficientsSpec>(args);
}

// pre_backward n=3 D=127 fp32 sm_90a
#include <pre_backward_dx.cuh>

struct PreBackwardDxSpec {
  using Element = float;
  static constexpr bool has_gamma = false;
  static constexpr int n = 3;
  static constexpr int d = 127;
  static constexpr int rows = 15;
  static constexpr int columns = 381;
  static constexpr int vec_size = 1;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 8;
  static constexpr int row_warps = 2;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 128;
  static constexpr int padded_rows = 16;
  static constexpr int dx_columns_per_block = 256;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardDx<PreBackwardDxSpec>::shared_floats * sizeof(float) == 16384);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_dx(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_dx<PreBackwardDxSpec>(args);
}

// pre_backward n=3 D=127 fp32 sm_90a
#include <pre_backward_phi_partials.cuh>

struct PreBackwardPhiPartialsSpec {
  using Element = float;
  static constexpr bool has_gamma = false;
  static constexpr int n = 3;
  static constexpr int d = 127;
  static constexpr int rows = 15;
  static constexpr int columns = 381;
  static constexpr int vec_size = 1;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 8;
  static constexpr int row_warps = 2;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 128;
  static constexpr int padded_rows = 16;
  static constexpr int dx_columns_per_block = 256;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_phi_partials(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_phi_partials<PreBackwardPhiPartialsSpec>(args);
}

// pre_backward n=3 D=127 fp32 sm_90a
#include <pre_backward_phi.cuh>

struct PreBackwardPhiSpec {
  using Element = float;
  static constexpr bool has_gamma = false;
  static constexpr int n = 3;
  static constexpr int d = 127;
  static constexpr int rows = 15;
  static constexpr int columns = 381;
  static constexpr int vec_size = 1;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 8;
  static constexpr int row_warps = 2;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 128;
  static constexpr int padded_rows = 16;
  static constexpr int dx_columns_per_block = 256;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);

extern "C" __global__ void __launch_bounds__(256, 2)
mhcjit_pre_backward_phi(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_phi<PreBackwardPhiSpec>(args);
}

// pre_backward n=3 D=127 fp32 sm_90a
#include <pre_backward_bias.cuh>

struct PreBackwardBiasSpec {
  using Element = float;
  static constexpr bool has_gamma = false;
  static constexpr int n = 3;
  static constexpr int d = 127;
  static constexpr int rows = 15;
  static constexpr int columns = 381;
  static constexpr int vec_size = 1;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 8;
  static constexpr int row_warps = 2;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 128;
  static constexpr int padded_rows = 16;
  static constexpr int dx_columns_per_block = 256;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardBias<PreBackwardBiasSpec>::shared_floats * sizeof(float) == 60);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_bias(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_bias<PreBackwardBiasSpec>(args);
}
