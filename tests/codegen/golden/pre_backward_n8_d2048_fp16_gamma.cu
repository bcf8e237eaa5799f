// pre_backward n=8 D=2048 fp16 gamma sm_90a
#include <pre_backward_coefficients.cuh>

struct PreBackwardCoefficientsSpec {
  using Element = device::fp16;
  static constexpr bool has_gamma = true;
  static constexpr int n = 8;
  static constexpr int d = 2048;
  static constexpr int rows = 80;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 12;
  static constexpr int row_warps = 8;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 256;
  static constexpr int padded_rows = 96;
  static constexpr int dx_columns_per_block = 128;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardCoefficients<PreBackwardCoefficientsSpec>::shared_floats * sizeof(float) == 256);

extern "C" __global__ void __launch_bounds__(256, 2)
mhcjit_pre_backward_coefficients(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_coefficients<PreBackwardCoefficientsSpec>(args);
}

// pre_backward n=8 D=2048 fp16 gamma sm_90a
#include <pre_backward_dx.cuh>

struct PreBackwardDxSpec {
  using Element = device::fp16;
  static constexpr bool has_gamma = true;
  static constexpr int n = 8;
  static constexpr int d = 2048;
  static constexpr int rows = 80;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 12;
  static constexpr int row_warps = 8;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 256;
  static constexpr int padded_rows = 96;
  static constexpr int dx_columns_per_block = 128;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardDx<PreBackwardDxSpec>::shared_floats * sizeof(float) == 40960);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_dx(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_dx<PreBackwardDxSpec>(args);
}

// pre_backward n=8 D=2048 fp16 gamma sm_90a
#include <pre_backward_phi_partials.cuh>

struct PreBackwardPhiPartialsSpec {
  using Element = device::fp16;
  static constexpr bool has_gamma = true;
  static constexpr int n = 8;
  static constexpr int d = 2048;
  static constexpr int rows = 80;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 12;
  static constexpr int row_warps = 8;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 256;
  static constexpr int padded_rows = 96;
  static constexpr int dx_columns_per_block = 128;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_phi_partials(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_phi_partials<PreBackwardPhiPartialsSpec>(args);
}

// pre_backward n=8 D=2048 fp16 gamma sm_90a
#include <pre_backward_phi.cuh>

struct PreBackwardPhiSpec {
  using Element = device::fp16;
  static constexpr bool has_gamma = true;
  static constexpr int n = 8;
  static constexpr int d = 2048;
  static constexpr int rows = 80;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 12;
  static constexpr int row_warps = 8;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 256;
  static constexpr int padded_rows = 96;
  static constexpr int dx_columns_per_block = 128;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardPhi<PreBackwardPhiSpec>::shared_floats * sizeof(float) == 4096);

extern "C" __global__ void __launch_bounds__(256, 2)
mhcjit_pre_backward_phi(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_phi<PreBackwardPhiSpec>(args);
}

// pre_backward n=8 D=2048 fp16 gamma sm_90a
#include <pre_backward_bias.cuh>

struct PreBackwardBiasSpec {
  using Element = device::fp16;
  static constexpr bool has_gamma = true;
  static constexpr int n = 8;
  static constexpr int d = 2048;
  static constexpr int rows = 80;
  static constexpr int columns = 16384;
  static constexpr int vec_size = 8;
  static constexpr int threads_per_block = 256;
  static constexpr int rows_per_thread = 12;
  static constexpr int row_warps = 8;
  static constexpr int row_blocks = 1;
  static constexpr int threads_per_token = 256;
  static constexpr int padded_rows = 96;
  static constexpr int dx_columns_per_block = 128;
  static constexpr int dx_tokens_per_thread = 8;
};

static_assert(sizeof(PreBackwardArgs) == 200);
static_assert(PreBackwardBias<PreBackwardBiasSpec>::shared_floats * sizeof(float) == 320);

extern "C" __global__ void __launch_bounds__(256, 1)
mhcjit_pre_backward_bias(const __grid_constant__ PreBackwardArgs args) {
  pre_backward_bias<PreBackwardBiasSpec>(args);
}
