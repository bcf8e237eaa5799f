// pre_backward, dx and the sums over tokens that dphi and dgamma are made of, in one read of x:
//
//     dx[t, i, d] = gamma[i, d] * sum_j dh_mix[t, j] * phi[j, (i, d)] + c[t] * x[t, i, d] + h_pre[t, i] * dh_in[t, d]
//     G[j, k]     = sum over the tiles of tokens of the block's split of dh_mix[t, j] * x[t, k]
//
// G becomes phi_partials, which pre_backward/phi.cuh adds up. Of a launch whose splits are one, or the blocks of a
// cluster, dphi and dgamma are made here, by one more block or cluster dbias and dalpha.
//
// Grid:   x = row_blocks * blocks of columns * groups of streams, perhaps one more, each of them a block or as many as
//         a cluster has; y = token_splits of the others.
// Block:  streams_per_block streams; warps_per_stream warps each have tiles_per_warp tiles of 16 columns of one.
//         Of several blocks of rows, whose sums of G one warp could not hold, the first makes dx.
//         Operand A of the tensor cores is x^T for G and (phi * gamma)^T for dx, operand B dh_mix and dh_mix^T.
// Shared: pipeline_stages tiles of 16 tokens: x of each stream, dh_in and the tokens' records. A warp reads and
//         replaces its own columns of x, so that a tile has one barrier. Behind them perhaps phi; a barrier and sums
//         that other blocks of a cluster send.
#pragma once

#include <device/async.cuh>
#include <pre_backward/bias.cuh>
#include <pre_backward/phi_gradients.cuh>
#include <pre_backward/phi_operands.cuh>
#include <pre_backward/x_tile.cuh>

template <class Spec>
struct PreBackwardDx {
  using Record = TokenRecord<Spec>;
  using X = XTile<Spec>;
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static_assert(warps == Spec::streams_per_block * Spec::warps_per_stream);
  static constexpr int block_columns = Spec::warps_per_stream * X::columns;  // of each stream
  static constexpr int column_blocks = (Spec::d + block_columns - 1) / block_columns;
  static constexpr int stream_blocks = (Spec::n + Spec::streams_per_block - 1) / Spec::streams_per_block;
  static constexpr int blocks = Spec::row_blocks * column_blocks * stream_blocks;

  static constexpr int dh_in = Spec::streams_per_block * X::bytes;  // places in a stage
  static constexpr int records = dh_in + X::bytes;
  static constexpr int record_words = Record::bytes / 16;  // of 16 bytes
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

// Where a warp stands.
template <class Spec>
struct DxWarp {
  using Plan = PreBackwardDx<Spec>;
  int row_block;
  int stream_of_block;
  int part;  // of the block's columns
  int d;     // its first column
  int stream;
  int columns;  // that exist, from its first on; none where the block has more warps than streams are left

  MHCJIT_DEVICE DxWarp(int number, int warp) : row_block(number % Spec::row_blocks) {
    const int block = number / Spec::row_blocks;
    stream_of_block = warp / Spec::warps_per_stream;
    part = warp % Spec::warps_per_stream;
    d = block % Plan::column_blocks * Plan::block_columns + part * Plan::X::columns;
    const int wanted = block / Plan::column_blocks * Spec::streams_per_block + stream_of_block;
    stream = wanted < Spec::n ? wanted : Spec::n - 1;
    columns = wanted < Spec::n ? Spec::d - d : 0;
  }
  MHCJIT_DEVICE typename PhiGradients<Spec>::Place place() const { return {stream * Spec::d + d, columns}; }
};

// sums += x^T * dh_mix over the tile, for the rows of a block of them.
template <class Spec, class Operand>
MHCJIT_DEVICE void add_products(device::SharedAddress records, int row_block, const Operand (&x)[Spec::tiles_per_warp],
                                typename PhiGradients<Spec>::Sums& sums) {
  using Record = TokenRecord<Spec>;
  // Matrices: tokens 0 to 7 and 8 to 15 of the high terms, then of the low ones.
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
  // Matrices: the first and the last eight rows of a step for tokens 0 to 7, then for tokens 8 to 15.
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

// Sixteen columns of dx in fp32 from where the tensor cores leave them: eight lanes have a sector of memory.
template <class Spec>
MHCJIT_DEVICE void store_fp32_dx(float* dx, const float (&values)[4][2], int tokens, int columns, bool adds) {
  const int lane = device::thread_index() % device::warp_size;
  const int first_token = lane % 4 * 2;
  const int first_column = lane / 4;
  float* lane_dx = dx + device::i64{first_token} * Spec::columns + first_column;
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int token = pair / 2 * 8 + e;
      const int column = pair % 2 * 8;
      if (first_token + token >= tokens || first_column + column >= columns) continue;
      float* to = lane_dx + device::i64{token} * Spec::columns + column;
      *to = adds ? *to + values[pair][e] : values[pair][e];
    }
  }
}

