// pre_backward in one kernel that reads x and dh_in once and writes dx once: a cluster of blocks holds a tile of 16
// tokens in its shared memory.
//
//     dh_pre, then p, q, r, dh_mix and c of a token
//     dx[t, i, d] = gamma[i, d] * sum_j dh_mix[t, j] * phi[j, (i, d)] + c[t] * x[t, i, d] + h_pre[t, i] * dh_in[t, d]
//     G[j, k]     = sum_t dh_mix[t, j] * x[t, k] over the tokens of a cluster
//
// Block r of a cluster owns columns [r * slice, (r + 1) * slice) of all n streams. Its share of phi and of G stays
// there for the whole launch; partial sums of dh_pre are all that crosses the cluster, and every block makes the
// coefficients of every token from them. The clusters' G is added up by one_pass_finish.cuh.
//
// Grid:   clusters * cluster_size blocks; any number of clusters is right.
// Block:  consumer_warps  dx and G of the block's columns; each warp has columns of one stream
//         4 dot warps     partial sums of dh_pre, sent to every block of the cluster
//         1 producer      copies x and dh_in into a ring of stages, and dx, which has taken x's place, out of it
//         2 coefficient warps, each for eight tokens of the tile
//         1 scalar warp   copies what forward saved, dh_post and dh_res
// Shared: stages, each a tile of x and of dh_in as panels (of one stream, a row of 128 or 64 bytes for each token, in
//         the swizzle of as many bytes) | phi * gamma as operands | coefficients: a ring | scalars: a ring | dh_pre
//         received: a ring | barriers.
//
// The ring of received sums has twice as many slots as `lead`: a block sends tile i once its coefficient warps have
// read tile i - lead, which came from blocks whose coefficient warps had read tile i - 2 * lead.
#pragma once

#include <common/ring_position.cuh>
#include <common/two_terms.cuh>
#include <device/async.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/column_tile.cuh>
#include <pre_backward/one_pass_work.cuh>

template <class Spec>
struct PreBackwardOnePass {
  using Element = typename Spec::Element;
  static constexpr int n = Spec::n;
  static constexpr int tokens = 16;
  static constexpr int row_blocks = (Spec::rows + 7) / 8;  // of phi

  static constexpr int stages = Spec::pipeline_stages;
  static constexpr int first_dot_warp = Spec::consumer_warps;
  static constexpr int dot_warps = 4;
  static constexpr int producer_warp = first_dot_warp + dot_warps;
  static constexpr int first_coefficient_warp = producer_warp + 1;
  static constexpr int coefficient_warps = 2;
  static constexpr int scalar_warp = first_coefficient_warp + coefficient_warps;
  static constexpr int threads = (scalar_warp + 1) * device::warp_size;

  static constexpr int element_bytes = static_cast<int>(sizeof(Element));
  static constexpr int panel_columns = Spec::panel_columns;
  static constexpr int panels = Spec::panels_per_stream;
  static constexpr int slice = panels * panel_columns;
  static constexpr int panel_row_bytes = panel_columns * element_bytes;
  static constexpr int panel_bytes = tokens * panel_row_bytes;
  static constexpr int x_bytes = panels * n * panel_bytes;
  static constexpr int stage_bytes = x_bytes + panels * panel_bytes;
  static constexpr bool is_ragged = Spec::cluster_size * slice != Spec::d;  // the last slice reaches beyond D

  // The bytes of a panel from its row's chunk of 16 bytes on, where the swizzle puts them.
  static constexpr int chunks_per_row = panel_row_bytes / 16;
  static constexpr int rows_together = 128 / panel_row_bytes;
  static MHCJIT_DEVICE int in_panel(int row, int chunk) {
    return row * panel_row_bytes + (chunk ^ row / rows_together % chunks_per_row) * 16;
  }

  // Consumers: warp w has every warps_per_stream-th tile of 16 columns of stream w / warps_per_stream. Beyond the
  // address of its first tile those of the others are constants.
  static constexpr int warps_per_stream = Spec::consumer_warps / n;
  static constexpr int steps = slice / 16 / warps_per_stream;
  static constexpr int tile_row_bytes = 16 * element_bytes;
  static constexpr int tiles_per_panel = panel_columns / 16;
  static constexpr int steps_per_panel = tiles_per_panel > warps_per_stream ? tiles_per_panel / warps_per_stream : 1;
  static constexpr int panels_per_step = warps_per_stream > tiles_per_panel ? warps_per_stream / tiles_per_panel : 1;
  static MHCJIT_DEVICE int stream_of(int warp) { return warp / warps_per_stream; }
  // First column of the warp's tile, in the slice.
  static MHCJIT_DEVICE int column_of(int warp, int step) {
    return (step * warps_per_stream + warp % warps_per_stream) * 16;
  }
  static constexpr int block_tiles = Spec::consumer_warps * steps;

