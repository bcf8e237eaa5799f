// pre_forward in one kernel that reads x once: a cluster of blocks holds a tile of tokens in its shared memory.
//
//     h_mix, inv_rms, then h_pre, h_post, h_res of a token; h_in[t, d] = sum_i h_pre[i] * x[t, i, d]
//
// Block r of a cluster owns columns [r * slice, (r + 1) * slice) of all n streams: its share of phi stays resident for
// the whole launch, and of a token only partial sums and h_pre cross the cluster. Clusters step through the tiles of
// tokens_per_tile tokens; a token's sums are added in an order that depends on the spec alone, so that the result has
// the same bits wherever the token stands.
//
// Grid:   clusters * cluster_size blocks; any number of clusters is right.
// Block:  gemm_warps      products of x with phi, and the sums of squares, of the block's columns; in row groups,
//                         each of which multiplies with its share of phi's rows
//         apply_warps     h_in of the block's columns; before that phi * gamma
//         1 producer      copies phi, then tiles of x, into a ring of stages
//         2 finalisers    in turn a tile each, for the tokens that this block owns: add the cluster's partial sums,
//                         make the coefficients
//         1 reducer       adds the gemm warps' partial sums, sends them to the tokens' owners
// Shared: stages, each a tile of x as panels (of one stream, a row of 128 or 64 bytes for each token, in the swizzle of
//         as many bytes) or, at the start, a few rows of phi | the part of phi that registers do not
//         hold | partial sums of the gemm warps, at the start gamma | partial sums received, h_pre received: `stages`
//         slots each | barriers.
//
// Slots may be reused: tile i + stages needs the stage of tile i. The apply warps give that back once they have used
// h_pre of tile i. Its owner sent h_pre after it had read all that it received for tile i.
#pragma once

#include <common/ring_position.cuh>
#include <device/async.cuh>
#include <pre_forward/args.cuh>
#include <pre_forward/cluster_sums.cuh>
#include <pre_forward/coefficients.cuh>
#include <pre_forward/phi_fragments.cuh>
#include <pre_forward/x_load.cuh>

template <class Spec>
struct PreForwardOnePass {
  static constexpr int stages = Spec::pipeline_stages;
  static constexpr int tokens = Spec::tokens_per_tile;
  static constexpr int token_groups = tokens / 8;  // columns of B operands
  static constexpr int finaliser_warps = 2;
  static constexpr int producer_warp = Spec::gemm_warps + Spec::apply_warps;
  static constexpr int reducer_warp = producer_warp + 1;
  static constexpr int first_finaliser_warp = reducer_warp + 1;
  static constexpr int threads = (first_finaliser_warp + finaliser_warps) * device::warp_size;

  using Phi = PhiFragments<Spec>;
  using Element = typename Spec::Element;
  static constexpr int element_bytes = static_cast<int>(sizeof(Element));
  static constexpr int panel_columns = Spec::panel_columns;
  static constexpr int slice = Spec::panels_per_stream * panel_columns;
  static constexpr int panels = Spec::panels_per_stream * Spec::n;
  static constexpr int panel_row_bytes = panel_columns * element_bytes;
  static constexpr int panel_bytes = tokens * panel_row_bytes;
  static constexpr int tile_bytes = panels * panel_bytes;
  static constexpr int steps_per_panel = panel_columns / 16;
  static constexpr int step_bytes = 16 * element_bytes;
  static constexpr int k_steps = panels * steps_per_panel;
  // The last block's slice may reach beyond D.
  static constexpr bool is_ragged = Spec::cluster_size * slice != Spec::d;

  // Rows of a panel that lie in 128 bytes: all banks.
  static constexpr int rows_together = 128 / panel_row_bytes;
  static constexpr int chunks_per_row = panel_row_bytes / 16;
  static constexpr int chunk_columns = 16 / element_bytes;
  // Items of 16 bytes that a lane of an apply warp works on at once, as far as its registers go.
  static constexpr int items_at_once = Spec::apply_registers == 0 || Spec::apply_registers > 64 ? 8 : 3;
  // The bytes of a panel's row from its chunk of 16 bytes on, where the swizzle puts them.
  static MHCJIT_DEVICE int in_panel(int row, int chunk) {
    return row * panel_row_bytes + (chunk ^ row / rows_together % chunks_per_row) * 16;
  }

  // A gemm warp multiplies the columns of its column group with the rows of phi of its row group.
  static constexpr int column_groups = Spec::gemm_warps / Spec::row_groups;
  static MHCJIT_DEVICE int column_group_of(int warp) { return Spec::row_groups == 1 ? warp : warp % column_groups; }
  static MHCJIT_DEVICE int row_group_of(int warp) { return Spec::row_groups == 1 ? 0 : warp / column_groups; }

