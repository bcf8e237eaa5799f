// pre_forward, second kernel, where warp groups multiply: the projection and the sum of squares, over one range of
// columns.
//
//     partial_sums[t, s, j] = sum over the columns k of split s of x[t, k] * packed_phi[j, k]       j < M
//     partial_sums[t, s, M] = sum over the columns k of split s of x[t, k]^2
//
// wgmma has nearly twice the rate of a single warp's mma (pre_forward/project.cuh). At each step the tensor cores drop
// the bits below a sum's last one: their sums are of columns_per_sum columns, and added in fp32.
//
// If the blocks that share a tile of tokens form a cluster, their gemm warps make its outputs too
// (pre_forward/apply_in_cluster.cuh).
//
// Grid:   x = tiles of tokens_per_block tokens * row_blocks, y = k_splits; of clusters, x is of all three.
// Block:  gemm warps  each multiplies 16 tokens of its own with the block's row_tiles * 8 rows of phi
//         1 producer  copies chunks of 64 columns of one stream into a ring of stages; the three other warps of its
//                     group only give up their registers
// Shared: stages, each a chunk of x, a row of 128 bytes for each token in the 128-byte swizzle, and of packed phi |
//         barriers. In place of the stages, in the end, what pre_forward/apply_in_cluster.cuh needs.
#pragma once

#include <common/ring_position.cuh>
#include <device/async.cuh>
#include <device/wgmma.cuh>
#include <pre_forward/apply_in_cluster.cuh>
#include <pre_forward/args.cuh>
#include <pre_forward/packed_phi.cuh>
#include <pre_forward/partial_sums.cuh>

template <class Spec>
struct PreForwardProjectWgmma {
  using Phi = PackedPhi<Spec>;
  using Partials = PartialSums<Spec>;
  static constexpr int gemm_warps = Spec::threads_per_block / device::warp_size;
  // Registers of a thread, together no more than a block of 384 threads begins with: 168 each.
  static constexpr int gemm_registers = 240;
  static constexpr int producer_registers = 24;
  static constexpr int tokens = Partials::tokens;
  static constexpr int columns = Spec::row_tiles * 16;  // of B: two terms of each row
  static constexpr int stages = Spec::pipeline_stages;
  static constexpr int x_bytes = tokens * 128;
  static constexpr int stage_bytes = x_bytes + Phi::block_bytes;
  static_assert(stage_bytes % 1024 == 0);  // which the swizzle counts from
  static constexpr int barriers_offset = stages * stage_bytes;
  static constexpr int barriers = 2 * stages + (Partials::in_cluster ? 1 : 0);
  static constexpr int shared_floats = (barriers_offset + barriers * 8) / 4;
  static_assert(ApplyInCluster<Spec>::shared_floats * 4 <= barriers_offset);
  static constexpr int chunks_per_sum = Spec::columns_per_sum / Phi::chunk_columns;
  static constexpr int all_chunks = Phi::padded_columns / Phi::chunk_columns;
  static constexpr int chunks_per_stream = Phi::padded_row_columns / Phi::chunk_columns;
  static_assert(Spec::threads_per_block == 256 && Spec::tokens_per_warp == 16);
  static_assert(Spec::columns_per_sum % Phi::chunk_columns == 0);
  static_assert(Spec::row_tiles * Spec::row_blocks * 8 >= Spec::rows);

  device::SharedAddress base;
  int row_block;
  int chunks;
  int first_chunk;
  device::i64 first_token;

  MHCJIT_DEVICE PreForwardProjectWgmma()
      : base(device::shared_base()),
        row_block(Partials::row_block()),
        chunks(Partials::split_chunks(all_chunks, chunks_per_sum)),
        first_chunk(Partials::split() * chunks),
        first_token(Partials::first_token()) {
    if (all_chunks - first_chunk < chunks) chunks = all_chunks - first_chunk;
  }