// The splits of a cluster: each of its blocks adds up and stores tiles of the sums, which the others send it.
template <class Spec>
struct ClusterSums {
  using Plan = PreBackwardDx<Spec>;
  using Gradients = PhiGradients<Spec>;
  static constexpr int tiles = Plan::warps * Spec::tiles_per_warp;  // of a block; a multiple of the cluster's blocks
  static constexpr int rows_bytes = device::warp_size * 16;

  int splits;
  int rank;

  MHCJIT_DEVICE ClusterSums() : splits(device::cluster_blocks()), rank(device::cluster_rank()) {}

  static MHCJIT_DEVICE device::SharedAddress barrier() { return device::shared_base() + Plan::cluster_offset; }
  // Where the lane's sums of a split and of eight rows come, in the block that owns the tile.
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
      device::barrier_arrive_expect(barrier(), Plan::sums_bytes);
    }
    device::cluster_arrive();
  }

  MHCJIT_DEVICE void send(const typename Gradients::Sums& sums) const {
    device::cluster_wait();
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

  // In the order of splits. A block ends when it has received all that the others send.
  MHCJIT_DEVICE void store(const Gradients& gradients, int block) const {
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
      const DxWarp<Spec> warp(block, tile / Spec::tiles_per_warp);
      gradients.store(warp.place().tile(tile % Spec::tiles_per_warp), all);
    }
  }
};

