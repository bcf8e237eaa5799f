#include "bench/floor.h"

#include <algorithm>

namespace mhcjit::bench {

std::size_t floor_bytes(const codegen::Problem& problem, std::int64_t tokens) {
  const std::int64_t n = problem.n, rows = problem.rows(), columns = problem.columns();
  const std::int64_t element = codegen::bytes_of(problem.dtype);
  constexpr std::int64_t fp32 = 4;
  const std::int64_t gamma = problem.has_gamma ? fp32 * columns : 0;
  const std::int64_t phi = fp32 * rows * columns;
  const std::int64_t x = element * columns, h_in = element * problem.d;
  const std::int64_t h_post = fp32 * n, h_res = fp32 * n * n, inv_rms = fp32, h_mix = fp32 * rows, h_pre = fp32 * n;
  const std::int64_t alpha_and_bias = fp32 * (3 + rows);
  if (problem.op == codegen::Op::pre_forward)
    return phi + gamma + alpha_and_bias + tokens * (x + h_in + h_post + h_res + inv_rms + h_mix + h_pre);
  const std::int64_t alpha = fp32 * 3;
  const std::int64_t read =
      x + inv_rms + h_mix + h_pre + h_post + /*dh_in*/ h_in + /*dh_post*/ h_post + /*dh_res*/ h_res;
  const std::int64_t dphi = phi, dgamma = gamma, dx = x;
  return phi + gamma + alpha + dphi + dgamma + /*dalpha and dbias*/ alpha_and_bias + tokens * (read + dx);
}

int cold_sets(std::size_t bytes, std::size_t l2_bytes) {
  constexpr std::size_t l2_caches = 4;
  constexpr std::size_t most = 512;
  return static_cast<int>(std::clamp<std::size_t>(l2_caches * l2_bytes / bytes + 1, 2, most));
}

}  // namespace mhcjit::bench