  MHCJIT_DEVICE device::SharedAddress x(int stage) const { return base + stage * stage_bytes; }
  MHCJIT_DEVICE device::SharedAddress phi(int stage) const { return x(stage) + x_bytes; }
  MHCJIT_DEVICE device::SharedAddress full(int stage) const { return base + barriers_offset + stage * 8; }
  MHCJIT_DEVICE device::SharedAddress empty(int stage) const { return full(stages + stage); }
  // The barrier of the gemm warps.
  MHCJIT_DEVICE device::SharedAddress meeting() const { return full(2 * stages); }
};

template <class Spec>
MHCJIT_DEVICE void produce_chunks(const PreForwardProjectWgmma<Spec>& plan, const TwoPassWork& work,
                                  const device::TensorMap& x) {
  using Plan = PreForwardProjectWgmma<Spec>;
  using Phi = typename Plan::Phi;
  const auto copy_x = [&](int i, int stage) {
    const int chunk = plan.first_chunk + i;
    device::barrier_arrive_expect(plan.full(stage), Plan::x_bytes + Phi::block_bytes);
    device::copy_box(plan.x(stage), x, chunk % Plan::chunks_per_stream * Phi::chunk_columns,
                     static_cast<int>(plan.first_token), chunk / Plan::chunks_per_stream, plan.full(stage));
  };
  const auto copy_phi = [&](int i, int stage) {
    device::copy_bytes(plan.phi(stage),
                       work.packed_phi + Phi::first_word(plan.first_chunk + i, plan.row_block * Spec::row_tiles),
                       Phi::block_bytes, plan.full(stage));
  };
  // x is there before phi is packed.
  const int first_chunks = plan.chunks < Plan::stages ? plan.chunks : Plan::stages;
  for (int i = 0; i < first_chunks; ++i) copy_x(i, i);
  device::wait_for_previous_kernel();
  for (int i = 0; i < first_chunks; ++i) copy_phi(i, i);
  RingPosition<Plan::stages> ring;
#pragma unroll 1
  for (int i = Plan::stages; i < plan.chunks; ++i) {
    device::barrier_wait(plan.empty(ring.index), ring.parity);
    copy_x(i, ring.index);
    copy_phi(i, ring.index);
    ring.advance();
  }
}

// Multiplies a step with the last `columns` of B's step_columns columns, in as few instructions as the widths allow.
template <class Element, int step_columns, int columns = step_columns>
MHCJIT_DEVICE void multiply_columns(float (&sums)[step_columns / 8][4], const device::Vector<device::u32, 4>& a,
                                    device::SharedAddress b) {
  constexpr int width = columns >= 64 ? 64 : columns >= 32 ? 32 : columns >= 16 ? 16 : 8;
  constexpr int first = step_columns - columns;
  device::wgmma<Element, width>(sums + first / 8, a, b + first * 16, step_columns * 16);
  if constexpr (columns > width) multiply_columns<Element, step_columns, columns - width>(sums, a, b);
}