template <class Spec>
MHCJIT_DEVICE void pre_backward_dx(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Plan = PreBackwardDx<Spec>;
  using Record = TokenRecord<Spec>;
  using X = XTile<Spec>;
  using Element = typename Spec::Element;
  using Fragment = XFragment<Element, X::row_bytes>;
  using Operand = XOperand<Element, Fragment>;
  using Extent = typename X::Extent;
  using Dx = DxElement<Spec>;
  // dx of 16 bits takes the place of x in shared memory, and leaves it in rows.
  constexpr bool is_in_place = Record::is_scaled;
  constexpr int tiles = Spec::tiles_per_warp;
  constexpr int stages = Spec::pipeline_stages;

  device::let_next_kernel_begin();
  const int cluster_blocks = Spec::adds_in_cluster ? device::cluster_blocks() : 1;
  const int cluster_rank = Spec::adds_in_cluster ? device::cluster_rank() : 0;
  const int block = static_cast<int>(device::block_index_x()) / cluster_blocks;
  if (block == Plan::blocks) {
    if (cluster_rank != 0) return;
    device::wait_for_previous_kernel();
    sum_bias<Spec>(args, work);
    return;
  }
  const bool makes_sums = args.dphi != nullptr || args.dgamma != nullptr;
  if constexpr (Spec::adds_in_cluster) {
    if (makes_sums && cluster_blocks > 1) ClusterSums<Spec>().prepare();
  }
  const DxWarp<Spec> warp(block, device::thread_index() / device::warp_size);
  const int lane = device::thread_index() % device::warp_size;
  const device::SharedAddress shared = device::shared_base();
  // Places of the warp's columns in a stage, and tokens of a tile that exist, as the lane copies them.
  const device::SharedAddress part = warp.part * X::columns * X::element_bytes;
  const device::SharedAddress x_place = part + warp.stream_of_block * X::bytes;
  const device::SharedAddress dh_in_place = part + Plan::dh_in;
  const auto tokens = static_cast<int>(args.tokens);
  const int first_column = warp.stream * Spec::d + warp.d;
  const int columns = warp.columns - X::first_column();
  const int dh_in_columns = args.dh_in != nullptr && warp.stream_of_block == 0 ? columns : 0;
  const auto extent_of = [&](int tile) { return Extent{tokens - tile * X::tokens - X::first_token(), columns}; };
  const device::i64 lane_offset = device::i64{X::first_token()} * Spec::columns + first_column + X::first_column();
  const Element* lane_x = static_cast<const Element*>(args.x) + lane_offset;
  const Element* lane_dh_in =
      static_cast<const Element*>(args.dh_in) + X::first_token() * device::i64{Spec::d} + warp.d + X::first_column();
  const auto first_of = [](int tile, int stride) { return device::i64{tile} * (device::i64{X::tokens} * stride); };

  const auto copy_x = [&](int stage, int tile) {
    const device::SharedAddress to = shared + stage * Plan::stage_bytes + X::first_place();
    const Extent extent = extent_of(tile);
    X::copy_in(to + x_place, lane_x + first_of(tile, Spec::columns), Spec::columns, extent);
    if (warp.stream_of_block == 0)
      X::copy_in(to + dh_in_place, lane_dh_in + first_of(tile, Spec::d), Spec::d, {extent.tokens, dh_in_columns});
  };
  const auto copy_records = [&](int stage, int tile) {
    constexpr int words_per_token = Plan::record_words;
    constexpr int words = X::tokens * words_per_token;
    const int thread = device::thread_index();
    const device::SharedAddress to = shared + stage * Plan::stage_bytes + Plan::records + thread * 16;
    const device::u32* from = work.records + thread * 4 + first_of(tile, Record::bytes / 4);
    const int left = tokens - tile * X::tokens;
    const int existing = left < X::tokens ? left * words_per_token : words;
#pragma unroll Plan::unrolled_record_copies
    for (int first = 0; first < words; first += Spec::threads_per_block) {
      if (first + Spec::threads_per_block <= words || thread < words - first)
        device::copy_async_or_zeros<16>(to + first * 16, from + first * 4, thread < existing - first);
    }
  };

  // From the last tile on: the kernel before has read that last, so that some of it is in the L2 cache.
  const int splits = device::grid_size_y() * cluster_blocks;
  const int split = device::block_index_y() + cluster_rank;
  int tile = (tokens - 1) / X::tokens - split;
#pragma unroll
  for (int stage = 0; stage < stages - 1; ++stage)
    if (tile >= stage * splits) copy_x(stage, tile - stage * splits);
  const PhiOperands<Spec> phi(
      args, first_column, warp.columns,
      shared + Plan::stages_bytes + device::thread_index() / device::warp_size * PhiOperands<Spec>::shared_bytes);
  device::wait_for_previous_kernel();
#pragma unroll
  for (int stage = 0; stage < stages - 1; ++stage) {
    if (tile >= stage * splits) copy_records(stage, tile - stage * splits);
    device::copy_commit();
  }

  PhiGradients<Spec> gradients(args, work, split, warp.row_block, warp.place());
  typename PhiGradients<Spec>::Sums sums = {};
  const bool makes_dx = args.dx != nullptr && warp.row_block == 0;
  const bool adds_to_dx = makes_dx && args.accumulate_dx != 0;
  int stage = 0;
#pragma unroll 1
  for (;;) {
    const int end = tile - work.tiles_per_sum * splits;
#pragma unroll 1
    for (; tile >= 0 && tile > end; tile -= splits) {
      // The present tile is complete, and nobody reads the one before any more.
      device::copy_wait<stages - 2>();
      device::block_barrier();
      const int asked = tile - (stages - 1) * splits;
      if (asked >= 0) {
        const int free_stage = stage == 0 ? stages - 1 : stage - 1;
        copy_x(free_stage, asked);
        copy_records(free_stage, asked);
      }
      // Where there was nothing to copy, an empty group: the count of groups says which have come.
      device::copy_commit();

      const device::SharedAddress of_stage = shared + stage * Plan::stage_bytes;
      const device::SharedAddress records = of_stage + Plan::records;
      const device::SharedAddress x_tile = of_stage + x_place;
      Fragment x[tiles];
#pragma unroll
      for (int i = 0; i < tiles; ++i) x[i].load(x_tile, i);
      Dx* const dx = static_cast<Dx*>(args.dx) + first_of(tile, Spec::columns);
      if constexpr (is_in_place) {
        if (adds_to_dx) {
          // What stands in dx takes the place of x, which is in registers.
          device::warp_barrier();
          X::copy_in(x_tile + X::first_place(), dx + lane_offset, Spec::columns, extent_of(tile));
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
        // Of tokens 2q, 2q + 1, 2q + 8 and 2q + 9.
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
          Fragment dh_in;
          dh_in.load(of_stage + dh_in_place, i);
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
            store_fp32_dx<Spec>(dx + first_column + i * 16, values, tokens - tile * X::tokens, warp.columns - i * 16,
                                adds_to_dx);
          }
        }
        if constexpr (is_in_place) {
          device::warp_barrier();
          X::copy_out(dx + lane_offset, Spec::columns, extent_of(tile), x_tile + X::first_place());
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
      cluster.store(gradients, static_cast<int>(device::block_index_x()) / cluster.splits);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < tiles; ++i) gradients.store(gradients.warp.tile(i), sums[i]);
}
