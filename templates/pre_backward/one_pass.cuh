// pre_backward in one kernel that reads x and dh_in once and writes dx once: a group of blocks holds a tile of 16
// tokens in its shared memory.
//
//     dh_pre, then p, q, r, dh_mix and c of a token
//     dx[t, i, d] = gamma[i, d] * sum_j dh_mix[t, j] * phi[j, (i, d)] + c[t] * x[t, i, d] + h_pre[t, i] * dh_in[t, d]
//     G[j, k]     = sum_t dh_mix[t, j] * x[t, k] over the tokens of a group
//
// Block r of a group owns columns [r * slice, (r + 1) * slice) of all n streams. Its share of phi and of G stays there
// for the whole launch. The blocks exchange only partial sums of dh_pre, from which every block makes the coefficients
// of every token. one_pass_finish.cuh adds up the groups' G.
//
// Grid:   groups * group_blocks blocks; any number of groups is right. A group is a cluster, or the launch is
//         cooperative.
// Block:  consumer_warps  dx and G of the block's columns (one_pass_consume.cuh)
//         4 dot warps     partial sums of dh_pre (one_pass_dots.cuh), told to the group (one_pass_exchange.cuh)
//         1 producer      copies x and dh_in into a ring of stages, and dx, which has taken x's place, out of it
//         pairs of coefficient warps, which take turns at tiles, a warp for eight tokens, and 1 scalar warp
//         (one_pass_coefficients.cuh)
// Shared: stages, each a tile of x and of dh_in as panels (one stream's, a row of 128 or 64 bytes for each token, in
//         the swizzle of as many bytes) | phi * gamma as operands | coefficients: a ring | scalars: a ring | dh_pre
//         received in a cluster: a ring | barriers.
#pragma once

#include <common/ring_position.cuh>
#include <device/async.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/one_pass_coefficients.cuh>
#include <pre_backward/one_pass_consume.cuh>
#include <pre_backward/one_pass_dots.cuh>
#include <pre_backward/one_pass_plan.cuh>
#include <pre_backward/one_pass_work.cuh>

template <class Spec>
MHCJIT_DEVICE void copy_tile_in(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args,
                                const device::TensorMap& x, const device::TensorMap& dh_in, int i, int stage) {
  using Plan = PreBackwardOnePass<Spec>;
  const bool has_gradient = args.dh_in != nullptr;
  const device::SharedAddress to = plan.stage(stage);
  const int token = static_cast<int>(plan.first_token(i));
  device::barrier_arrive_expect(plan.full(stage), has_gradient ? Plan::stage_bytes : Plan::x_bytes);
  for (int panel = 0; panel < Plan::panels; ++panel) {
    const int column = plan.first_column() + panel * Plan::panel_columns;
    if (has_gradient)
      device::copy_box(to + Plan::x_bytes + panel * Plan::panel_bytes, dh_in, column, token, 0, plan.full(stage));
    device::copy_box(to + panel * Plan::n * Plan::panel_bytes, x, column, token, 0, plan.full(stage));
  }
}

// One lane.
template <class Spec>
MHCJIT_DEVICE void copy_tiles(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args,
                              const device::TensorMap& x, const device::TensorMap& dh_in, const device::TensorMap& dx) {
  using Plan = PreBackwardOnePass<Spec>;
  device::wait_for_previous_kernel();
  // phi is copied before all tiles but the first, since the first coefficients wait for it.
  for (int i = 0; i < Plan::stages && i < plan.tiles; ++i) {
    if (i == 1) device::barrier_wait(plan.phi_loaded(), 0);
    copy_tile_in(plan, args, x, dh_in, i, i);
  }
  RingPosition<Plan::stages> stage;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.done(stage.index), stage.parity);
    if (args.dx != nullptr) {
      for (int panel = 0; panel < Plan::panels; ++panel) {
        const int column = plan.first_column() + panel * Plan::panel_columns;
        const int token = static_cast<int>(plan.first_token(i));
        const device::SharedAddress from = plan.stage(stage.index) + panel * Plan::n * Plan::panel_bytes;
        if (args.accumulate_dx != 0)
          device::add_box(dx, column, token, 0, from);
        else
          device::store_box(dx, column, token, 0, from);
      }
      device::store_commit();
      device::store_wait_read<0>();
    }
    if (i + Plan::stages < plan.tiles) copy_tile_in(plan, args, x, dh_in, i + Plan::stages, stage.index);
    stage.advance();
  }
  device::store_wait<0>();
}

// A null dh_in is read as zeros.
template <class Spec>
MHCJIT_DEVICE void clear_dh_in(const PreBackwardOnePass<Spec>& plan) {
  using Plan = PreBackwardOnePass<Spec>;
  constexpr int chunks = (Plan::stage_bytes - Plan::x_bytes) / 16;
  for (int stage = 0; stage < Plan::stages; ++stage)
    for (int chunk = device::thread_index(); chunk < chunks; chunk += Plan::threads)
      device::store_shared_4(plan.stage(stage) + Plan::x_bytes + chunk * 16, {});
}

template <class Spec>
MHCJIT_DEVICE void pre_backward_one_pass(const PreBackwardArgs& args, const OnePassBackwardWork& work,
                                         const device::TensorMap& x, const device::TensorMap& dh_in,
                                         const device::TensorMap& dx) {
  using Plan = PreBackwardOnePass<Spec>;
  // Unsigned: the compiler then knows that neither is negative.
  const auto thread = static_cast<device::u32>(device::thread_index());
  const int warp = static_cast<int>(thread / device::warp_size);
  const int lane = static_cast<int>(thread % device::warp_size);
  device::let_next_kernel_begin();
  if (thread == 0) {
    const Plan plan(args.tokens);
    plan.init_barriers();
  }
  if (args.dh_in == nullptr) clear_dh_in(Plan(args.tokens));
  device::block_barrier();
  Plan::arrive_at_group();

  // Each role builds its plan anew. One plan kept for all roles would cost registers in the role that has the fewest.
  if (warp < Plan::first_dot_warp) {
    device::raise_registers<Spec::consumer_registers>();
    consume_tiles(Plan(args.tokens), args, work, warp, lane);
  } else if (warp < Plan::producer_warp) {
    device::lower_registers<Spec::dot_registers>();
    make_dots(Plan(args.tokens), work, warp - Plan::first_dot_warp, lane);
  } else {
    device::lower_registers<Spec::helper_registers>();
    const Plan plan(args.tokens);
    if (warp == Plan::producer_warp) {
      if (lane == 0) copy_tiles(plan, args, x, dh_in, dx);
      device::warp_barrier();
      Plan::wait_for_group();
    } else if (warp == Plan::scalar_warp) {
      copy_scalars(plan, args, lane);
      if (plan.rank == 0 && plan.group == 0 && lane == 0) *work.groups = plan.groups;
      Plan::wait_for_group();
    } else if (!Plan::has_idle_warps || warp < Plan::scalar_warp) {
      make_coefficients(plan, args, work, warp - Plan::first_coefficient_warp, lane);
    } else {
      Plan::wait_for_group();
    }
  }

  device::warp_barrier();
  Plan::arrive_at_group();
  Plan::wait_for_group();
}