  // Coefficients of a tile: rows of dh_mix, one of each token, as bf16's high terms, its low terms, and as fp16 times a
  // power of two; then per token c, the inverse of that power, and h_pre by stream. An odd number of chunks of 16 bytes
  // puts eight neighbouring rows into different banks.
  static constexpr int mix_row_bytes = (row_blocks | 1) * 16;
  static constexpr int mix_bytes = tokens * mix_row_bytes;
  static constexpr int c_offset = 3 * mix_bytes;
  static constexpr int scale_offset = c_offset + tokens * 4;
  static constexpr int h_offset = scale_offset + tokens * 4;
  static constexpr int coefficient_bytes = h_offset + n * tokens * 4;

  // Scalars of a tile, as they stand in memory.
  static constexpr int h_mix_offset = 0;
  static constexpr int dh_res_offset = h_mix_offset + tokens * Spec::rows * 4;
  static constexpr int dh_post_offset = dh_res_offset + tokens * n * n * 4;
  static constexpr int h_pre_offset = dh_post_offset + tokens * n * 4;
  static constexpr int h_post_offset = h_pre_offset + tokens * n * 4;
  static constexpr int inv_rms_offset = h_post_offset + tokens * n * 4;
  static constexpr int scalar_bytes = inv_rms_offset + tokens * 4;

  // dh_pre of a token from one block.
  static constexpr int dot_parts = (n + 3) / 4;
  static constexpr int dot_bytes = dot_parts * 16;
  static constexpr int lead = Spec::exchange_slots / 2;
  static constexpr int received_bytes = tokens * Spec::cluster_size * dot_bytes;

  static constexpr int phi_offset = stages * stage_bytes;
  static constexpr int phi_warp_bytes = steps * row_blocks * device::warp_size * 8;
  static constexpr int coefficients_offset = phi_offset + Spec::consumer_warps * phi_warp_bytes;
  static constexpr int scalars_offset = coefficients_offset + Spec::coefficient_slots * coefficient_bytes;
  static constexpr int received_offset = scalars_offset + Spec::scalar_slots * scalar_bytes;
  static constexpr int barriers_offset = received_offset + Spec::exchange_slots * received_bytes;
  static constexpr int barriers =
      2 * (stages + Spec::coefficient_slots + Spec::scalar_slots) + Spec::exchange_slots + lead + 1;
  static constexpr int shared_floats = (barriers_offset + barriers * 8) / 4;

  static_assert(element_bytes == 2);
  static_assert(panel_row_bytes == 128 || panel_row_bytes == 64);
  static_assert(Spec::consumer_warps % n == 0 && Spec::consumer_warps % 4 == 0);
  static_assert(steps * 16 * warps_per_stream == slice);
  static_assert(tiles_per_panel % warps_per_stream == 0 || warps_per_stream % tiles_per_panel == 0);
  static_assert(threads == Spec::threads_per_block);

  device::SharedAddress base;
  int rank;
  int cluster;
  int clusters;
  int tiles;

  MHCJIT_DEVICE explicit PreBackwardOnePass(device::i64 all_tokens)
      : base(device::shared_base()),
        rank(device::cluster_rank()),
        cluster(static_cast<int>(device::block_index_x()) / Spec::cluster_size),
        clusters(static_cast<int>(device::grid_size_x()) / Spec::cluster_size) {
    // T is less than 2^31, so that tiles are few enough for 32 bits.
    const auto all_tiles = static_cast<device::u32>((all_tokens + tokens - 1) / tokens);
    tiles = static_cast<int>((all_tiles - static_cast<device::u32>(cluster) + static_cast<device::u32>(clusters) - 1) /
                             static_cast<device::u32>(clusters));
  }

  // The first token of tile `i` of this cluster.
  MHCJIT_DEVICE device::i64 first_token(int i) const { return device::i64{cluster + i * clusters} * tokens; }
  MHCJIT_DEVICE int first_column() const { return rank * slice; }

  MHCJIT_DEVICE device::SharedAddress stage(int index) const { return base + index * stage_bytes; }
  MHCJIT_DEVICE device::SharedAddress phi(int warp) const { return base + phi_offset + warp * phi_warp_bytes; }
  MHCJIT_DEVICE device::SharedAddress coefficients(int slot) const {
    return base + coefficients_offset + slot * coefficient_bytes;
  }
  MHCJIT_DEVICE device::SharedAddress scalars(int slot) const { return base + scalars_offset + slot * scalar_bytes; }
  MHCJIT_DEVICE device::SharedAddress received(int slot, int token, int source) const {
    return base + received_offset + slot * received_bytes + (token * Spec::cluster_size + source) * dot_bytes;
  }