  static constexpr int steps = Spec::k_steps_per_warp;
  // Each row group adds the squares of tokens of its own.
  static constexpr int own_groups = token_groups / Spec::row_groups;
  using X = XLoad<Element, token_groups, own_groups, panel_row_bytes>;
  static constexpr int steps_per_load = X::steps;

  // A step of a column group lies in a panel, as one of the panel's steps. A group has whole panels; or, if steps are
  // loaded one by one, as many groups as a panel has steps share panels, and each has the same step of all of them. Its
  // addresses are then constants beyond that of its first step.
  static constexpr bool has_whole_panels = steps % steps_per_panel == 0;
  static constexpr bool shares_panels =
      !has_whole_panels && steps_per_load == 1 && column_groups % steps_per_panel == 0;
  static constexpr bool has_constant_offsets = has_whole_panels || shares_panels;
  static MHCJIT_DEVICE int panel_of(int column_group, int step) {
    if constexpr (has_whole_panels) return column_group * (steps / steps_per_panel) + step / steps_per_panel;
    if constexpr (shares_panels) return column_group / steps_per_panel * steps + step;
    return static_cast<int>(static_cast<device::u32>(column_group * steps + step) / steps_per_panel);
  }
  static MHCJIT_DEVICE int step_in_panel(int column_group, int step) {
    if constexpr (has_whole_panels) return step % steps_per_panel;
    if constexpr (shares_panels) return column_group % steps_per_panel;
    return static_cast<int>(static_cast<device::u32>(column_group * steps + step) % steps_per_panel);
  }

  // phi travels in items of as many rows as a stage holds, eight at most. The padding puts neighbouring rows into other
  // banks.
  static constexpr int item_rows = tokens * element_bytes < 32 ? tokens * element_bytes / 4 : 8;
  static constexpr int items_per_block = 8 / item_rows;
  static constexpr int phi_items = Phi::all_row_blocks * items_per_block;
  static constexpr int first_stage = phi_items % stages;  // of x
  static constexpr int first_parity = phi_items / stages & 1;
  static MHCJIT_DEVICE int rows_of_item(int item) {
    const int left = Spec::rows - item * item_rows;
    return left < 0 ? 0 : left < item_rows ? left : item_rows;
  }
  static constexpr int phi_row_bytes = Spec::n * slice * 4 + 32;
  static constexpr int item_bytes = item_rows * phi_row_bytes;
  static constexpr int stage_bytes = ((item_bytes > tile_bytes ? item_bytes : tile_bytes) + 1023) / 1024 * 1024;

  // Sums of a token: h_mix in whole blocks of eight rows, the sum of squares, three of padding.
  static constexpr int squares_index = Phi::all_row_blocks * 8;
  static constexpr int token_sums = squares_index + 4;
  static constexpr int token_sum_bytes = token_sums * 4;
  static constexpr int token_chunks = token_sums / 4;
  static constexpr int h_floats = (Spec::n + 3) / 4 * 4;
  // Token m of a tile belongs to block m % cluster_size.
  static constexpr int max_owned = (tokens + Spec::cluster_size - 1) / Spec::cluster_size;
  // Tokens that the finaliser has lanes for.
  static constexpr int tokens_at_once =
      device::warp_size / token_chunks < max_owned ? device::warp_size / token_chunks : max_owned;

  static constexpr int phi_offset = stages * stage_bytes;
  static constexpr int partials_offset = phi_offset + Spec::gemm_warps * Phi::shared_bytes_per_warp;
  static constexpr int partials_bytes = column_groups * tokens * token_sum_bytes;
  static constexpr int gamma_bytes = Spec::has_gamma ? Spec::n * slice * 4 : 0;
  static constexpr int received_offset =
      partials_offset + (partials_bytes > gamma_bytes ? partials_bytes : gamma_bytes);
  static constexpr int received_bytes = max_owned * Spec::cluster_size * token_sum_bytes;
  static constexpr int h_offset = received_offset + stages * received_bytes;
  static constexpr int h_bytes = tokens * h_floats * 4;
  static constexpr int barriers_offset = h_offset + stages * h_bytes;
  static constexpr int barriers = 6 * stages + 2;
  static constexpr int shared_floats = (barriers_offset + barriers * 8) / 4;

  static_assert(tokens == 8 || tokens == 16);
  static_assert(token_chunks <= device::warp_size);
  static_assert(stages >= finaliser_warps);
  static_assert(panel_row_bytes == 128 || (panel_row_bytes == 64 && X::terms == 1));
  static_assert(Spec::gemm_warps % Spec::row_groups == 0);
  static_assert(k_steps == column_groups * steps);
  static_assert(steps % steps_per_load == 0);
  static_assert(token_groups % Spec::row_groups == 0);
  static_assert(threads == Spec::threads_per_block);
  static_assert(stages >= items_per_block);

