// pre_backward, dx and the sums over tokens that make dphi and dgamma, in one read of x:
//
//     dx[t, i, d] = gamma[i, d] * sum_j dh_mix[t, j] * phi[j, (i, d)] + c[t] * x[t, i, d] + h_pre[t, i] * dh_in[t, d]
//     G[j, k]     = sum over the tiles of tokens of the block's split of dh_mix[t, j] * x[t, k]
//
// G becomes phi_partials, which pre_backward/phi.cuh adds up. If the launch has one split, or its splits are the blocks
// of a cluster, this kernel makes dphi and dgamma itself. One more block or cluster then makes dbias and dalpha.
//
// Grid:   x = row_blocks * blocks of columns * groups of streams, perhaps one more, each of them a block or as many as
//         a cluster has; y = token_splits of the others, or fewer, each of which takes several.
// Block:  streams_per_block streams; warps_per_stream warps each have tiles_per_warp tiles of 16 columns of one.
//         Of several blocks of rows, whose sums of G one warp could not hold, the first makes dx.
//         Operand A of the tensor cores is x^T for G and (phi * gamma)^T for dx, operand B dh_mix and dh_mix^T.
// Shared: pipeline_stages tiles of 16 tokens: x of each stream, dh_in and the tokens' records. A warp reads and
//         replaces its own columns of x, so that a tile has one barrier. Behind them perhaps phi; a barrier and sums
//         that other blocks of a cluster send.
#pragma once

#include <device/async.cuh>
#include <pre_backward/bias.cuh>
#include <pre_backward/dh_in_tile.cuh>
#include <pre_backward/dx_warp.cuh>
#include <pre_backward/phi_gradients.cuh>
#include <pre_backward/phi_operands.cuh>
#include <pre_backward/x_tile.cuh>

template <class Spec>
struct PreBackwardDx {
  using Record = TokenRecord<Spec>;
  using X = XTile<Spec>;
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static_assert(warps == Spec::streams_per_block * Spec::warps_per_stream);

  static constexpr int dh_in = Spec::streams_per_block * X::bytes;  // offsets in a stage
  static constexpr int records = dh_in + DhInTile<Spec>::bytes;
  static constexpr int record_words = Record::bytes / 16;  // 16 bytes each
  static constexpr int record_copies =
      (X::tokens * record_words + Spec::threads_per_block - 1) / Spec::threads_per_block;
  static constexpr int unrolled_record_copies = record_copies <= 4 ? record_copies : 1;
  static constexpr int stage_bytes = records + X::tokens * Record::bytes;
  static constexpr int stages_bytes = Spec::pipeline_stages * stage_bytes;
  static constexpr int cluster_offset = stages_bytes + warps * PhiOperands<Spec>::shared_bytes;
  static constexpr int sums_bytes =
      warps * Spec::tiles_per_warp * PhiGradients<Spec>::row_tiles * device::warp_size * 16;
  static constexpr int tile_floats = (cluster_offset + (Spec::adds_in_cluster ? 16 + sums_bytes : 0)) / 4;
  static constexpr int bias_floats = BiasSums<Spec>::shared_floats;
  static constexpr int shared_floats = tile_floats > bias_floats ? tile_floats : bias_floats;
};

// sums += x^T * dh_mix over the tile, for one block of rows of phi.
template <class Spec, class Operand>
MHCJIT_DEVICE void add_products(device::SharedAddress records, int row_block, const Operand (&x)[Spec::tiles_per_warp],
                                typename PhiGradients<Spec>::Sums& sums) {
  using Record = TokenRecord<Spec>;
  // ldmatrix loads tokens 0 to 7 and 8 to 15 of the high terms, then of the low ones.
  const int lane = device::thread_index() % device::warp_size;
  constexpr int row_tiles = PhiGradients<Spec>::row_tiles;
  const device::SharedAddress row =
      records + lane % 16 * Record::bytes + lane / 16 * Record::low + row_block * row_tiles * 16;
#pragma unroll
  for (int rows = 0; rows < row_tiles; ++rows) {
    const auto dh_mix = device::load_matrices_transposed(row + rows * 16);
#pragma unroll
    for (int tile = 0; tile < Spec::tiles_per_warp; ++tile) {
      device::multiply_add<device::bf16>(sums[tile][rows], x[tile].words[0], dh_mix[0], dh_mix[1]);
      device::multiply_add<device::bf16>(sums[tile][rows], x[tile].words[0], dh_mix[2], dh_mix[3]);
      if constexpr (Operand::terms == 2)
        device::multiply_add<device::bf16>(sums[tile][rows], x[tile].words[1], dh_mix[0], dh_mix[1]);
    }
  }
}