  MHCJIT_DEVICE device::SharedAddress barrier(int index) const { return base + barriers_offset + index * 8; }
  MHCJIT_DEVICE device::SharedAddress full(int stage) const { return barrier(stage); }
  MHCJIT_DEVICE device::SharedAddress done(int stage) const { return barrier(stages + stage); }
  MHCJIT_DEVICE device::SharedAddress coefficients_full(int slot) const { return barrier(2 * stages + slot); }
  MHCJIT_DEVICE device::SharedAddress coefficients_empty(int slot) const {
    return barrier(2 * stages + Spec::coefficient_slots + slot);
  }
  MHCJIT_DEVICE device::SharedAddress scalars_full(int slot) const {
    return barrier(2 * (stages + Spec::coefficient_slots) + slot);
  }
  MHCJIT_DEVICE device::SharedAddress scalars_empty(int slot) const {
    return barrier(2 * (stages + Spec::coefficient_slots) + Spec::scalar_slots + slot);
  }
  MHCJIT_DEVICE device::SharedAddress dots_received(int slot) const {
    return barrier(barriers - 1 - lead - Spec::exchange_slots + slot);
  }
  // One for each tile of `lead`, so that a wait is for the present or the previous phase.
  MHCJIT_DEVICE device::SharedAddress dots_read(int i) const { return barrier(barriers - 1 - lead + i % lead); }
  MHCJIT_DEVICE device::SharedAddress phi_loaded() const { return barrier(barriers - 1); }

  MHCJIT_DEVICE void arm_dots_received(int slot) const {
    device::barrier_arrive_expect(dots_received(slot), received_bytes);
  }

  MHCJIT_DEVICE void init_barriers() const {
    for (int i = 0; i < stages; ++i) {
      device::barrier_init(full(i), 1);
      device::barrier_init(done(i), Spec::consumer_warps);
    }
    for (int slot = 0; slot < Spec::coefficient_slots; ++slot) {
      device::barrier_init(coefficients_full(slot), coefficient_warps);
      device::barrier_init(coefficients_empty(slot), Spec::consumer_warps);
    }
    for (int slot = 0; slot < Spec::scalar_slots; ++slot) {
      device::barrier_init(scalars_full(slot), 1);
      device::barrier_init(scalars_empty(slot), coefficient_warps);
    }
    for (int slot = 0; slot < Spec::exchange_slots; ++slot) device::barrier_init(dots_received(slot), 1);
    for (int i = 0; i < lead; ++i) device::barrier_init(dots_read(i), coefficient_warps);
    device::barrier_init(phi_loaded(), Spec::consumer_warps);
    device::barrier_init_fence();
    for (int slot = 0; slot < Spec::exchange_slots; ++slot) arm_dots_received(slot);
  }
};

// ---- Consumers ----------------------------------------------------------------------------------------------------

// Makes the warp's operands of phi * gamma times a power of two, in fp16, and returns the inverse of that power.
template <class Spec>
MHCJIT_DEVICE float pack_phi(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args, int warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  const int first_row = lane % 4 * 2;
  float values[Plan::steps][Plan::row_blocks][4];
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = block * 8 + first_row + e % 2;
        const int column = plan.first_column() + Plan::column_of(warp, step) + lane / 4 + e / 2 * 8;
        const bool exists = (Spec::rows % 8 == 0 || row < Spec::rows) && (!Plan::is_ragged || column < Spec::d);
        values[step][block][e] =
            exists ? args.phi[device::i64{row} * Spec::columns + device::i64{Plan::stream_of(warp)} * Spec::d + column]
                   : 0.0f;
      }
    }
  }
  device::cluster_wait();

  float largest = 0.0f;
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
    float gamma[2] = {1.0f, 1.0f};
    if constexpr (Spec::has_gamma) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int column = plan.first_column() + Plan::column_of(warp, step) + lane / 4 + half * 8;
        if (!Plan::is_ragged || column < Spec::d) gamma[half] = args.gamma[Plan::stream_of(warp) * Spec::d + column];
      }
    }
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if constexpr (Spec::has_gamma) values[step][block][e] *= gamma[e / 2];
        largest = larger_magnitude(largest, values[step][block][e]);
      }
    }
  }
  if (lane == 0) device::barrier_arrive(plan.phi_loaded());
#pragma unroll
  for (int mask = device::warp_size / 2; mask > 0; mask /= 2)
    largest = larger_magnitude(largest, device::shuffle_xor(largest, mask));
  float inverse;
  const float scale = power_of_two_scale(largest, inverse);
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
      const float(&value)[4] = values[step][block];
      const device::Vector<device::u32, 2> words = {device::pack<device::fp16>(value[0] * scale, value[1] * scale),
                                                    device::pack<device::fp16>(value[2] * scale, value[3] * scale)};
      device::store_shared_words(plan.phi(warp) + ((step * Plan::row_blocks + block) * device::warp_size + lane) * 8,
                                 words);
    }
  }
  device::warp_barrier();
  return inverse;
}

// What a consumer lane needs of a tile's tokens 2q, 2q + 1 and 2q + 8, 2q + 9.
struct TokenFactors {
  float c[2][2];
  float scale[2][2];
  float h_pre[2][2];

  MHCJIT_DEVICE void load(float (&values)[2][2], device::SharedAddress address, int lane) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto pair = device::load_shared_2(address + (half * 8 + lane % 4 * 2) * 4);
      values[half][0] = pair[0];
      values[half][1] = pair[1];
    }
  }
};