  // The base of shared memory, and the tiles of this cluster.
  device::SharedAddress base;
  int rank;
  int cluster;
  int clusters;
  int tiles;

  MHCJIT_DEVICE explicit PreForwardOnePass(device::i64 all_tokens)
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
  MHCJIT_DEVICE int owned() const { return (tokens - rank + Spec::cluster_size - 1) / Spec::cluster_size; }

  MHCJIT_DEVICE device::SharedAddress barrier(int index) const { return base + barriers_offset + index * 8; }
  MHCJIT_DEVICE device::SharedAddress full(int stage) const { return barrier(stage); }
  MHCJIT_DEVICE device::SharedAddress empty(int stage) const { return barrier(stages + stage); }
  MHCJIT_DEVICE device::SharedAddress phi_taken(int stage) const { return barrier(2 * stages + stage); }
  MHCJIT_DEVICE device::SharedAddress sums_received(int slot) const { return barrier(3 * stages + slot); }
  MHCJIT_DEVICE device::SharedAddress h_received(int slot) const { return barrier(4 * stages + slot); }
  // phi has come and been multiplied by gamma.
  MHCJIT_DEVICE device::SharedAddress phi_ready(int stage) const {
    return Spec::has_gamma ? barrier(5 * stages + stage) : full(stage);
  }
  MHCJIT_DEVICE device::SharedAddress partials_full() const { return barrier(6 * stages); }
  MHCJIT_DEVICE device::SharedAddress partials_empty() const { return barrier(6 * stages + 1); }

  MHCJIT_DEVICE device::SharedAddress partials(int column_group, int token) const {
    return base + partials_offset + (column_group * tokens + token) * token_sum_bytes;
  }
  MHCJIT_DEVICE device::SharedAddress gamma() const { return base + partials_offset; }
  MHCJIT_DEVICE device::SharedAddress received(int slot, int owned_token, int source) const {
    return base + received_offset + slot * received_bytes +
           (owned_token * Spec::cluster_size + source) * token_sum_bytes;
  }
  MHCJIT_DEVICE device::SharedAddress h(int slot, int token) const {
    return base + h_offset + slot * h_bytes + token * h_floats * 4;
  }

  MHCJIT_DEVICE void arm_sums_received(int slot) const {
    device::barrier_arrive_expect(sums_received(slot), owned() * Spec::cluster_size * token_sum_bytes);
  }
  MHCJIT_DEVICE void arm_h_received(int slot) const { device::barrier_arrive_expect(h_received(slot), h_bytes); }

  MHCJIT_DEVICE void init_barriers() const {
    for (int stage = 0; stage < stages; ++stage) {
      device::barrier_init(full(stage), 1);
      device::barrier_init(empty(stage), Spec::apply_warps);
      device::barrier_init(phi_taken(stage), Spec::gemm_warps);
      if constexpr (Spec::has_gamma) device::barrier_init(phi_ready(stage), Spec::apply_warps);
      device::barrier_init(sums_received(stage), 1);
      device::barrier_init(h_received(stage), 1);
    }
    device::barrier_init(partials_full(), Spec::gemm_warps);
    device::barrier_init(partials_empty(), 1);
    device::barrier_init_fence();
    for (int slot = 0; slot < stages; ++slot) {
      arm_sums_received(slot);
      arm_h_received(slot);
    }
  }
};

// A block of eight rows of phi, of the warp's columns: the warp's `block`, which is as many after its first.
template <class Spec>
MHCJIT_DEVICE void take_rows(const PreForwardOnePass<Spec>& plan, int column_group, int first_block, int block,
                             int lane, PhiFragments<Spec>& phi) {
  using Plan = PreForwardOnePass<Spec>;
  using Phi = PhiFragments<Spec>;
  const int first_row = (first_block + block) * 8;
  const int row = lane / 4;
  const int pair = lane % 4;
  const int stage = static_cast<int>(static_cast<device::u32>((first_row + row) / Plan::item_rows) % Plan::stages);
  const device::SharedAddress source =
      plan.base + stage * Plan::stage_bytes + row % Plan::item_rows * Plan::phi_row_bytes;
  const bool row_exists = Spec::rows % 8 == 0 || first_row + row < Spec::rows;
  const auto read = [&](int step, int k_half) {
    const int panel = Plan::panel_of(column_group, step);
    const int stream = panel % Spec::n;
    const int column = panel / Spec::n * Plan::panel_columns + Plan::step_in_panel(column_group, step) * 16 +
                       Plan::X::column_of(pair, k_half);
    auto values = device::load_shared_2(source + (stream * Plan::slice + column) * 4);
    if (!row_exists || (Plan::is_ragged && plan.first_column() + column >= Spec::d)) values = {};
    return values;
  };

  float scale = 1.0f;
  if constexpr (Phi::scaled) {
    float largest = 0.0f;
#pragma unroll
    for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
      for (int k_half = 0; k_half < 2; ++k_half) {
        const auto values = read(step, k_half);
        largest = larger_magnitude(larger_magnitude(largest, values[0]), values[1]);
      }
    }
    largest = larger_magnitude(largest, device::shuffle_xor(largest, 1));
    largest = larger_magnitude(largest, device::shuffle_xor(largest, 2));
    float inverse;
    scale = power_of_two_scale(largest, inverse);
    phi.inverse_scale[block] = inverse;
  }
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int k_half = 0; k_half < 2; ++k_half) {
      const auto values = read(step, k_half);
      phi.set(step, block, k_half, values[0] * scale, values[1] * scale);
    }
  }
}

