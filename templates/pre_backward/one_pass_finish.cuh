// pre_backward in one pass, the second kernel: makes the parameters' gradients. With G the sum of the groups' sums:
//
//     dphi[j, k] = gamma[k] * G[j, k]          dgamma[k] = sum_j phi[j, k] * G[j, k]
//     dbias and dalpha from the coefficient warps' sums
//
// Grid:   x = blocks of 8 column tiles, and one for dbias and dalpha.
// Block:  a warp for each tile of 16 columns, laid out as one_pass.cuh has left it: with g = lane / 4 and q = lane % 4
//         a lane holds rows 8b + 2q and 8b + 2q + 1 of columns g, then of g + 8.
// Shared: none.
#pragma once

#include <device/device.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/one_pass_work.cuh>
#include <pre_backward/store_gradient.cuh>

template <class Spec>
struct PreBackwardOnePassFinish {
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static constexpr int row_blocks = (Spec::rows + 7) / 8;
  static constexpr int all_tiles = Spec::group_blocks * Spec::block_tiles;
  static constexpr int phi_blocks = (all_tiles + warps - 1) / warps;
  static constexpr int logit_floats = row_blocks * 8 + 4;
  static constexpr int coefficient_warps = Spec::coefficient_pairs * 2;
  static constexpr int shared_floats = 0;
};

// One thread makes each sum, over the groups and their coefficient warps.
template <class Spec>
MHCJIT_DEVICE void finish_logits(const PreBackwardArgs& args, const OnePassBackwardWork& work) {
  using Plan = PreBackwardOnePassFinish<Spec>;
  const int index = device::thread_index();
  const int kind = index - Plan::row_blocks * 8;
  if (kind >= 3 || (kind < 0 && index >= Spec::rows)) return;
  float* out = kind < 0 ? args.dbias : args.dalpha;
  if (out == nullptr) return;
  const int parts = *work.groups * Plan::coefficient_warps;
  float sum = 0.0f;
#pragma unroll 8
  for (int part = 0; part < parts; ++part) sum += work.logit_sums[part * Plan::logit_floats + index];
  store_gradient(args, out + (kind < 0 ? index : kind), sum);
}

template <class Spec>
MHCJIT_DEVICE void pre_backward_one_pass_finish(const PreBackwardArgs& args, const OnePassBackwardWork& work) {
  using Plan = PreBackwardOnePassFinish<Spec>;
  constexpr int blocks = Plan::row_blocks;
  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  device::let_next_kernel_begin();

  if (device::block_index_x() == Plan::phi_blocks) {
    device::wait_for_previous_kernel();
    finish_logits<Spec>(args, work);
    return;
  }
  const int tile = static_cast<int>(device::block_index_x()) * Plan::warps + warp;
  if (tile >= Plan::all_tiles || (args.dphi == nullptr && args.dgamma == nullptr)) return;
  const int consumer = tile % Spec::block_tiles / Spec::steps;
  const int step = tile % Spec::steps;
  const int stream = consumer / Spec::warps_per_stream;
  const int column = tile / Spec::block_tiles * Spec::slice +
                     (step * Spec::warps_per_stream + consumer % Spec::warps_per_stream) * 16 + lane / 4;
  // Element e is row 8b + 2q + e % 2 of column `column` + e / 2 * 8.
  const auto row_of = [&](int block, int e) { return block * 8 + lane % 4 * 2 + e % 2; };
  const auto exists = [&](int block, int e) { return row_of(block, e) < Spec::rows && column + e / 2 * 8 < Spec::d; };
  const auto place = [&](int block, int e) {
    return device::i64{row_of(block, e)} * Spec::columns + device::i64{stream} * Spec::d + column + e / 2 * 8;
  };

  float phi[blocks][4] = {};
  float gamma[2] = {1.0f, 1.0f};
  if constexpr (Spec::has_gamma) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (column + half * 8 < Spec::d) gamma[half] = args.gamma[stream * Spec::d + column + half * 8];
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (exists(block, e)) phi[block][e] = args.phi[place(block, e)];
    }
  }

  device::wait_for_previous_kernel();
  const int groups = *work.groups;
  const float* part = work.phi_sums + device::i64{tile} * blocks * device::warp_size * 4 + lane * 4;
  constexpr device::i64 group_stride = device::i64{Plan::all_tiles} * blocks * device::warp_size * 4;
  float sums[blocks][4] = {};
#pragma unroll 4
  for (int group = 0; group < groups; ++group) {
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
      const auto more = device::load<4>(part + group * group_stride + block * device::warp_size * 4);
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[block][e] += more[e];
    }
  }

  if (args.dphi != nullptr) {
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (exists(block, e)) store_gradient(args, args.dphi + place(block, e), sums[block][e] * gamma[e / 2]);
    }
  }
  if constexpr (Spec::has_gamma) {
    if (args.dgamma == nullptr) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = 0.0f;
#pragma unroll
      for (int block = 0; block < blocks; ++block) {
#pragma unroll
        for (int e = 0; e < 2; ++e) sum = device::fma(phi[block][half * 2 + e], sums[block][half * 2 + e], sum);
      }
      sum += device::shuffle_xor(sum, 1);
      sum += device::shuffle_xor(sum, 2);
      if (lane % 4 == 0 && column + half * 8 < Spec::d)
        store_gradient(args, args.dgamma + stream * Spec::d + column + half * 8, sum);
    }
  }
}