// Turns a tile of x into dx, in place, and adds its share to G.
template <class Spec>
MHCJIT_DEVICE void consume_tile(
    const PreBackwardOnePass<Spec>& plan, device::SharedAddress stage, device::SharedAddress coefficients, int warp,
    float phi_inverse, float (&sums)[PreBackwardOnePass<Spec>::steps][PreBackwardOnePass<Spec>::row_blocks][4]) {
  using Plan = PreBackwardOnePass<Spec>;
  using Tile = ColumnTile<typename Spec::Element>;
  constexpr int blocks = Plan::row_blocks;
  // Read anew for each tile, so that no register is kept for where things stand.
  const int lane = device::lane_index();

  const int part = warp % Plan::warps_per_stream;
  const int first_chunk = part % Plan::tiles_per_panel * (Plan::tile_row_bytes / 16);
  const int in_panel = Plan::in_panel(Tile::token_of(lane), first_chunk + Tile::chunk_of(lane));
  const int first_panel = part / Plan::tiles_per_panel;
  const device::SharedAddress x =
      stage + (first_panel * Plan::n + Plan::stream_of(warp)) * Plan::panel_bytes + in_panel;
  const device::SharedAddress dh_in = stage + Plan::x_bytes + first_panel * Plan::panel_bytes + in_panel;
  const auto at_step = [](device::SharedAddress first, int step, int panel_stride) {
    constexpr int step_bytes = Plan::warps_per_stream * Plan::tile_row_bytes;
    return (first ^ static_cast<device::u32>(step % Plan::steps_per_panel * step_bytes)) +
           step / Plan::steps_per_panel * Plan::panels_per_step * panel_stride;
  };
  const auto x_at = [&](int step) { return at_step(x, step, Plan::n * Plan::panel_bytes); };
  const auto dh_in_at = [&](int step) { return at_step(dh_in, step, Plan::panel_bytes); };
  const device::SharedAddress phi = plan.phi(warp) + lane * 8;
  const auto load_phi = [&](int step, device::Vector<device::u32, 2>(&words)[blocks]) {
#pragma unroll
    for (int block = 0; block < blocks; ++block)
      words[block] = device::load_shared_words<2>(phi + (step * blocks + block) * device::warp_size * 8);
  };

  Tile next_x;
  Tile next_dh_in;
  device::Vector<device::u32, 2> next_phi[blocks];
  next_x.load(x_at(0));
  load_phi(0, next_phi);

  // dh_mix as B operands: of dx, where tokens are columns, and of G, where rows of phi are, in two terms.
  device::u32 half_mix[2][(blocks + 3) / 4 * 4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int first = 0; first < blocks; first += 4) {
      const int block = first + lane / 8 < blocks ? first + lane / 8 : blocks - 1;
      const auto words = device::load_matrices(coefficients + 2 * Plan::mix_bytes +
                                               (half * 8 + lane % 8) * Plan::mix_row_bytes + block * 16);
#pragma unroll
      for (int i = 0; i < 4; ++i) half_mix[half][first + i] = words[i];
    }
  }
  device::Vector<device::u32, 4> mix[blocks];  // the high terms of both halves of the tokens, then the low ones
#pragma unroll
  for (int block = 0; block < blocks; ++block)
    mix[block] = device::load_matrices_transposed(coefficients + lane / 16 * Plan::mix_bytes +
                                                  lane % 16 * Plan::mix_row_bytes + block * 16);
  next_dh_in.load(dh_in_at(0));
  TokenFactors token;
  token.load(token.c, coefficients + Plan::c_offset, lane);
  token.load(token.scale, coefficients + Plan::scale_offset, lane);
  token.load(token.h_pre, coefficients + Plan::h_offset + Plan::stream_of(warp) * Plan::tokens * 4, lane);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int e = 0; e < 2; ++e) token.scale[half][e] *= phi_inverse;
  }

#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
    const Tile values = next_x;
    const Tile gradient = next_dh_in;
    device::Vector<device::u32, 2> phi_words[blocks];
#pragma unroll
    for (int block = 0; block < blocks; ++block) phi_words[block] = next_phi[block];
    if (step + 1 < Plan::steps) {
      next_x.load(x_at(step + 1));
      load_phi(step + 1, next_phi);
      next_dh_in.load(dh_in_at(step + 1));
    }

    float dx[2][4] = {};
#pragma unroll
    for (int block = 0; block < blocks; block += 2) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (block + 1 < blocks)
          device::multiply_add<device::fp16>(
              dx[half], {phi_words[block][0], phi_words[block][1], phi_words[block + 1][0], phi_words[block + 1][1]},
              half_mix[half][block], half_mix[half][block + 1]);
        else
          device::multiply_add<device::fp16>(dx[half], phi_words[block][0], phi_words[block][1], half_mix[half][block]);
      }
    }
    device::Vector<device::u32, 4> operands[Tile::terms];
    values.operands(operands);
#pragma unroll
    for (int block = 0; block < blocks; ++block)
      device::multiply_add<device::bf16>(sums[step][block], operands[0], mix[block][0], mix[block][1]);