template <class Spec>
MHCJIT_DEVICE void wait_for_rows(const PreForwardOnePass<Spec>& plan, int block) {
  using Plan = PreForwardOnePass<Spec>;
#pragma unroll
  for (int i = 0; i < Plan::items_per_block; ++i) {
    const int item = block * Plan::items_per_block + i;
    device::barrier_wait(plan.phi_ready(item % Plan::stages), item / Plan::stages & 1);
  }
}

template <class Spec>
MHCJIT_DEVICE void give_back_rows(const PreForwardOnePass<Spec>& plan, int block, int lane) {
  using Plan = PreForwardOnePass<Spec>;
  device::warp_barrier();
#pragma unroll
  for (int i = 0; i < Plan::items_per_block; ++i) {
    const int item = block * Plan::items_per_block + i;
    if (lane == 0) device::barrier_arrive(plan.phi_taken(item % Plan::stages));
  }
}

// The warp's part of phi, out of the stages through which the producer sends it. The other row groups' rows pass by.
template <class Spec>
MHCJIT_DEVICE void take_phi(const PreForwardOnePass<Spec>& plan, int column_group, int row_group, int lane,
                            PhiFragments<Spec>& phi) {
  using Phi = PhiFragments<Spec>;
  const auto let_pass = [&](int first_block, int end_block) {
#pragma unroll 1
    for (int block = first_block; block < end_block; ++block) {
      wait_for_rows(plan, block);
      give_back_rows(plan, block, lane);
    }
  };

  const int first_block = row_group * Phi::row_blocks;
  let_pass(0, first_block);
#pragma unroll
  for (int block = 0; block < Phi::row_blocks; ++block) {
    wait_for_rows(plan, first_block + block);
    take_rows(plan, column_group, first_block, block, lane, phi);
    give_back_rows(plan, first_block + block, lane);
  }
  let_pass(first_block + Phi::row_blocks, Phi::all_row_blocks);
}