// products = (phi * gamma)^T * dh_mix^T of two groups of eight tokens.
template <class Spec, class Phi>
MHCJIT_DEVICE void multiply_phi(device::SharedAddress records, const Phi& phi,
                                float (&products)[Spec::tiles_per_warp][2][4]) {
  using Record = TokenRecord<Spec>;
  // ldmatrix loads the first and the last eight rows of a step for tokens 0 to 7, then for tokens 8 to 15.
  const int lane = device::thread_index() % device::warp_size;
  const device::SharedAddress row = records + (lane / 16 * 8 + lane % 8) * Record::bytes + lane / 8 % 2 * 16 +
                                    (Record::is_scaled ? Record::scaled : 0);
#pragma unroll Phi::unrolled_steps
  for (int step = 0; step < Record::dx_steps; ++step) {
    const auto high = device::load_matrices(row + step * 32);
    if constexpr (Record::is_scaled) {
#pragma unroll
      for (int tile = 0; tile < Spec::tiles_per_warp; ++tile) {
        const auto a = phi.operand(tile, step, 0);
        device::multiply_add<device::fp16>(products[tile][0], a, high[0], high[1]);
        device::multiply_add<device::fp16>(products[tile][1], a, high[2], high[3]);
      }
    } else {
      const auto low = device::load_matrices(row + Record::low + step * 32);
#pragma unroll
      for (int tile = 0; tile < Spec::tiles_per_warp; ++tile) {
        const auto a = phi.operand(tile, step, 0);
        const auto a_low = phi.operand(tile, step, 1);
#pragma unroll
        for (int group = 0; group < 2; ++group) {
          const device::u32 b0 = high[2 * group];
          const device::u32 b1 = high[2 * group + 1];
          device::multiply_add<device::bf16>(products[tile][group], a, low[2 * group], low[2 * group + 1]);
          device::multiply_add<device::bf16>(products[tile][group], a_low, b0, b1);
          device::multiply_add<device::bf16>(products[tile][group], a, b0, b1);
        }
      }
    }
  }
}

// Stores sixteen columns of dx in fp32 from where the tensor cores leave them: eight lanes write a sector of memory.
// Tokens lie `stride` elements apart.
template <class Spec>
MHCJIT_DEVICE void store_fp32_dx(float* dx, int stride, const float (&values)[4][2], int tokens,
                                 const ColumnRange& columns, bool adds) {
  const int lane = device::thread_index() % device::warp_size;
  const int first_token = lane % 4 * 2;
  const int first_column = lane / 4;
  float* lane_dx = dx + device::i64{first_token} * stride + first_column;
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int token = pair / 2 * 8 + e;
      const int column = pair % 2 * 8;
      if (first_token + token >= tokens || !columns.contains(first_column + column)) continue;
      float* to = lane_dx + device::i64{token} * stride + column;
      *to = adds ? *to + values[pair][e] : values[pair][e];
    }
  }
}

// The splits of a cluster: each of its blocks adds up and stores tiles of the sums, which the others send it.
template <class Spec>
struct ClusterSums {
  using Plan = PreBackwardDx<Spec>;
  using Gradients = PhiGradients<Spec>;
  static constexpr int tiles = Plan::warps * Spec::tiles_per_warp;  // a block's; a multiple of the cluster's blocks
  static constexpr int rows_bytes = device::warp_size * 16;
  static_assert(XTile<Spec>::phases == 1);

  int splits;
  int rank;

  MHCJIT_DEVICE ClusterSums() : splits(device::cluster_blocks()), rank(device::cluster_rank()) {}

  static MHCJIT_DEVICE device::SharedAddress barrier() { return device::shared_base() + Plan::cluster_offset; }
  // The lane's sums of a split and of eight rows arrive here, in the block that owns the tile.
  MHCJIT_DEVICE device::SharedAddress place(int tile, int split, int rows) const {
    return device::shared_base() + Plan::cluster_offset + 16 +
           ((tile / splits * splits + split) * Gradients::row_tiles + rows) * rows_bytes +
           device::thread_index() % device::warp_size * 16;
  }