#pragma unroll
    for (int block = 0; block < blocks; ++block)
      device::multiply_add<device::bf16>(sums[step][block], operands[0], mix[block][2], mix[block][3]);
    if constexpr (Tile::terms > 1) {
#pragma unroll
      for (int block = 0; block < blocks; ++block)
        device::multiply_add<device::bf16>(sums[step][block], operands[1], mix[block][0], mix[block][1]);
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        dx[half][e] = device::fma(dx[half][e], token.scale[half][e % 2],
                                  device::fma(values.value(half, e), token.c[half][e % 2],
                                              gradient.value(half, e) * token.h_pre[half][e % 2]));
    }
    Tile::store(x_at(step), dx);
  }
}

template <class Spec>
MHCJIT_DEVICE void consume_tiles(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args,
                                 const OnePassBackwardWork& work, int warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  const float phi_inverse = pack_phi(plan, args, warp, lane);
  float sums[Plan::steps][Plan::row_blocks][4] = {};
  RingPosition<Plan::stages> stage;
  RingPosition<Spec::coefficient_slots> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.full(stage.index), stage.parity);
    device::barrier_wait(plan.coefficients_full(slot.index), slot.parity);
    consume_tile(plan, plan.stage(stage.index), plan.coefficients(slot.index), warp, phi_inverse, sums);
    device::copy_fence();
    device::warp_barrier();
    if (device::lane_index() == 0) {
      device::barrier_arrive(plan.done(stage.index));
      device::barrier_arrive(plan.coefficients_empty(slot.index));
    }
    stage.advance();
    slot.advance();
  }

  if (args.dphi == nullptr && args.dgamma == nullptr) return;
  const device::i64 first_tile =
      device::i64{plan.cluster * Spec::cluster_size + plan.rank} * Plan::block_tiles + warp * Plan::steps;
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
      const float(&sum)[4] = sums[step][block];
      device::store(work.phi_sums + (((first_tile + step) * Plan::row_blocks + block) * device::warp_size + lane) * 4,
                    device::Vector<float, 4>{sum[0], sum[1], sum[2], sum[3]});
    }
  }
}

// ---- Dot warps ----------------------------------------------------------------------------------------------------

// Eight lanes work on one token, in each load on 128 bytes that stand in different banks.
template <class Spec>
MHCJIT_DEVICE void make_dots(const PreBackwardOnePass<Spec>& plan, int dot_warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  using Element = typename Spec::Element;
  constexpr bool is_wide = Plan::panel_row_bytes == 128;
  constexpr int chunks = Plan::slice * Plan::element_bytes / 16;
  constexpr int panels_at_once = 8 / Plan::chunks_per_row;
  const int token = dot_warp * 4 + (is_wide ? lane / 8 : lane / 16 * 2 + lane / 4 % 2);
  const int member = is_wide ? lane % 8 : lane / 8 % 2 * 4 + lane % 4;
  const int first_panel = member / Plan::chunks_per_row;
  const int in_panel = Plan::in_panel(token, member % Plan::chunks_per_row);
  device::cluster_wait();

  RingPosition<Plan::stages> stage;
  RingPosition<Spec::exchange_slots> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.full(stage.index), stage.parity);
    float dots[Plan::dot_parts * 4] = {};
#pragma unroll
    for (int chunk = 0; chunk < chunks; chunk += 8) {
      if (chunk + 8 > chunks && chunk + member >= chunks) break;
      const int panel = first_panel + chunk / 8 * panels_at_once;
      const auto gradient =
          device::load_shared_words<4>(plan.stage(stage.index) + Plan::x_bytes + panel * Plan::panel_bytes + in_panel);
      device::Vector<device::u32, 4> values[Plan::n];
#pragma unroll
      for (int stream = 0; stream < Plan::n; ++stream)
        values[stream] = device::load_shared_words<4>(plan.stage(stage.index) +
                                                      (panel * Plan::n + stream) * Plan::panel_bytes + in_panel);
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        const float low = device::low_half<Element>(gradient[word]);
        const float high = device::high_half<Element>(gradient[word]);
#pragma unroll
        for (int stream = 0; stream < Plan::n; ++stream) {
          dots[stream] = device::fma(low, device::low_half<Element>(values[stream][word]), dots[stream]);
          dots[stream] = device::fma(high, device::high_half<Element>(values[stream][word]), dots[stream]);
        }
      }
    }
#pragma unroll
    for (int bit = 0; bit < 3; ++bit) {
#pragma unroll
      for (int stream = 0; stream < Plan::n; ++stream)
        dots[stream] += device::shuffle_xor(dots[stream], bit == 2 && !is_wide ? 8 : 1 << bit);
    }

    if (i >= Plan::lead) device::barrier_wait(plan.dots_read(i), (i / Plan::lead - 1) & 1);
    // Lanes that send nothing would else miss the phase: the tile may go on without them.
    device::warp_barrier();
#pragma unroll
    for (int receiver = member; receiver < Spec::cluster_size; receiver += 8) {
#pragma unroll
      for (int part = 0; part < Plan::dot_parts; ++part)
        device::send(device::in_block(plan.received(slot.index, token, plan.rank) + part * 16, receiver),
                     {dots[part * 4], dots[part * 4 + 1], dots[part * 4 + 2], dots[part * 4 + 3]},
                     device::in_block(plan.dots_received(slot.index), receiver));
    }
    stage.advance();
    slot.advance();
  }
}