template <class Spec>
MHCJIT_DEVICE void multiply_tiles(const PreForwardOnePass<Spec>& plan, int warp, int lane) {
  using Plan = PreForwardOnePass<Spec>;
  using Phi = PhiFragments<Spec>;
  using X = typename Plan::X;
  constexpr int groups = Plan::token_groups;
  const int column_group = Plan::column_group_of(warp);
  const int row_group = Plan::row_group_of(warp);
  Phi phi;
  phi.in_shared = plan.base + Plan::phi_offset + warp * Phi::shared_bytes_per_warp + lane * 16;
  take_phi(plan, column_group, row_group, lane, phi);
  device::cluster_wait();

  // Each of two row groups begins with another group of tokens, whose squares it adds.
  const int first_group = row_group;
  const int constant_group = Plan::has_constant_offsets ? column_group : 0;
  const int stepping_group = Plan::has_constant_offsets ? 0 : column_group;
  constexpr int step_chunks = Plan::step_bytes / 16;
  const device::SharedAddress lane_offset =
      Plan::panel_of(constant_group, 0) * Plan::panel_bytes +
      Plan::in_panel(X::row(lane, first_group), Plan::step_in_panel(constant_group, 0) * step_chunks + X::chunk(lane));

  RingPosition<Plan::stages> ring = {Plan::first_stage, Plan::first_parity};
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    float sums[Plan::Phi::tiles][groups][4] = {};
    typename X::SharedSquares squares;
    const device::SharedAddress stage = plan.base + ring.index * Plan::stage_bytes + lane_offset;
    const auto read = [&](X& x, int first_step) {
      x.read((stage ^ (Plan::step_in_panel(stepping_group, first_step) * Plan::step_bytes)) +
                 Plan::panel_of(stepping_group, first_step) * Plan::panel_bytes,
             first_group);
    };
    device::barrier_wait(plan.full(ring.index), ring.parity);
#pragma unroll
    for (int load = 0; load < Plan::steps / Plan::steps_per_load; ++load) {
      const int first_step = load * Plan::steps_per_load;
      X x;
      read(x, first_step);
#pragma unroll
      for (int part = 0; part < Plan::steps_per_load; ++part) {
        const int step = first_step + part;
        squares.add(x, part);
#pragma unroll
        for (int tile = 0; tile < Phi::tiles; ++tile) {
          const auto a = phi.operand(step, tile);
          // x's low terms meet phi's high ones, and low ones where an operand has both.
          const int terms = Phi::has_high_terms(tile) ? X::terms : 1;
#pragma unroll
          for (int group = 0; group < groups; ++group) {
#pragma unroll
            for (int term = 0; term < terms; ++term)
              device::multiply_add<typename Phi::Operand>(sums[tile][group], a, x.operand(part, group, term, 0),
                                                          x.operand(part, group, term, 1));
          }
        }
      }
    }

    if (i > 0) device::barrier_wait(plan.partials_empty(), (i - 1) & 1);
    // Nothing that depends on the lane is kept in registers over the MMAs.
    const int lane_now = device::lane_index();
    float own_squares[Plan::own_groups];
#pragma unroll
    for (int group = 0; group < Plan::own_groups; ++group) own_squares[group] = squares.sum(lane_now, group);
    if constexpr (X::SharedSquares::are_shared) {
      // x stays in its stage until the coefficients come from these sums.
      if (device::any_lane(!squares.are_finite())) {
        typename X::Squares anew;
#pragma unroll 1
        for (int step = 0; step < Plan::steps; step += Plan::steps_per_load) {
          X x;
          read(x, step);
#pragma unroll
          for (int part = 0; part < Plan::steps_per_load; ++part) anew.add(x, part);
        }
#pragma unroll
        for (int group = 0; group < Plan::own_groups; ++group) own_squares[group] = anew.sum(lane_now, group);
      }
    }
    const int result_row = lane_now / 4;
    const int result_pair = lane_now % 4;
    const device::SharedAddress result =
        plan.partials(column_group, X::token_of(2 * result_pair)) + (row_group * Phi::row_blocks * 8 + result_row) * 4;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      const int first_token = (group ^ first_group) * 8;
#pragma unroll
      for (int block = 0; block < Phi::row_blocks; ++block) {
        const int low = Phi::row_blocks + block;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float sum = sums[block / 2][group][block % 2 * 2 + e] + sums[low / 2][group][low % 2 * 2 + e];
          if constexpr (Phi::scaled) sum *= phi.inverse_scale[block];
          device::store_shared(result + (first_token + X::token_of(e)) * Plan::token_sum_bytes + block * 32, sum);
        }
      }
      if (group >= Plan::own_groups) continue;
      if (X::Squares::is_holder(lane_now))
        device::store_shared(
            plan.partials(column_group, first_token + X::token_of(result_row)) + Plan::squares_index * 4,
            own_squares[group]);
    }
    device::warp_barrier();
    if (lane_now == 0) device::barrier_arrive(plan.partials_full());
    ring.advance();
  }
}

// Multiplies phi by gamma where the producer has put it. The apply warps do it, which have nothing else to do yet.
template <class Spec>
MHCJIT_DEVICE void scale_phi(const PreForwardOnePass<Spec>& plan, int thread) {
  using Plan = PreForwardOnePass<Spec>;
  constexpr int threads = Spec::apply_warps * device::warp_size;
  constexpr int row_parts = Spec::n * Plan::slice / 4;
#pragma unroll 1
  for (int item = 0; item < Plan::phi_items; ++item) {
    const int stage = item % Plan::stages;
    const int parts = Plan::rows_of_item(item) * row_parts;
    device::barrier_wait(plan.full(stage), item / Plan::stages & 1);
#pragma unroll 4
    for (int part = thread; part < parts; part += threads) {
      const int row = part / row_parts;
      const int offset = part % row_parts * 16;
      const device::SharedAddress address = plan.base + stage * Plan::stage_bytes + row * Plan::phi_row_bytes + offset;
      auto values = device::load_shared_4(address);
      const auto gamma = device::load_shared_4(plan.gamma() + offset);
#pragma unroll
      for (int e = 0; e < 4; ++e) values[e] *= gamma[e];
      device::store_shared_4(address, values);
    }
    device::copy_fence();
    device::warp_barrier();
    if (thread % device::warp_size == 0) device::barrier_arrive(plan.phi_ready(stage));
  }
}