template <class Spec>
MHCJIT_DEVICE void multiply_chunks(const PreForwardProjectWgmma<Spec>& plan, const PreForwardArgs& args,
                                   const TwoPassWork& work, int warp, int lane) {
  using Plan = PreForwardProjectWgmma<Spec>;
  using Phi = typename Plan::Phi;
  using Element = typename Spec::Element;
  constexpr int columns = Plan::columns;
  const int warp_token = warp * Spec::tokens_per_warp;
  const int quad = lane % 4;

  // The row of x that this lane addresses for load_matrices, and which half of a step's columns.
  const device::SharedAddress lane_offset = (warp_token + lane % 16) * 128 + ((lane / 16) ^ (lane % 8)) * 16;
  // In fp16 each warp reads what the kernel before has left.
  if constexpr (Spec::scales_phi) device::wait_for_previous_kernel();
  float totals[Spec::row_tiles][4] = {};
  float squares[2] = {};
  RingPosition<Plan::stages> ring;
  int previous = 0;
#pragma unroll 1
  for (int first = 0; first < plan.chunks; first += Plan::chunks_per_sum) {
    float sums[columns / 8][4] = {};
    const int last = plan.chunks - first < Plan::chunks_per_sum ? plan.chunks : first + Plan::chunks_per_sum;
#pragma unroll 1
    for (int i = first; i < last; ++i) {
      device::barrier_wait(plan.full(ring.index), ring.parity);
      const device::SharedAddress x = plan.x(ring.index) + lane_offset;
      const device::SharedAddress phi = plan.phi(ring.index);
#pragma unroll
      for (int step = 0; step < Phi::steps; ++step) {
        const auto a = device::load_matrices(x ^ (step * 32));
#pragma unroll
        for (int word = 0; word < 4; ++word) {
          const float low = device::low_half<Element>(a[word]);
          const float high = device::high_half<Element>(a[word]);
          squares[word % 2] = device::fma(low, low, squares[word % 2]);
          squares[word % 2] = device::fma(high, high, squares[word % 2]);
        }
        device::wgmma_fence();
        multiply_columns<Element, columns>(sums, a, phi + step * (columns * 32));
        device::wgmma_commit();
        // While these are made, the next step's x is read.
        device::wgmma_wait<1>();
        if (step == 0 && i > 0) {
          device::warp_barrier();
          if (lane == 0) device::barrier_arrive(plan.empty(previous));
        }
      }
      previous = ring.index;
      ring.advance();
    }
    device::wgmma_wait_for(sums);
#pragma unroll
    for (int tile = 0; tile < Spec::row_tiles; ++tile) {
      device::Vector<float, 2> factors = {1.0f, 1.0f};
      if constexpr (Spec::scales_phi)
        factors = device::load<2>(work.phi_factors +
                                  device::i64{(plan.first_chunk + first) / Plan::chunks_per_sum} * Phi::tiles * 8 +
                                  (plan.row_block * Spec::row_tiles + tile) * 8 + 2 * quad);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        totals[tile][e] = device::fma(sums[2 * tile][e] + sums[2 * tile + 1][e], factors[e % 2], totals[tile][e]);
    }
  }

  device::let_next_kernel_begin();
  using Partials = typename Plan::Partials;
  // For the gemm warps alone: the producer comes to no barrier of the block.
  int parity = 0;
  const auto meet = [&] {
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.meeting());
    device::barrier_wait(plan.meeting(), parity);
    parity ^= 1;
  };
  if constexpr (Partials::in_cluster) meet();
  const Partials partials(work);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float square = squares[half] + device::shuffle_xor(squares[half], 1);
    square += device::shuffle_xor(square, 2);
    const int token = warp_token + half * 8 + lane / 4;
    if (plan.first_token + token >= args.tokens) continue;
    if (quad == 0) partials.set_square(token, square);
#pragma unroll
    for (int tile = 0; tile < Spec::row_tiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) partials.set(token, tile * 8 + 2 * quad + e, totals[tile][2 * half + e]);
    }
  }
  if constexpr (Partials::in_cluster) apply_in_cluster<Spec>(args, work, meet);
}

template <class Spec>
MHCJIT_DEVICE void pre_forward_project_wgmma(const PreForwardArgs& args, const TwoPassWork& work,
                                             const device::TensorMap& x) {
  using Plan = PreForwardProjectWgmma<Spec>;
  const Plan plan;
  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  if (device::thread_index() == 0) {
    for (int stage = 0; stage < Plan::stages; ++stage) {
      device::barrier_init(plan.full(stage), 1);
      device::barrier_init(plan.empty(stage), Plan::gemm_warps);
    }
    if constexpr (Plan::Partials::in_cluster) device::barrier_init(plan.meeting(), Plan::gemm_warps);
    device::barrier_init_fence();
  }
  device::block_barrier();
  if (warp < Plan::gemm_warps) {
    device::raise_registers<Plan::gemm_registers>();
    multiply_chunks(plan, args, work, warp, lane);
  } else {
    device::lower_registers<Plan::producer_registers>();
    if (warp == Plan::gemm_warps && lane == 0) produce_chunks(plan, work, x);
    if constexpr (Plan::Partials::in_cluster) {
      // The producer's warps arrive and wait for the cluster as the gemm warps do: cluster barriers count every thread.
      device::warp_barrier();
      device::cluster_arrive();
      device::cluster_wait();
      device::cluster_arrive();
      device::cluster_wait();  // until the others have read what this block has
    }
  }
}
