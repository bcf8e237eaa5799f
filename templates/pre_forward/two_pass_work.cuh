// The kernels of pre_forward's two passes hand these on to each other, in the caller's workspace. The host fills the
// same struct.
#pragma once

struct TwoPassWork {
  float* partial_sums;       // [T, k_splits, M + 1]: partial h_mix, then the partial sum of squares; not with clusters
  unsigned int* packed_phi;  // phi * gamma as operands of the tensor cores (packed_phi.cuh)
  float* phi_factors;        // [sums of columns, rows of packed_phi]: by what sums over its rows are multiplied; fp16
};