// 16 bytes of h_in.
template <class Element>
struct HInChunk {
  float sums[8] = {};

  MHCJIT_DEVICE void add(float h, device::SharedAddress x) {
    const auto words = device::load_shared_words<4>(x);
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      sums[2 * word] = device::fma(h, device::low_half<Element>(words[word]), sums[2 * word]);
      sums[2 * word + 1] = device::fma(h, device::high_half<Element>(words[word]), sums[2 * word + 1]);
    }
  }
  MHCJIT_DEVICE void store(Element* h_in) const {
    device::Vector<device::u32, 4> rounded;
#pragma unroll
    for (int word = 0; word < 4; ++word) rounded[word] = device::pack<Element>(sums[2 * word], sums[2 * word + 1]);
    device::store_words(h_in, rounded);
  }
};

template <>
struct HInChunk<float> {
  device::Vector<float, 4> sums = {};

  MHCJIT_DEVICE void add(float h, device::SharedAddress x) {
    const auto values = device::load_shared_4(x);
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[e] = device::fma(h, values[e], sums[e]);
  }
  MHCJIT_DEVICE void store(float* h_in) const { device::store(h_in, sums); }
};

template <class Spec>
MHCJIT_DEVICE void apply_tiles(const PreForwardOnePass<Spec>& plan, const PreForwardArgs& args, int thread) {
  using Plan = PreForwardOnePass<Spec>;
  using Element = typename Spec::Element;
  constexpr int threads = Spec::apply_warps * device::warp_size;
  constexpr int chunks = Plan::slice / Plan::chunk_columns;  // of 16 bytes of a stream
  constexpr int rows_together = Plan::rows_together;
  if constexpr (Spec::has_gamma) scale_phi(plan, thread);
  device::cluster_wait();

  RingPosition<Plan::stages> ring = {Plan::first_stage, Plan::first_parity};
  RingPosition<Plan::stages> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.full(ring.index), ring.parity);
    device::barrier_wait_cluster(plan.h_received(slot.index), slot.parity);
    if (thread == 0) plan.arm_h_received(slot.index);
    // Unrolled by items_at_once alone: unrolled fully, the addresses of a wide slice spill.
#pragma unroll Plan::items_at_once
    for (int item = 0; item < Plan::tokens * chunks; item += threads) {
      // Eight lanes read all banks: as many rows of a panel as lie together.
      const int in_rows = (item + thread) % (rows_together * chunks);
      const int token =
          (item + thread) / (rows_together * chunks) * rows_together + in_rows / Plan::chunks_per_row % rows_together;
      const int panel = in_rows / 8;
      const int chunk = in_rows % Plan::chunks_per_row;
      const int column = plan.first_column() + (panel * Plan::chunks_per_row + chunk) * Plan::chunk_columns;
      const device::i64 t = plan.first_token(i) + token;
      if (item + thread >= Plan::tokens * chunks || t >= args.tokens || (Plan::is_ragged && column >= Spec::d))
        continue;

      float h[Plan::h_floats];
#pragma unroll
      for (int first = 0; first < Plan::h_floats; first += 4) {
        const auto four = device::load_shared_4(plan.h(slot.index, token) + first * 4);
#pragma unroll
        for (int e = 0; e < 4; ++e) h[first + e] = four[e];
      }
      HInChunk<Element> h_in;
      const device::SharedAddress source = plan.base + ring.index * Plan::stage_bytes +
                                           panel * Spec::n * Plan::panel_bytes + Plan::in_panel(token, chunk);
#pragma unroll
      for (int stream = 0; stream < Spec::n; ++stream) h_in.add(h[stream], source + stream * Plan::panel_bytes);
      h_in.store(static_cast<Element*>(args.h_in) + t * Spec::d + column);
    }
    device::warp_barrier();
    if (thread % device::warp_size == 0) device::barrier_arrive(plan.empty(ring.index));
    ring.advance();
    slot.advance();
  }
}