// ---- Producer -----------------------------------------------------------------------------------------------------

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
  // phi comes before all but the first tile: it is what the first coefficients wait for.
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

// ---- Coefficients -------------------------------------------------------------------------------------------------

// What a coefficient lane knows of one token: four lanes share it, lane k has rows 2k and 2k + 1 of each block of
// eight.
template <class Spec>
struct TokenScalars {
  using Plan = PreBackwardOnePass<Spec>;
  static constexpr int n = Spec::n;
  static constexpr int own_rows = Plan::row_blocks * 2;
  static constexpr int own_streams = (n + 3) / 4;
  static constexpr int gate_rows = (2 * n + 7) / 8 * 2;  // the first of own_rows, which may be of pre or post

  float h_mix[own_rows];
  float gradient[own_rows];  // at the logits; of rows of pre the factor that dh_pre has in it
  float h_pre[own_streams];  // of streams k, k + 4, ...
  float inv_rms;

  static MHCJIT_DEVICE int row_of(int k, int i) { return i / 2 * 8 + k * 2 + i % 2; }

  static MHCJIT_DEVICE void load_pair(float (&pair)[2], device::SharedAddress address) {
    if constexpr (n % 2 == 0) {
      const auto values = device::load_shared_2(address);
      pair[0] = values[0];
      pair[1] = values[1];
    } else {
      pair[0] = device::load_shared(address);
      pair[1] = device::load_shared(address + 4);
    }
  }

  // Rows beyond the last get what stands behind them and become zero.
  MHCJIT_DEVICE void load(device::SharedAddress scalars, float hc_eps, float post_inverse, int token, int k) {
#pragma unroll
    for (int i = 0; i < own_rows; i += 2) {
      float mix[2];
      float slope[2];
      load_pair(mix, scalars + Plan::h_mix_offset + (token * Spec::rows + row_of(k, i)) * 4);
      load_pair(slope, scalars + Plan::dh_res_offset + (token * n * n + row_of(k, i) - 2 * n) * 4);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = row_of(k, i + e);
        const bool exists = Spec::rows % 8 == 0 || row < Spec::rows;
        h_mix[i + e] = exists ? mix[e] : 0.0f;
        gradient[i + e] = exists ? slope[e] : 0.0f;
        if (i >= gate_rows) continue;
        const bool is_post = row >= n && row < 2 * n;
        const int gate = (token * n + (row < n ? row : is_post ? row - n : 0)) * 4;
        const float h = device::load_shared(scalars + (is_post ? Plan::h_post_offset : Plan::h_pre_offset) + gate);
        const float of_post =
            device::load_shared(scalars + Plan::dh_post_offset + gate) * h * (1.0f - h * post_inverse);
        const float s = h - hc_eps;
        if (row < n)
          gradient[i + e] = s * (1.0f - s);
        else if (is_post)
          gradient[i + e] = post_inverse == 0.0f ? 0.0f : of_post;
      }
    }
#pragma unroll
    for (int i = 0; i < own_streams; ++i)
      if (n % 4 == 0 || i * 4 + k < n)
        h_pre[i] = device::load_shared(scalars + Plan::h_pre_offset + (token * n + i * 4 + k) * 4);
    inv_rms = device::load_shared(scalars + Plan::inv_rms_offset + token * 4);
  }
};

template <class Spec>
MHCJIT_DEVICE void make_coefficients(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args,
                                     const OnePassBackwardWork& work, int coefficient_warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  using Scalars = TokenScalars<Spec>;
  constexpr int n = Spec::n;
  constexpr int own_rows = Scalars::own_rows;
  const int token = coefficient_warp * 8 + lane / 4;
  const int k = lane % 4;
  const auto row_of = [&](int i) { return Scalars::row_of(k, i); };
  const float alpha[3] = {args.alpha[0], args.alpha[1], args.alpha[2]};
  float gradient_sums[own_rows] = {};
  float alpha_sums[3] = {};
  const float post_inverse = args.post_mult == 0.0f ? 0.0f : 1.0f / args.post_mult;
  device::cluster_wait();

  RingPosition<Spec::scalar_slots> scalar_slot;
  RingPosition<Spec::exchange_slots> received;
  RingPosition<Spec::coefficient_slots> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.scalars_full(scalar_slot.index), scalar_slot.parity);
    Scalars scalars;
    scalars.load(plan.scalars(scalar_slot.index), args.hc_eps, post_inverse, token, k);
    device::copy_fence();
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.scalars_empty(scalar_slot.index));

    device::barrier_wait_cluster(plan.dots_received(received.index), received.parity);
    if (coefficient_warp == 0 && lane == 0) plan.arm_dots_received(received.index);
    float dh_pre[Plan::dot_parts * 4] = {};