  // Nothing is sent to another block before it has initialised its barrier.
  MHCJIT_DEVICE void prepare() const {
    if (device::thread_index() == 0) {
      device::barrier_init(barrier(), 1);
      device::barrier_init_fence();
    }
    device::cluster_arrive();
  }

  MHCJIT_DEVICE void send(const typename Gradients::Sums& sums) const {
    device::cluster_wait();
    // Bytes may come before they are expected: the phase lasts until this arrival. Next to barrier_init, which is
    // compiled to one instruction of the whole warp, race checkers take the two for accesses of different threads.
    if (device::thread_index() == 0) device::barrier_arrive_expect(barrier(), Plan::sums_bytes);
#pragma unroll
    for (int i = 0; i < Spec::tiles_per_warp; ++i) {
      const int tile = device::thread_index() / device::warp_size * Spec::tiles_per_warp + i;
      const int owner = tile % splits;
#pragma unroll
      for (int rows = 0; rows < Gradients::row_tiles; ++rows) {
        const float(&four)[4] = sums[i][rows];
        device::send(device::in_block(place(tile, rank, rows), owner), {{four[0], four[1], four[2], four[3]}},
                     device::in_block(barrier(), owner));
      }
    }
  }

  // Adds in the order of splits. A block exits only when it has received all that the others send.
  MHCJIT_DEVICE void store(const PreBackwardArgs& args, const Gradients& gradients, int block) const {
    device::barrier_wait_cluster(barrier(), 0);
#pragma unroll 1
    for (int tile = rank + device::thread_index() / device::warp_size * splits; tile < tiles;
         tile += Plan::warps * splits) {
      typename Gradients::TileSums all = {};
#pragma unroll 4
      for (int split = 0; split < splits; ++split) {
#pragma unroll
        for (int rows = 0; rows < Gradients::row_tiles; ++rows) {
          const auto more = device::load_shared_4(place(tile, split, rows));
#pragma unroll
          for (int e = 0; e < 4; ++e) all[rows][e] += more[e];
        }
      }
      const DxWarp<Spec> warp(args, block, 0, tile / Spec::tiles_per_warp);
      gradients.store(warp.place().tile(tile % Spec::tiles_per_warp), all);
    }
  }
};