template <class Spec>
MHCJIT_DEVICE void produce_tiles(const PreForwardOnePass<Spec>& plan, const PreForwardArgs& args,
                                 const device::TensorMap& x, int lane) {
  using Plan = PreForwardOnePass<Spec>;
  const int columns_left = Spec::d - plan.first_column();
  const int phi_columns = columns_left < Plan::slice ? columns_left : Plan::slice;
#pragma unroll 1
  for (int item = 0; item < Plan::phi_items; ++item) {
    const int stage = item % Plan::stages;
    const int first_row = item * Plan::item_rows;
    const int rows = Plan::rows_of_item(item);
    if (item >= Plan::stages) device::barrier_wait(plan.phi_taken(stage), (item / Plan::stages - 1) & 1);
    const bool brings_gamma = Spec::has_gamma && item == 0;
    if (lane == 0)
      device::barrier_arrive_expect(plan.full(stage), (rows + (brings_gamma ? 1 : 0)) * Spec::n * phi_columns * 4);
    device::warp_barrier();
    if (brings_gamma && lane < Spec::n)
      device::copy_bytes(plan.gamma() + lane * Plan::slice * 4,
                         args.gamma + device::i64{lane} * Spec::d + plan.first_column(), phi_columns * 4,
                         plan.full(stage));
    for (int piece = lane; piece < rows * Spec::n; piece += device::warp_size) {
      const int row = piece / Spec::n;
      const int stream = piece % Spec::n;
      device::copy_bytes(
          plan.base + stage * Plan::stage_bytes + row * Plan::phi_row_bytes + stream * Plan::slice * 4,
          args.phi + device::i64{first_row + row} * Spec::columns + device::i64{stream} * Spec::d + plan.first_column(),
          phi_columns * 4, plan.full(stage));
    }
  }

  // The previous kernel may write all inputs but phi, gamma, alpha and bias. The other roles depend on them through x
  // alone.
  device::wait_for_previous_kernel();
  RingPosition<Plan::stages> ring = {Plan::first_stage, Plan::first_parity};
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    // The stage held phi before, or an earlier tile.
    const int phi_item = Plan::phi_items + i - Plan::stages;
    if (i >= Plan::stages)
      device::barrier_wait(plan.empty(ring.index), (i / Plan::stages - 1) & 1);
    else if (phi_item >= 0)
      device::barrier_wait(plan.phi_taken(ring.index), phi_item / Plan::stages & 1);
    if (lane == 0) {
      const device::SharedAddress full = plan.full(ring.index);
      device::barrier_arrive_expect(full, Plan::tile_bytes);
      for (int panel = 0; panel < Spec::panels_per_stream; ++panel)
        device::copy_box(plan.base + ring.index * Plan::stage_bytes + panel * Spec::n * Plan::panel_bytes, x,
                         plan.first_column() + panel * Plan::panel_columns, static_cast<int>(plan.first_token(i)), 0,
                         full);
    }
    device::warp_barrier();
    ring.advance();
  }
  device::cluster_wait();
}

template <class Spec>
MHCJIT_DEVICE void reduce_tiles(const PreForwardOnePass<Spec>& plan, int lane) {
  using Plan = PreForwardOnePass<Spec>;
  constexpr int chunks = Plan::token_chunks;
  device::cluster_wait();

  RingPosition<Plan::stages> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.partials_full(), i & 1);
#pragma unroll 1
    for (int item = 0; item < Plan::tokens * chunks; item += device::warp_size) {
      const int token = (item + lane) / chunks;
      const int offset = (item + lane) % chunks * 16;
      if (item + lane >= Plan::tokens * chunks) continue;
      auto sum = device::load_shared_4(plan.partials(0, token) + offset);
#pragma unroll
      for (int group = 1; group < Plan::column_groups; ++group) {
        const auto other = device::load_shared_4(plan.partials(group, token) + offset);
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] += other[e];
      }
      const int owner = token % Spec::cluster_size;
      device::send(device::in_block(plan.received(slot.index, token / Spec::cluster_size, plan.rank) + offset, owner),
                   sum, device::in_block(plan.sums_received(slot.index), owner));
    }
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.partials_empty());
    slot.advance();
  }
}