#pragma unroll
    for (int first = 0; first < Spec::cluster_size; first += 4) {
      if (first + 4 > Spec::cluster_size && first + k >= Spec::cluster_size) break;
#pragma unroll
      for (int part = 0; part < Plan::dot_parts; ++part) {
        const auto four = device::load_shared_4(plan.received(received.index, token, first + k) + part * 16);
#pragma unroll
        for (int e = 0; e < 4; ++e) dh_pre[part * 4 + e] += four[e];
      }
    }
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.dots_read(i));
#pragma unroll
    for (int stream = 0; stream < n; ++stream) {
      dh_pre[stream] += device::shuffle_xor(dh_pre[stream], 1);
      dh_pre[stream] += device::shuffle_xor(dh_pre[stream], 2);
    }

    const float inv_rms = scalars.inv_rms;
    float mix[own_rows];
    float largest = 0.0f;
    float dinv = 0.0f;
#pragma unroll
    for (int r = 0; r < own_rows; ++r) {
      const int row = row_of(r);
      // Selected, not indexed: a run-time index would move dh_pre out of registers.
#pragma unroll
      for (int stream = 0; stream < n; ++stream)
        if (row == stream) scalars.gradient[r] *= dh_pre[stream];
      const float gradient = scalars.gradient[r];
      const float du = (row < n ? alpha[0] : row < 2 * n ? alpha[1] : alpha[2]) * gradient;
      const float product = gradient * scalars.h_mix[r] * inv_rms;
      dinv = device::fma(du, scalars.h_mix[r], dinv);
      gradient_sums[r] += gradient;
      if (row < n)
        alpha_sums[0] += product;
      else if (row < 2 * n)
        alpha_sums[1] += product;
      else
        alpha_sums[2] += product;
      mix[r] = du * inv_rms;
      largest = larger_magnitude(largest, mix[r]);
    }
#pragma unroll
    for (int mask = 1; mask <= 2; mask *= 2) {
      dinv += device::shuffle_xor(dinv, mask);
      largest = larger_magnitude(largest, device::shuffle_xor(largest, mask));
    }
    float inverse;
    const float scale = power_of_two_scale(largest, inverse);

    const device::SharedAddress coefficients = plan.coefficients(slot.index);
    if (i >= Spec::coefficient_slots) device::barrier_wait(plan.coefficients_empty(slot.index), slot.parity ^ 1);
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
      const float first = mix[2 * block];
      const float second = mix[2 * block + 1];
      const TwoTerms terms = two_terms<device::bf16>(first, second);
      const device::SharedAddress to = coefficients + token * Plan::mix_row_bytes + block * 16 + k * 4;
      device::store_shared(to, terms.high);
      device::store_shared(to + Plan::mix_bytes, terms.low);
      device::store_shared(to + 2 * Plan::mix_bytes, device::pack<device::fp16>(first * scale, second * scale));
    }
    if (k == 0)
      device::store_shared(coefficients + Plan::c_offset + token * 4,
                           -dinv * inv_rms * inv_rms * inv_rms / static_cast<float>(Spec::columns));
    if (k == 1) device::store_shared(coefficients + Plan::scale_offset + token * 4, inverse);
#pragma unroll
    for (int part = 0; part < Plan::dot_parts; ++part)
      if (n % 4 == 0 || part * 4 + k < n)
        device::store_shared(coefficients + Plan::h_offset + ((part * 4 + k) * Plan::tokens + token) * 4,
                             scalars.h_pre[part]);
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.coefficients_full(slot.index));
    scalar_slot.advance();
    received.advance();
    slot.advance();
  }

  if (plan.rank != 0) return;
#pragma unroll
  for (int mask = 4; mask < device::warp_size; mask *= 2) {
#pragma unroll
    for (int r = 0; r < own_rows; ++r) gradient_sums[r] += device::shuffle_xor(gradient_sums[r], mask);
  }
#pragma unroll
  for (int mask = 1; mask < device::warp_size; mask *= 2) {
#pragma unroll
    for (int kind = 0; kind < 3; ++kind) alpha_sums[kind] += device::shuffle_xor(alpha_sums[kind], mask);
  }
  float* out =
      work.logit_sums + (plan.cluster * Plan::coefficient_warps + coefficient_warp) * (Plan::row_blocks * 8 + 4);
  if (lane < 4) {
#pragma unroll
    for (int r = 0; r < own_rows; ++r) out[row_of(r)] = gradient_sums[r];
  }
  if (lane == 0) {
#pragma unroll
    for (int kind = 0; kind < 3; ++kind) out[Plan::row_blocks * 8 + kind] = alpha_sums[kind];
  }
}

// ---- Scalars ------------------------------------------------------------------------------------------------------

// Calls visit(tensor, where it stands in a slot, floats of a token) for each.
template <class Spec, class Visit>
MHCJIT_DEVICE void visit_scalars(const PreBackwardArgs& args, const Visit& visit) {
  using Plan = PreBackwardOnePass<Spec>;
  visit(args.h_mix, Plan::h_mix_offset, Spec::rows);
  visit(args.dh_res, Plan::dh_res_offset, Spec::n * Spec::n);
  visit(args.dh_post, Plan::dh_post_offset, Spec::n);
  visit(args.h_pre, Plan::h_pre_offset, Spec::n);
  visit(args.h_post, Plan::h_post_offset, Spec::n);
  visit(args.inv_rms, Plan::inv_rms_offset, 1);
}