// Makes dx of the block's columns of the tiles of one split. The launch runs `splits_at_once` splits at once.
template <class Spec>
MHCJIT_DEVICE void make_dx_of_split(const PreBackwardArgs& args, const PortableBackwardWork& work, int block,
                                    int token_split, int splits_at_once) {
  using Plan = PreBackwardDx<Spec>;
  using Record = TokenRecord<Spec>;
  using X = XTile<Spec>;
  using Element = typename Spec::Element;
  using Fragment = XFragment<Element, X::row_bytes>;
  using Operand = XOperand<Element, Fragment>;
  using Extent = typename X::Extent;
  using Dx = DxElement<Spec>;
  // dx of 16 bits replaces x in shared memory and is stored from there in whole rows.
  constexpr bool is_in_place = Record::is_scaled;
  constexpr int tiles = Spec::tiles_per_warp;
  constexpr int stages = Spec::pipeline_stages;
  constexpr int stride = X::phases * Spec::columns;  // from a token to the next of its phase

  const bool makes_sums = args.dphi != nullptr || args.dgamma != nullptr;
  if constexpr (Spec::adds_in_cluster) {
    if (makes_sums && device::cluster_blocks() > 1) ClusterSums<Spec>().prepare();
  }
  const int phase = token_split % X::phases;
  const DxWarp<Spec> warp(args, block, phase, device::thread_index() / device::warp_size);
  const DhInTile<Spec> dh_in_tile(args, warp);
  const int lane = device::thread_index() % device::warp_size;
  const device::SharedAddress shared = device::shared_base();
  // x_place is the offset of the warp's columns in a stage. The extent is what the lane copies of a tile.
  const device::SharedAddress x_place = warp.part * X::columns * X::element_bytes + warp.stream_of_block * X::bytes;
  const int tokens = X::tokens_of_phase(args.tokens, phase);
  const ColumnRange lane_columns = warp.columns.counted_from(X::first_column());
  const auto extent_of = [&](int tile) {
    return Extent{tokens - tile * X::tokens - X::first_token(), lane_columns.begin, lane_columns.end};
  };
  const int offset = phase * Spec::columns + warp.first_column();
  const device::i64 lane_offset = device::i64{X::first_token()} * stride + offset + X::first_column();
  const Element* lane_x = static_cast<const Element*>(args.x) + lane_offset;
  const auto first_of = [](int tile, int distance) { return device::i64{tile} * (device::i64{X::tokens} * distance); };

  const auto copy_x = [&](int stage, int tile) {
    const device::SharedAddress to = shared + stage * Plan::stage_bytes;
    X::copy_in(to + x_place + X::first_place(), lane_x + first_of(tile, stride), stride, extent_of(tile));
    dh_in_tile.copy_in(to + Plan::dh_in, device::i64{tile} * X::tokens, tokens - tile * X::tokens);
  };
  const device::u32* phase_records =
      work.records + phase * device::i64{X::tokens_of_phase(args.tokens, 0)} * (Record::bytes / 4);
  const auto copy_records = [&](int stage, int tile) {
    constexpr int words_per_token = Plan::record_words;
    constexpr int words = X::tokens * words_per_token;
    const int thread = device::thread_index();
    const device::SharedAddress to = shared + stage * Plan::stage_bytes + Plan::records + thread * 16;
    const device::u32* from = phase_records + thread * 4 + first_of(tile, Record::bytes / 4);
    const int left = tokens - tile * X::tokens;
    const int existing = left < X::tokens ? left * words_per_token : words;
#pragma unroll Plan::unrolled_record_copies
    for (int first = 0; first < words; first += Spec::threads_per_block) {
      if (first + Spec::threads_per_block <= words || thread < words - first)
        device::copy_async_or_zeros<16>(to + first * 16, from + first * 4, thread < existing - first);
    }
  };

  // The loop runs from the last tile on: the previous kernel has read that last, so some of it is in the L2 cache.
  const int splits = X::phases == 1 ? splits_at_once : work.token_splits / X::phases;  // splits of the phase
  int tile = (tokens - 1) / X::tokens - token_split / X::phases;
#pragma unroll
  for (int stage = 0; stage < stages - 1; ++stage)
    if (tile >= stage * splits) copy_x(stage, tile - stage * splits);
  const PhiOperands<Spec> phi(
      args, warp,
      shared + Plan::stages_bytes + device::thread_index() / device::warp_size * PhiOperands<Spec>::shared_bytes);
  device::wait_for_previous_kernel();
#pragma unroll
  for (int stage = 0; stage < stages - 1; ++stage) {
    if (tile >= stage * splits) copy_records(stage, tile - stage * splits);
    device::copy_commit();
  }

  PhiGradients<Spec> gradients(args, work, token_split, warp.row_block, warp.place());
  typename PhiGradients<Spec>::Sums sums = {};
  const bool makes_dx = args.dx != nullptr && warp.row_block == 0;
  const bool adds_to_dx = makes_dx && args.accumulate_dx != 0;
  int stage = 0;
#pragma unroll 1
  for (;;) {
    const int end = tile - work.tiles_per_sum * splits;
#pragma unroll 1
    for (; tile >= 0 && tile > end; tile -= splits) {
      // The present tile is complete, and no warp reads the one before any more.
      device::copy_wait<stages - 2>();
      device::block_barrier();
      const int asked = tile - (stages - 1) * splits;
      if (asked >= 0) {
        const int free_stage = stage == 0 ? stages - 1 : stage - 1;
        copy_x(free_stage, asked);
        copy_records(free_stage, asked);
      }
      // A group is committed even if nothing was copied: copy_wait counts groups.
      device::copy_commit();

      const device::SharedAddress of_stage = shared + stage * Plan::stage_bytes;
      const device::SharedAddress records = of_stage + Plan::records;
      const device::SharedAddress x_tile = of_stage + x_place;
      Fragment x[tiles];
#pragma unroll
      for (int i = 0; i < tiles; ++i) x[i].load(x_tile, i);
      Dx* const dx = static_cast<Dx*>(args.dx) + first_of(tile, stride);
      if constexpr (is_in_place) {
        if (adds_to_dx) {
          // x is in registers, so its place takes the dx to be added to.
          device::warp_barrier();
          X::copy_own_in(x_tile + X::first_place(), dx + lane_offset, stride, extent_of(tile));
          device::copy_commit();
        }
      }

      Operand operands[tiles];
#pragma unroll
      for (int i = 0; i < tiles; ++i) operands[i].set(x[i]);
      add_products<Spec>(records, warp.row_block, operands, sums);

      if (makes_dx) {
        float products[tiles][2][4] = {};
        multiply_phi<Spec>(records, phi, products);
        // Each array is indexed by tokens 2q, 2q + 1, 2q + 8 and 2q + 9.
        float scale[4];
        float c[4];
        float h_pre[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const device::SharedAddress record = records + (lane % 4 * 2 + i / 2 * 8 + i % 2) * Record::bytes;
          const auto scalars = device::load_shared_2(record + Record::scalars);
          c[i] = scalars[0];
          scale[i] = scalars[1] * phi.inverse_scale;
          h_pre[i] = device::load_shared(record + Record::h_pre + warp.stream * 4);
        }
        if constexpr (is_in_place) {
          if (adds_to_dx) {
            device::copy_wait<0>();
            device::warp_barrier();
          }
        }
#pragma unroll
        for (int i = 0; i < tiles; ++i) {
          const auto dh_in = dh_in_tile.load(of_stage + Plan::dh_in, i);
          float values[4][2];
#pragma unroll
          for (int pair = 0; pair < 4; ++pair) {
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const int token = pair / 2 * 2 + e;
              const float product = products[i][pair / 2][pair % 2 * 2 + e] * scale[token];
              values[pair][e] =
                  device::fma(h_pre[token], dh_in.value(pair, e), device::fma(c[token], x[i].value(pair, e), product));
            }
          }
          if constexpr (is_in_place) {
            if (adds_to_dx) {
              Fragment previous;
              previous.load(x_tile, i);
#pragma unroll
              for (int pair = 0; pair < 4; ++pair) {
#pragma unroll
                for (int e = 0; e < 2; ++e) values[pair][e] += previous.value(pair, e);
              }
            }
            device::warp_barrier();  // until every lane has read what the others replace
            Fragment::store(x_tile, i, values);
          } else {
            store_fp32_dx<Spec>(dx + offset + i * 16, stride, values, tokens - tile * X::tokens,
                                warp.columns.counted_from(i * 16), adds_to_dx);
          }
        }
        if constexpr (is_in_place) {
          device::warp_barrier();
          X::copy_out(dx + lane_offset, stride, extent_of(tile), x_tile + X::first_place());
        }
      }
      stage = stage == stages - 1 ? 0 : stage + 1;
    }
    if (tile < 0) break;
    gradients.move_to_partials(sums);
  }
  if (!makes_sums) return;
  if (gradients.adds_later) {
    gradients.move_to_partials(sums);
    return;
  }
  gradients.add_partials(sums);
  if constexpr (Spec::adds_in_cluster) {
    const ClusterSums<Spec> cluster;
    if (cluster.splits > 1) {
      cluster.send(sums);
      cluster.store(args, gradients, static_cast<int>(device::block_index_x()) / cluster.splits);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < tiles; ++i) gradients.store(gradients.warp.tile(i), sums[i]);
}

template <class Spec>
MHCJIT_DEVICE void pre_backward_dx(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  device::let_next_kernel_begin();
  const int cluster_blocks = Spec::adds_in_cluster ? device::cluster_blocks() : 1;
  const int cluster_rank = Spec::adds_in_cluster ? device::cluster_rank() : 0;
  const int block = static_cast<int>(device::block_index_x()) / cluster_blocks;
  if (block == DxWarp<Spec>::blocks) {
    if (cluster_rank != 0) return;
    device::wait_for_previous_kernel();
    sum_bias<Spec>(args, work);
    return;
  }
  const int splits_at_once = device::grid_size_y() * cluster_blocks;
  int token_split = device::block_index_y() + cluster_rank;
#pragma unroll 1
  for (;;) {
    make_dx_of_split<Spec>(args, work, block, token_split, splits_at_once);
    token_split += splits_at_once;
    if (XTile<Spec>::phases == 1 || token_split >= work.token_splits) break;
    device::block_barrier();  // until nobody reads a stage of the split before
  }
}