// A lane works on four consecutive sums of one token, as many tokens at a time as a warp has lanes for: what a token
// costs is the latency of one chain of steps, whatever the number of tokens that the block owns.
template <class Spec>
MHCJIT_DEVICE void finalise_tiles(const PreForwardOnePass<Spec>& plan, const PreForwardArgs& args, int finaliser,
                                  int lane) {
  using Plan = PreForwardOnePass<Spec>;
  constexpr int chunks = Plan::token_chunks;
  constexpr int tokens_at_once = Plan::tokens_at_once;
  constexpr int sends = tokens_at_once * Spec::cluster_size;  // of each four values of h_pre
  const RowScales scales = RowScales::of<Spec>(args, lane % chunks * 4);
  device::cluster_wait();

  const int owned = plan.owned();
  RingPosition<Plan::stages> slot = {finaliser};
#pragma unroll 1
  for (int i = finaliser; i < plan.tiles && owned > 0; i += Plan::finaliser_warps) {
    // A slot that the other finaliser had before could still wait for the sums of then, which a parity does not tell
    // from those of now. The tile's x comes after they have been used.
    if constexpr (Plan::stages % Plan::finaliser_warps != 0) {
      RingPosition<Plan::stages> ring = {slot.index, slot.parity ^ Plan::first_parity};
      ring.advance(Plan::first_stage);
      device::barrier_wait(plan.full(ring.index), ring.parity);
    }
    device::barrier_wait_cluster(plan.sums_received(slot.index), slot.parity);
    if (lane == 0) plan.arm_sums_received(slot.index);
#pragma unroll 1
    for (int first = 0; first < owned; first += tokens_at_once) {
      // The lane is read anew, so that no register is kept for the rows' addresses.
      const int lane_now = device::lane_index();
      const int place = lane_now / chunks;
      const int first_row = lane_now % chunks * 4;
      const int mine = first + place;
      const bool works = place < tokens_at_once && mine < owned;
      float sum[4] = {};
      if (works)
        add_blocks<Spec::cluster_size, 4>(sum, plan.received(slot.index, mine, 0) + first_row * 4,
                                          Plan::token_sum_bytes);
      const float squares = device::shuffle(sum[0], (works ? place : 0) * chunks + chunks - 1);
      const float inv_rms = inverse_rms<Spec>(squares, args.norm_eps);
      float value[4];
#pragma unroll
      for (int e = 0; e < 4; ++e)
        value[e] = coefficient<Spec>(args, first_row + e, sum[e] * inv_rms, scales.alpha[e], scales.bias[e]);

      // h_pre lets the other blocks reuse the slot that every lane has read.
      device::warp_barrier();
#pragma unroll
      for (int part = 0; part < Plan::h_floats / 4; ++part) {
#pragma unroll 1
        for (int item = 0; item < sends; item += device::warp_size) {
          const int number = (item + lane) / Spec::cluster_size;
          const int receiver = (item + lane) % Spec::cluster_size;
          const bool exists = item + lane < sends && first + number < owned;
          device::Vector<float, 4> four;
#pragma unroll
          for (int e = 0; e < 4; ++e) four[e] = device::shuffle(value[e], (exists ? number : 0) * chunks + part);
          const int token = (first + number) * Spec::cluster_size + plan.rank;
          if (exists)
            device::send(device::in_block(plan.h(slot.index, token) + part * 16, receiver), four,
                         device::in_block(plan.h_received(slot.index), receiver));
        }
      }
      const device::i64 t = plan.first_token(i) + mine * Spec::cluster_size + plan.rank;
      if (works && t < args.tokens) {
        if (first_row == Plan::squares_index && args.inv_rms != nullptr) args.inv_rms[t] = inv_rms;
        store_coefficients<Spec>(args, t, device::lane_index() % chunks * 4, sum, value);
      }
    }
    slot.advance(Plan::finaliser_warps);
  }
}

// Moves registers from roles that need few to those that need many; 0: every thread keeps those that it began with.
template <int count, int at_start>
MHCJIT_DEVICE void set_registers() {
  if constexpr (count > at_start)
    device::raise_registers<count>();
  else if constexpr (count != 0)
    device::lower_registers<count>();
}

template <class Spec>
MHCJIT_DEVICE void pre_forward_one_pass(const PreForwardArgs& args, const device::TensorMap& x) {
  using Plan = PreForwardOnePass<Spec>;
  constexpr int registers = 65536 / Spec::threads_per_block / 8 * 8;
  // Unsigned: the compiler then knows that neither is negative.
  const auto thread = static_cast<device::u32>(device::thread_index());
  const int warp = static_cast<int>(thread / device::warp_size);
  const int lane = static_cast<int>(thread % device::warp_size);
  device::let_next_kernel_begin();
  if (device::thread_index() == 0) Plan(args.tokens).init_barriers();
  device::block_barrier();
  // Nothing is sent to another block before each has initialised its barriers.
  device::cluster_arrive();

  // Each role works out its plan anew: kept for all of them, it would cost registers where they are fewest.
  if (warp < Spec::gemm_warps) {
    set_registers<Spec::gemm_registers, registers>();
    multiply_tiles(Plan(args.tokens), warp, lane);
  } else if (warp < Plan::producer_warp) {
    set_registers<Spec::apply_registers, registers>();
    apply_tiles(Plan(args.tokens), args, device::thread_index() - Spec::gemm_warps * device::warp_size);
  } else {
    set_registers<Spec::helper_registers, registers>();
    const Plan plan(args.tokens);
    if (warp == Plan::producer_warp)
      produce_tiles(plan, args, x, lane);
    else if (warp == Plan::reducer_warp)
      reduce_tiles(plan, lane);
    else
      finalise_tiles(plan, args, warp - Plan::first_finaliser_warp, lane);
  }

  // No block leaves while another may still send to it.
  device::warp_barrier();
  device::cluster_arrive();
  device::cluster_wait();
}