// Brings scalars into the L2 cache, some tiles ahead. The scalar warps of the cluster share that out: a lane has the
// same 32 bytes of each tile.
template <class Spec>
struct ScalarPrefetch {
  using Plan = PreBackwardOnePass<Spec>;
  static constexpr int ahead = Spec::scalar_slots + 2;
  static constexpr int unit_floats = 8;

  const float* from = nullptr;
  int stride = 0;  // floats from tile to tile

  MHCJIT_DEVICE ScalarPrefetch(const Plan& plan, const PreBackwardArgs& args, int lane) {
    int unit = lane * Spec::cluster_size + plan.rank;
    visit_scalars<Spec>(args, [&](const float* tensor, int, int floats) {
      const int units = Plan::tokens * floats / unit_floats;
      if (tensor != nullptr && unit >= 0 && unit < units) {
        from = tensor + plan.first_token(ahead) * floats + unit * unit_floats;
        stride = plan.clusters * Plan::tokens * floats;
      }
      unit -= units;
    });
  }

  // At tile `i`.
  MHCJIT_DEVICE void step(const Plan& plan, const PreBackwardArgs& args, int i) {
    if (from == nullptr || plan.first_token(i + ahead) + Plan::tokens > args.tokens) return;
    device::prefetch_to_l2(from);
    from += stride;
  }
};

template <class Spec>
MHCJIT_DEVICE void copy_scalars(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  bool is_aligned = true;
  int whole_bytes = 0;
  visit_scalars<Spec>(args, [&](const float* tensor, int offset, int floats) {
    is_aligned = is_aligned && reinterpret_cast<unsigned long long>(tensor) % 16 == 0;
    if (tensor != nullptr) {
      whole_bytes += Plan::tokens * floats * 4;
      return;
    }
    for (int slot = 0; slot < Spec::scalar_slots; ++slot)
      for (int i = lane; i < Plan::tokens * floats; i += device::warp_size)
        device::store_shared(plan.scalars(slot) + offset + i * 4, 0.0f);
  });
  device::wait_for_previous_kernel();

  ScalarPrefetch<Spec> prefetch(plan, args, lane);
  RingPosition<Spec::scalar_slots> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    const device::SharedAddress full = plan.scalars_full(slot.index);
    if (i >= Spec::scalar_slots) device::barrier_wait(plan.scalars_empty(slot.index), slot.parity ^ 1);
    // As for the dot warps.
    device::warp_barrier();
    const device::i64 first = plan.first_token(i);
    const device::i64 left = args.tokens - first;
    const device::SharedAddress to = plan.scalars(slot.index);
    if (is_aligned && left >= Plan::tokens) {
      if (lane == 0) {
        device::barrier_arrive_expect(full, whole_bytes);
        visit_scalars<Spec>(args, [&](const float* tensor, int offset, int floats) {
          if (tensor != nullptr)
            device::copy_bytes(to + offset, tensor + first * floats, Plan::tokens * floats * 4, full);
        });
      }
    } else {
      // Tokens beyond the last have zeros everywhere, so that they add nothing.
      visit_scalars<Spec>(args, [&](const float* tensor, int offset, int floats) {
        if (tensor == nullptr) return;
        for (int e = lane; e < Plan::tokens * floats; e += device::warp_size)
          device::store_shared(to + offset + e * 4, e < left * floats ? tensor[first * floats + e] : 0.0f);
      });
      device::warp_barrier();
      if (lane == 0) device::barrier_arrive(full);
    }
    prefetch.step(plan, args, i);
    slot.advance();
  }
}

// Zeros where dh_in would stand.
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
  // Nothing is sent to another block before each has initialised its barriers.
  device::cluster_arrive();

  // Each role works out its plan anew: kept for all of them, it would cost registers where they are fewest.
  if (warp < Plan::first_dot_warp) {
    device::raise_registers<Spec::consumer_registers>();
    consume_tiles(Plan(args.tokens), args, work, warp, lane);
  } else if (warp < Plan::producer_warp) {
    device::lower_registers<Spec::dot_registers>();
    make_dots(Plan(args.tokens), warp - Plan::first_dot_warp, lane);
  } else {
    device::lower_registers<Spec::helper_registers>();
    const Plan plan(args.tokens);
    if (warp == Plan::producer_warp) {
      if (lane == 0) copy_tiles(plan, args, x, dh_in, dx);
      device::warp_barrier();
      device::cluster_wait();
    } else if (warp == Plan::scalar_warp) {
      copy_scalars(plan, args, lane);
      if (plan.rank == 0 && plan.cluster == 0 && lane == 0) *work.clusters = plan.clusters;
      device::cluster_wait();
    } else {
      make_coefficients(plan, args, work, warp - Plan::first_coefficient_warp, lane);
    }
  }

  // No block leaves while another may still send to it.
  device::warp_barrier();
  device::cluster_arrive();
  device::cluster_wait();
}
