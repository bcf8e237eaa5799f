// pre_backward in one pass: the layout of a block's shared memory and warps. one_pass.cuh describes the roles.
#pragma once

#include <device/async.cuh>

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
  static constexpr int coefficient_warps = 2;  // of a tile
  static constexpr int coefficient_pairs = Spec::coefficient_pairs;
  static constexpr int scalar_warp = first_coefficient_warp + coefficient_pairs * coefficient_warps;
  static constexpr int threads = (scalar_warp / 4 + 1) * 4 * device::warp_size;  // whole warp groups
  static constexpr bool has_idle_warps = (scalar_warp + 1) * device::warp_size < threads;

  static constexpr int element_bytes = static_cast<int>(sizeof(Element));
  static constexpr int panel_columns = Spec::panel_columns;
  static constexpr int panels = Spec::panels_per_stream;
  static constexpr int slice = panels * panel_columns;
  static constexpr int panel_row_bytes = panel_columns * element_bytes;
  static constexpr int panel_bytes = tokens * panel_row_bytes;
  static constexpr int x_bytes = panels * n * panel_bytes;
  static constexpr int stage_bytes = x_bytes + panels * panel_bytes;
  static constexpr bool is_ragged = Spec::group_blocks * slice != Spec::d;  // the last slice reaches beyond D

  // Returns the offset in a panel of a row's chunk of 16 bytes, under the swizzle.
  static constexpr int chunks_per_row = panel_row_bytes / 16;
  static constexpr int rows_together = 128 / panel_row_bytes;
  static MHCJIT_DEVICE int in_panel(int row, int chunk) {
    return row * panel_row_bytes + (chunk ^ row / rows_together % chunks_per_row) * 16;
  }

  // Consumer warp w has every warps_per_stream-th tile of 16 columns of stream w / warps_per_stream. The offsets of its
  // other tiles from its first are constants.
  static constexpr int warps_per_stream = Spec::consumer_warps / n;
  static constexpr int steps = slice / 16 / warps_per_stream;
  static constexpr int tile_row_bytes = 16 * element_bytes;
  static constexpr int tiles_per_panel = panel_columns / 16;
  static constexpr int steps_per_panel = tiles_per_panel > warps_per_stream ? tiles_per_panel / warps_per_stream : 1;
  static constexpr int panels_per_step = warps_per_stream > tiles_per_panel ? warps_per_stream / tiles_per_panel : 1;
  static MHCJIT_DEVICE int stream_of(int warp) { return warp / warps_per_stream; }
  // Returns the first column of the warp's tile, in the slice.
  static MHCJIT_DEVICE int column_of(int warp, int step) {
    return (step * warps_per_stream + warp % warps_per_stream) * 16;
  }
  static constexpr int block_tiles = Spec::consumer_warps * steps;

  // phi * gamma is one fp16 term times a power of two, or two bf16 terms if dx is in fp32.
  static constexpr bool splits_phi = element_bytes == 4;
  static constexpr int phi_words = splits_phi ? 4 : 2;  // a lane's, for eight rows by a column tile

  // Coefficients of a tile: a row of dh_mix for each token, as bf16's high terms, its low terms, and as fp16 times a
  // power of two if phi is in fp16; then per token c, the inverse of that power, and h_pre by stream. A row is an odd
  // number of 16-byte chunks, so that eight neighbouring rows have no bank conflict.
  static constexpr int mix_row_bytes = (row_blocks | 1) * 16;
  static constexpr int mix_bytes = tokens * mix_row_bytes;
  static constexpr int c_offset = (splits_phi ? 2 : 3) * mix_bytes;
  static constexpr int scale_offset = c_offset + tokens * 4;
  static constexpr int h_offset = scale_offset + tokens * 4;
  static constexpr int coefficient_bytes = h_offset + n * tokens * 4;

  // Scalars of a tile keep the layout that they have in memory.
  static constexpr int h_mix_offset = 0;
  static constexpr int dh_res_offset = h_mix_offset + tokens * Spec::rows * 4;
  static constexpr int dh_post_offset = dh_res_offset + tokens * n * n * 4;
  static constexpr int h_pre_offset = dh_post_offset + tokens * n * 4;
  static constexpr int h_post_offset = h_pre_offset + tokens * n * 4;
  static constexpr int inv_rms_offset = h_post_offset + tokens * n * 4;
  static constexpr int scalar_bytes = inv_rms_offset + tokens * 4;

  // One block sends this much of dh_pre for a token.
  static constexpr int dot_parts = (n + 3) / 4;
  static constexpr int dot_bytes = dot_parts * 16;
  static constexpr int lead = Spec::exchange_slots / 2;
  static constexpr int received_bytes = tokens * Spec::group_blocks * dot_bytes;  // one slot's

  static constexpr int phi_offset = stages * stage_bytes;
  static constexpr int phi_warp_bytes = steps * row_blocks * device::warp_size * phi_words * 4;
  static constexpr int coefficients_offset = phi_offset + Spec::consumer_warps * phi_warp_bytes;
  static constexpr int scalars_offset = coefficients_offset + Spec::coefficient_slots * coefficient_bytes;
  static constexpr int received_offset = scalars_offset + Spec::scalar_slots * scalar_bytes;
  static constexpr int barriers_offset =
      received_offset + (Spec::uses_clusters ? Spec::exchange_slots * received_bytes : 0);
  static constexpr int barriers =
      2 * (stages + Spec::coefficient_slots + Spec::scalar_slots) + Spec::exchange_slots + lead + 1;
  static constexpr int shared_floats = (barriers_offset + barriers * 8) / 4;

  static_assert(panel_row_bytes == 128 || (panel_row_bytes == 64 && element_bytes == 2));
  static_assert(Spec::consumer_warps % n == 0 && Spec::consumer_warps % 4 == 0);
  static_assert(steps * 16 * warps_per_stream == slice);
  static_assert(tiles_per_panel % warps_per_stream == 0 || warps_per_stream % tiles_per_panel == 0);
  static_assert(threads == Spec::threads_per_block);
  // Pairs wait for a barrier of their own tile, so that a wait is for the present or the previous phase.
  static_assert(coefficient_pairs <= Spec::coefficient_slots && coefficient_pairs <= Spec::scalar_slots &&
                coefficient_pairs <= lead);

  device::SharedAddress base;
  int rank;
  int group;
  int groups;
  int tiles;

  MHCJIT_DEVICE explicit PreBackwardOnePass(device::i64 all_tokens)
      : base(device::shared_base()),
        rank(static_cast<int>(device::block_index_x() % Spec::group_blocks)),
        group(static_cast<int>(device::block_index_x()) / Spec::group_blocks),
        groups(static_cast<int>(device::grid_size_x()) / Spec::group_blocks) {
    // T is less than 2^31, so that tiles are few enough for 32 bits.
    const auto all_tiles = static_cast<device::u32>((all_tokens + tokens - 1) / tokens);
    tiles = static_cast<int>((all_tiles - static_cast<device::u32>(group) + static_cast<device::u32>(groups) - 1) /
                             static_cast<device::u32>(groups));
  }

  // The first token of tile `i` of this group.
  MHCJIT_DEVICE device::i64 first_token(int i) const { return device::i64{group + i * groups} * tokens; }
  MHCJIT_DEVICE int first_column() const { return rank * slice; }

  MHCJIT_DEVICE device::SharedAddress stage(int index) const { return base + index * stage_bytes; }
  MHCJIT_DEVICE device::SharedAddress phi(int warp) const { return base + phi_offset + warp * phi_warp_bytes; }
  MHCJIT_DEVICE device::SharedAddress coefficients(int slot) const {
    return base + coefficients_offset + slot * coefficient_bytes;
  }
  MHCJIT_DEVICE device::SharedAddress scalars(int slot) const { return base + scalars_offset + slot * scalar_bytes; }
  MHCJIT_DEVICE device::SharedAddress received(int slot, int token, int source) const {
    return base + received_offset + slot * received_bytes + (token * Spec::group_blocks + source) * dot_bytes;
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
  // In a cluster: every block's sums have come. Without one: the block's own have been sent.
  MHCJIT_DEVICE device::SharedAddress dots_received(int slot) const {
    return barrier(barriers - 1 - lead - Spec::exchange_slots + slot);
  }
  // Each tile of `lead` has a barrier, so that a wait is for the present or the previous phase.
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
    for (int slot = 0; slot < Spec::exchange_slots; ++slot)
      device::barrier_init(dots_received(slot), Spec::uses_clusters ? 1 : dot_warps);
    for (int i = 0; i < lead; ++i) device::barrier_init(dots_read(i), coefficient_warps);
    device::barrier_init(phi_loaded(), Spec::consumer_warps);
    device::barrier_init_fence();
    for (int slot = 0; Spec::uses_clusters && slot < Spec::exchange_slots; ++slot) arm_dots_received(slot);
  }

  // Nothing is sent to another block of a cluster before each has initialised its barriers, and no block leaves while
  // another may still send to it.
  static MHCJIT_DEVICE void arrive_at_group() {
    if constexpr (Spec::uses_clusters) device::cluster_arrive();
  }
  static MHCJIT_DEVICE void wait_for_group() {
    if constexpr (Spec::uses_clusters) device::cluster_wait();
  }
};
