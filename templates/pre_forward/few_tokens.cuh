// pre_forward of few tokens in one short kernel: it costs a launch, one read of phi and one exchange in a cluster.
//
//     h_mix, inv_rms, then h_pre, h_post, h_res of a token; h_in[t, d] = sum_i h_pre[i] * x[t, i, d]
//
// A cluster works on a group of up to 16 tokens, and each of its blocks on a slice of the columns of every stream. Each
// gemm warp works on units of the slice: unit_chunks times 16 columns of a stream. A warp copies its operands into
// shared memory itself, all at once as far as they fit, and waits for no other warp. x stays there; phi comes in a ring
// of stages, each of a unit's rows.
//
// The tensor cores multiply terms of bf16: phi * gamma as high + low, and so x of other types than bf16.
//
// With `as_one_pass` a token's sums are added in the order of one_pass.cuh, so that they have the same bits. Warps have
// the same columns in the same order, and their sums are added one after the other.
//
// Grid:   groups * cluster_size blocks; the groups share out the tokens.
// Block:  gemm_warps warps, each with units_per_warp units, make products with phi and sums of squares, then h_in.
//         The first of them make h_pre of all tokens in between.
//         1 finaliser makes the coefficients of the tokens that the block owns.
// Shared: stages of phi and gamma of each gemm warp | x | partial sums of the gemm warps |
//         sums from the blocks of the cluster: those that every block needs, for all tokens; the others, for the
//         block's own | h_pre | two barriers.
#pragma once

#include <common/ring_position.cuh>
#include <common/two_terms.cuh>
#include <device/async.cuh>
#include <pre_forward/args.cuh>
#include <pre_forward/cluster_sums.cuh>
#include <pre_forward/coefficients.cuh>
#include <pre_forward/x_load.cuh>

template <class Spec>
struct PreForwardFewTokens {
  using Element = typename Spec::Element;
  static constexpr int tokens = 16;
  static constexpr int chunk_columns = 16;
  static constexpr int cluster_size = Spec::cluster_size;
  static constexpr int gemm_warps = Spec::gemm_warps;
  static constexpr int gemm_threads = gemm_warps * device::warp_size;
  static constexpr int threads = gemm_threads + device::warp_size;
  static constexpr int unit_chunks = Spec::unit_chunks;
  static constexpr int unit_columns = unit_chunks * chunk_columns;
  static constexpr int warp_units = Spec::units_per_warp;
  static constexpr int units = gemm_warps * warp_units;
  static constexpr int slice = units / Spec::n * unit_columns;
  // Units stand in panels, a panel of each stream side by side.
  static constexpr int panel_units = Spec::panel_units;
  static_assert(units % (Spec::n * panel_units) == 0);
  // The last block's slice may reach beyond D.
  static constexpr bool is_ragged = cluster_size * slice != Spec::d;
  static_assert(cluster_size * slice >= Spec::d && Spec::d % 4 == 0);

  // A token's sums are h_mix in whole blocks of eight rows, the sum of squares and three of padding, in chunks of four.
  static constexpr int row_blocks = (Spec::rows + 7) / 8;
  static constexpr int squares_index = row_blocks * 8;
  static constexpr int sum_chunks = squares_index / 4 + 1;
  static constexpr int token_sum_bytes = sum_chunks * 16;
  static_assert(sum_chunks <= device::warp_size);
  // Every block needs every token's rows of h_pre and its sum of squares, which stand together. Only the token's owner
  // needs the others: token m belongs to block m % cluster_size.
  static constexpr int pre_chunks = (Spec::n + 3) / 4;
  static constexpr int common_chunks = pre_chunks + 1;
  static constexpr int own_chunks = sum_chunks - common_chunks;
  static constexpr int max_owned = (tokens + cluster_size - 1) / cluster_size;
  static MHCJIT_DEVICE bool is_common(int chunk) { return chunk < pre_chunks || chunk == sum_chunks - 1; }

  static constexpr int tokens_at_once = device::warp_size / sum_chunks;  // a warp's that makes coefficients
  // So many lanes add up one chunk of a token's sums for h_pre, as many as there are warps for. It is one lane if the
  // sums have an order.
  static constexpr int pre_items = tokens * common_chunks;
  static constexpr int wanted_helpers = pre_items * 4 <= gemm_threads ? 4 : pre_items * 2 <= gemm_threads ? 2 : 1;
  static constexpr int pre_helpers = Spec::as_one_pass ? 1 : wanted_helpers;
  static constexpr int tokens_of_pre_warp = device::warp_size / pre_helpers / common_chunks;
  static constexpr int wanted_pre_warps = (tokens + tokens_of_pre_warp - 1) / tokens_of_pre_warp;
  static constexpr int pre_warps = wanted_pre_warps < gemm_warps ? wanted_pre_warps : gemm_warps;

  static constexpr int stages = Spec::stages;
  static_assert(stages <= warp_units);

  // One copy brings a piece of x of up to 16 bytes.
  static constexpr int x_piece_bytes = Spec::d * sizeof(Element) % 16 == 0 ? 16 : 8;
  static constexpr int phi_row_bytes = unit_columns * 4;
  static constexpr int stage_bytes = (Spec::rows + Spec::has_gamma) * phi_row_bytes;
  static constexpr int x_row_bytes = unit_columns * sizeof(Element);
  static constexpr int unit_bytes = tokens * x_row_bytes;
  // Both are padded, so that a quarter of a warp has no bank conflict: it reads sums of four warps, or of several
  // tokens.
  static constexpr int warp_partials_bytes = tokens * token_sum_bytes + 32;
  static constexpr int token_common_bytes = (cluster_size + 1) * common_chunks * 16;
  static constexpr int x_offset = gemm_warps * stages * stage_bytes;
  static constexpr int partials_offset = x_offset + units * unit_bytes;
  static constexpr int common_offset = partials_offset + gemm_warps * warp_partials_bytes;
  static constexpr int own_offset = common_offset + tokens * token_common_bytes;
  static constexpr int h_offset = own_offset + max_owned * cluster_size * own_chunks * 16;
  static constexpr int barriers_offset = h_offset + tokens * pre_chunks * 16;
  static constexpr int shared_floats = (barriers_offset + 16) / 4;

  device::SharedAddress base;
  int rank;
  device::i64 first_token;
  int live;  // tokens of this group

  MHCJIT_DEVICE explicit PreForwardFewTokens(device::i64 all_tokens)
      : base(device::shared_base()), rank(device::cluster_rank()) {
    // T is less than 2^31, so that 32 bits are enough.
    const auto groups = static_cast<device::u32>(device::grid_size_x()) / cluster_size;
    const auto group = static_cast<device::u32>(device::block_index_x()) / cluster_size;
    const auto group_tokens = (static_cast<device::u32>(all_tokens) + groups - 1) / groups;
    first_token = device::multiply_wide(group, group_tokens);
    const device::i64 left = all_tokens - first_token;
    live = static_cast<int>(left < group_tokens ? left : group_tokens);
  }

  // Columns of a warp's unit `i`, in all n * D. The units of all warps follow each other.
  struct Unit {
    int stream;
    int column;  // column of the stream

    MHCJIT_DEVICE Unit(int rank, int warp, int i) {
      if constexpr (panel_units == 1 && warp_units == Spec::n) {
        stream = i;
        column = rank * slice + warp * unit_columns;
      } else {
        const int number = warp * warp_units + i;
        stream = number / panel_units % Spec::n;
        column = rank * slice + (number / panel_units / Spec::n * panel_units + number % panel_units) * unit_columns;
      }
    }
  };
  // Returns the unit of a stream that has the chunk of the slice.
  static MHCJIT_DEVICE int unit_of(int stream, int chunk) {
    const int beside = chunk / unit_chunks;
    return (beside / panel_units * Spec::n + stream) * panel_units + beside % panel_units;
  }
  static MHCJIT_DEVICE bool has_column(int column) { return !is_ragged || column < Spec::d; }
  MHCJIT_DEVICE int owned() const { return (live - rank + cluster_size - 1) / cluster_size; }

  // The first function is the place of a warp's first stage of phi, the second that of four columns of a row in a
  // stage. Reads have no bank conflicts: a quarter of a warp reads two rows at a time, 64 bytes of each, or half a warp
  // four rows, 32 bytes of each.
  static MHCJIT_DEVICE device::SharedAddress phi(device::SharedAddress base, int warp) {
    return base + warp * stages * stage_bytes;
  }
  static MHCJIT_DEVICE int in_wide_rows(int row, int column) {
    const int flipped = unit_chunks == 1 ? 0 : Spec::as_one_pass ? row % 4 * 8 : row % 2 * 16;
    return row * phi_row_bytes + (column ^ flipped) * 4;
  }
  // The first function is the place of a unit's x, the second that of a token's columns in it. Half a warp reads four
  // tokens of 16-bit x at a time, 32 bytes of each; load_matrices reads eight, 16 bytes of each.
  MHCJIT_DEVICE device::SharedAddress x(int unit) const { return base + x_offset + unit * unit_bytes; }
  static MHCJIT_DEVICE int in_x_rows(int token, int column) {
    if constexpr (sizeof(Element) == 4) return in_wide_rows(token, column);
    const int flipped = Spec::as_one_pass ? token * unit_chunks / 4 % (2 * unit_chunks) * 8
                                          : token * unit_chunks / 4 % unit_chunks * chunk_columns;
    return token * x_row_bytes + (column ^ flipped) * 2;
  }
  MHCJIT_DEVICE device::SharedAddress partials(int warp, int token) const {
    return base + partials_offset + warp * warp_partials_bytes + token * token_sum_bytes;
  }
  // The place of four sums of a token from one block of the cluster: chunk `common` of those that every block needs.
  MHCJIT_DEVICE device::SharedAddress common_sums(int token, int source, int common) const {
    return base + common_offset + token * token_common_bytes + (source * common_chunks + common) * 16;
  }
  // The same for any chunk. A block that does not own the token has only the chunks that it needs. Two blocks' sums lie
  // sums_stride() bytes apart.
  MHCJIT_DEVICE device::SharedAddress sums(int token, int source, int chunk) const {
    if (is_common(chunk)) return common_sums(token, source, chunk < pre_chunks ? chunk : pre_chunks);
    return base + own_offset + ((token / cluster_size * cluster_size + source) * own_chunks + chunk - pre_chunks) * 16;
  }
  static MHCJIT_DEVICE int sums_stride(int chunk) { return (is_common(chunk) ? common_chunks : own_chunks) * 16; }
  MHCJIT_DEVICE device::SharedAddress h(int token) const { return base + h_offset + token * pre_chunks * 16; }

  MHCJIT_DEVICE device::SharedAddress sums_received() const { return base + barriers_offset; }
  MHCJIT_DEVICE device::SharedAddress h_ready() const { return base + barriers_offset + 8; }

  MHCJIT_DEVICE void init_barriers() const {
    device::barrier_init(sums_received(), 1);
    device::barrier_init(h_ready(), pre_warps * device::warp_size);
    device::barrier_init_fence();
    device::barrier_arrive_expect(sums_received(), (live * common_chunks + owned() * own_chunks) * cluster_size * 16);
  }
};

// Loads four consecutive columns of x from shared memory.
template <class Element>
MHCJIT_DEVICE device::Vector<float, 4> load_columns(device::SharedAddress address) {
  if constexpr (sizeof(Element) == 4) {
    return device::load_shared_4(address);
  } else {
    const auto words = device::load_shared_words<2>(address);
    return {{device::low_half<Element>(words[0]), device::high_half<Element>(words[0]),
             device::low_half<Element>(words[1]), device::high_half<Element>(words[1])}};
  }
}

// The same four columns as an operand, in one bf16 term or in two.
template <class Element>
struct ColumnTerms {
  static constexpr int count = 2;
  device::u32 words[count][2];

  MHCJIT_DEVICE explicit ColumnTerms(const device::Vector<float, 4>& x) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const TwoTerms terms = two_terms<device::bf16>(x[2 * half], x[2 * half + 1]);
      words[0][half] = terms.high;
      words[1][half] = terms.low;
    }
  }
};
template <>
struct ColumnTerms<device::bf16> {
  static constexpr int count = 1;
  device::u32 words[count][2];

  MHCJIT_DEVICE explicit ColumnTerms(const device::Vector<float, 4>& x)
      : words{{device::pack<device::bf16>(x[0], x[1]), device::pack<device::bf16>(x[2], x[3])}} {}
};

// Copies a warp's phi and gamma, a unit at a time.
template <class Spec>
struct FewTokensPhi {
  using Plan = PreForwardFewTokens<Spec>;
  static constexpr int row_copies = Plan::phi_row_bytes / 16;
  static constexpr int rows_at_once = device::warp_size / row_copies;
  static constexpr int all_rows = Spec::rows + Spec::has_gamma;

  int rank;
  int warp;
  int unit = 0;  // of the warp, the next to be copied
  int row;       // row of the lane's first copy
  int column;    // its column of the unit
  const float* phi;
  const float* gamma;
  device::SharedAddress first;
  RingPosition<Plan::stages> ring;

  MHCJIT_DEVICE FewTokensPhi(const PreForwardArgs& args, int warp, int lane)
      : rank(device::cluster_rank()),
        warp(warp),
        row(lane / row_copies),
        column(lane % row_copies * 4),
        phi(args.phi + device::i64{row} * Spec::columns + column),
        gamma(args.gamma + column),
        first(Plan::phi(device::shared_base(), warp)) {}

  MHCJIT_DEVICE void copy_unit() {
    const typename Plan::Unit from(rank, warp, unit);
    const bool exists = Plan::has_column(from.column + column);
    const int offset = from.stream * Spec::d + from.column;
    const device::SharedAddress to = first + ring.index * Plan::stage_bytes;
#pragma unroll
    for (int i = 0; i < (all_rows + rows_at_once - 1) / rows_at_once; ++i) {
      const int row_now = row + i * rows_at_once;
      const bool is_gamma = Spec::has_gamma && row_now == Spec::rows;
      if ((i + 1) * rows_at_once <= all_rows || row_now < all_rows)
        device::copy_async_or_zeros<16>(to + Plan::in_wide_rows(row_now, column),
                                        (is_gamma ? gamma : phi + i * rows_at_once * Spec::columns) + offset, exists);
    }
    ++unit;
    ring.advance();
  }
};

template <class Spec>
MHCJIT_DEVICE void copy_x(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args, int warp, int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  using Element = typename Spec::Element;
  constexpr int row_copies = Plan::x_row_bytes / Plan::x_piece_bytes;
  constexpr int tokens_at_once = device::warp_size / row_copies;
  const int column = lane % row_copies * (Plan::x_piece_bytes / static_cast<int>(sizeof(Element)));
  const auto* x = static_cast<const Element*>(args.x) + plan.first_token * Spec::columns + column;
#pragma unroll 2
  for (int i = 0; i < Plan::warp_units; ++i) {
    const typename Plan::Unit from(plan.rank, warp, i);
#pragma unroll
    for (int first = 0; first < Plan::tokens; first += tokens_at_once) {
      const int token = first + lane / row_copies;
      if (token < plan.live)
        device::copy_async_or_zeros<Plan::x_piece_bytes>(
            plan.x(warp * Plan::warp_units + i) + Plan::in_x_rows(token, column),
            x + device::i64{token} * Spec::columns + from.stream * Spec::d + from.column,
            Plan::has_column(from.column + column));
    }
  }
}

// Copies x, so that products begin while the phi of the units after the first is in flight.
template <class Spec>
MHCJIT_DEVICE void copy_others(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args,
                               FewTokensPhi<Spec>& copies, int warp, int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  // The previous kernel may write everything but phi, gamma, alpha and bias. All outputs depend on x.
  device::wait_for_previous_kernel();
  copy_x(plan, args, warp, lane);
  device::copy_commit();
#pragma unroll 1
  for (int unit = 1; unit < Plan::stages; ++unit) {
    copies.copy_unit();
    device::copy_commit();
  }
}

// phi * gamma of a chunk's columns as A operands of the tensor cores: the high terms' blocks, then the low terms', two
// blocks to an operand.
template <class Spec>
struct FewTokensOperands {
  using Plan = PreForwardFewTokens<Spec>;
  static constexpr int blocks = Plan::row_blocks;
  // A lane loads so many of its four columns of the operand side by side: two, or all if the sum over the columns has
  // no order.
  static constexpr int size = Spec::as_one_pass ? 2 : 4;

  device::u32 words[2 * blocks][2];

  // All loads come before the products. Rows that do not exist are garbage, from which no output is made.
  MHCJIT_DEVICE FewTokensOperands(device::SharedAddress phi, int chunk, int lane) {
    float rows[blocks][4];
    float gamma[4];
#pragma unroll
    for (int block = 0; block < blocks; ++block) load(rows[block], phi, block * 8 + lane / 4, chunk, lane);
    if constexpr (Spec::has_gamma) load(gamma, phi, Spec::rows, chunk, lane);
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
      if constexpr (Spec::has_gamma) {
#pragma unroll
        for (int e = 0; e < 4; ++e) rows[block][e] *= gamma[e];
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const TwoTerms terms = two_terms<device::bf16>(rows[block][2 * half], rows[block][2 * half + 1]);
        words[block][half] = terms.high;
        words[blocks + block][half] = terms.low;
      }
    }
  }

  static MHCJIT_DEVICE bool has_high_terms(int tile) { return 2 * tile < blocks; }
  MHCJIT_DEVICE device::Vector<device::u32, 4> operand(int tile) const {
    return {{words[2 * tile][0], words[2 * tile + 1][0], words[2 * tile][1], words[2 * tile + 1][1]}};
  }

 private:
  static MHCJIT_DEVICE void load(float (&values)[4], device::SharedAddress phi, int row, int chunk, int lane) {
    const int column = chunk * Plan::chunk_columns + lane % 4 * size;
    if constexpr (size == 4) {
      const auto four = device::load_shared_4(phi + Plan::in_wide_rows(row, column));
#pragma unroll
      for (int e = 0; e < 4; ++e) values[e] = four[e];
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const auto two = device::load_shared_2(phi + Plan::in_wide_rows(row, column + half * 8));
        values[2 * half] = two[0];
        values[2 * half + 1] = two[1];
      }
    }
  }
};

// Products and squares of a unit of `groups` times eight tokens, the columns of B operands. A sum over columns has no
// order here, so that a lane takes four consecutive columns for the four of the operand's layout.
template <int groups, class Spec>
struct FewTokensSums {
  using Plan = PreForwardFewTokens<Spec>;
  using Element = typename Spec::Element;
  using Term = device::bf16;
  using Terms = ColumnTerms<Element>;
  using Operands = FewTokensOperands<Spec>;

  float products[Plan::row_blocks][groups][4] = {};
  float squares[groups] = {};

  MHCJIT_DEVICE void add_unit(device::SharedAddress phi_from, device::SharedAddress x_from, int lane) {
#pragma unroll 2
    for (int chunk = 0; chunk < Plan::unit_chunks; ++chunk) {
      device::Vector<float, 4> x[groups];
#pragma unroll
      for (int group = 0; group < groups; ++group)
        x[group] = load_columns<Element>(
            x_from + Plan::in_x_rows(group * 8 + lane / 4, chunk * Plan::chunk_columns + lane % 4 * 4));
      const Operands phi(phi_from, chunk, lane);
#pragma unroll
      for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int e = 0; e < 4; ++e) squares[group] = device::fma(x[group][e], x[group][e], squares[group]);
        const Terms terms(x[group]);
#pragma unroll
        for (int tile = 0; tile < Plan::row_blocks; ++tile) {
          // x's low terms meet only phi's high ones: products of two low terms are below the sums' precision.
          const int count = Operands::has_high_terms(tile) ? Terms::count : 1;
#pragma unroll
          for (int term = 0; term < count; ++term)
            device::multiply_add<Term>(products[tile][group], phi.operand(tile), terms.words[term][0],
                                       terms.words[term][1]);
        }
      }
    }
  }
  // Every lane calls this; lanes of is_holder() have the square of token lane / 4 of the group.
  MHCJIT_DEVICE float square(int, int group) const {
    const float sum = squares[group] + device::shuffle_xor(squares[group], 1);
    return sum + device::shuffle_xor(sum, 2);
  }
  static MHCJIT_DEVICE bool is_holder(int lane) { return lane % 4 == 0; }
};

// The same sums in the order of one_pass.cuh: x is loaded and squared as there.
template <int groups, class Spec>
struct OnePassSums {
  using Plan = PreForwardFewTokens<Spec>;
  using X = XLoad<typename Spec::Element, groups, groups, Plan::x_row_bytes>;
  static_assert(Plan::unit_chunks % X::steps == 0);

  float products[Plan::row_blocks][groups][4] = {};
  typename X::Squares squares;

  MHCJIT_DEVICE void add_unit(device::SharedAddress phi_from, device::SharedAddress x_from, int lane) {
#pragma unroll 1
    for (int first = 0; first < Plan::unit_chunks; first += X::steps) {
      X x;
      x.read(x_from + Plan::in_x_rows(X::row(lane, 0), (2 * first + X::chunk(lane)) * 8), 0);
#pragma unroll
      for (int part = 0; part < X::steps; ++part) {
        const FewTokensOperands<Spec> phi(phi_from, first + part, lane);
#pragma unroll
        for (int tile = 0; tile < Plan::row_blocks; ++tile) {
#pragma unroll
          for (int group = 0; group < groups; ++group)
            device::multiply_add<device::bf16>(products[tile][group], phi.operand(tile), x.operand(part, group, 0, 0),
                                               x.operand(part, group, 0, 1));
        }
        squares.add(x, part);
      }
    }
  }
  MHCJIT_DEVICE float square(int lane, int group) const { return squares.sum(lane, group); }
  static MHCJIT_DEVICE bool is_holder(int lane) { return X::Squares::is_holder(lane); }
};
template <int groups, class Spec, bool as_one_pass>
struct SumsOf {
  using Type = FewTokensSums<groups, Spec>;
};
template <int groups, class Spec>
struct SumsOf<groups, Spec, true> {
  using Type = OnePassSums<groups, Spec>;
};

template <int groups, class Spec>
MHCJIT_DEVICE void multiply_few_tokens(const PreForwardFewTokens<Spec>& plan, FewTokensPhi<Spec>& copies, int warp,
                                       int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  using Sums = typename SumsOf<groups, Spec, Spec::as_one_pass>::Type;
  constexpr int blocks = Plan::row_blocks;
  Sums sums;
  RingPosition<Plan::stages> ring;
#pragma unroll 1
  for (int unit = 0; unit < Plan::warp_units; ++unit) {
    device::copy_wait<Plan::stages - 1>();
    device::warp_barrier();
    sums.add_unit(Plan::phi(plan.base, warp) + ring.index * Plan::stage_bytes, plan.x(warp * Plan::warp_units + unit),
                  lane);
    if constexpr (Plan::stages < Plan::warp_units) {
      device::warp_barrier();
      if (unit + Plan::stages < Plan::warp_units) copies.copy_unit();
    }
    device::copy_commit();
    ring.advance();
  }

#pragma unroll
  for (int group = 0; group < groups; ++group) {
    const float square = sums.square(lane, group);
    if (Sums::is_holder(lane))
      device::store_shared(plan.partials(warp, group * 8 + lane / 4) + Plan::squares_index * 4, square);
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
      const int low = blocks + block;
#pragma unroll
      for (int e = 0; e < 2; ++e)
        device::store_shared(
            plan.partials(warp, group * 8 + lane % 4 * 2 + e) + (block * 8 + lane / 4) * 4,
            sums.products[block / 2][group][block % 2 * 2 + e] + sums.products[low / 2][group][low % 2 * 2 + e]);
    }
  }
}

// Four sums of a token, which four threads add up from the warps' partial sums and send to the blocks that need them.
template <class Spec>
struct FewTokensItem {
  using Plan = PreForwardFewTokens<Spec>;
  static constexpr int helpers = 4;
  // A thread adds up every `step`-th of the warps' sums.
  static constexpr int step = Spec::as_one_pass ? 1 : helpers;
  static constexpr int at_once = Plan::threads / helpers;
  static constexpr int every_block = Plan::cluster_size;  // as the receiver
  static constexpr int nobody = -1;

  device::SharedAddress from;  // of the first warp whose sums the thread adds up
  device::SharedAddress to;
  int receiver;

  MHCJIT_DEVICE FewTokensItem(const Plan& plan, int number, int helper) {
    const bool exists = number < plan.live * Plan::sum_chunks;
    const int token = exists ? number / Plan::sum_chunks : 0;
    const int chunk = exists ? number % Plan::sum_chunks : 0;
    // opaque() has the addresses computed here, before the caller waits.
    from = device::opaque(plan.partials(Spec::as_one_pass ? 0 : helper, token) + chunk * 16);
    to = device::opaque(plan.sums(token, plan.rank, chunk));
    const int needed_by = Plan::is_common(chunk) ? every_block : token % Plan::cluster_size;
    receiver = static_cast<int>(device::opaque(static_cast<device::u32>(exists ? needed_by : nobody)));
  }
};

// `item` is the thread's first one.
template <class Spec>
MHCJIT_DEVICE void send_few_tokens(const PreForwardFewTokens<Spec>& plan, FewTokensItem<Spec> item, int thread) {
  using Plan = PreForwardFewTokens<Spec>;
  using Item = FewTokensItem<Spec>;
  constexpr int helpers = Item::helpers;
  const int helper = thread % helpers;
  const int items = plan.live * Plan::sum_chunks;
#pragma unroll 1
  for (int first = 0; first < items; first += Item::at_once) {
    if (first > 0) item = Item(plan, first + thread / helpers, helper);
    float sum[4] = {};
#pragma unroll
    for (int other = 0; other < Plan::gemm_warps; other += Item::step) {
      if (!Spec::as_one_pass && other + helper >= Plan::gemm_warps) continue;
      const auto values = device::load_shared_4(item.from + other * Plan::warp_partials_bytes);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[e] += values[e];
    }
    device::Vector<float, 4> total;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      total[e] = sum[e];
      if constexpr (!Spec::as_one_pass) {
        total[e] += device::shuffle_xor(total[e], 1);
        total[e] += device::shuffle_xor(total[e], 2);
      }
    }
#pragma unroll
    for (int other = 0; other < Plan::cluster_size; other += helpers) {
      const int block = other + helper;
      if (block >= Plan::cluster_size || !(item.receiver == Item::every_block || block == item.receiver)) continue;
      device::send(device::in_block(item.to, block), total, device::in_block(plan.sums_received(), block));
    }
  }
}

// h_pre of all tokens, for this block's share of h_in.
template <class Spec>
MHCJIT_DEVICE void make_h_pre(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args,
                              const RowScales& scales, int warp, int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  constexpr int helpers = Plan::pre_helpers;
  const int helper = lane % helpers;
  const int place = lane / helpers / Plan::common_chunks;
  const int part = lane / helpers % Plan::common_chunks;
  device::barrier_wait_cluster(plan.sums_received(), 0);
#pragma unroll 1
  for (int first = warp * Plan::tokens_of_pre_warp; first < plan.live;
       first += Plan::pre_warps * Plan::tokens_of_pre_warp) {
    const int token = first + place;
    const bool works = place < Plan::tokens_of_pre_warp && token < plan.live;
    float sum[4] = {};
#pragma unroll
    for (int block = 0; block < Plan::cluster_size; block += helpers) {
      if (!works || block + helper >= Plan::cluster_size) continue;
      const auto values = device::load_shared_4(plan.common_sums(token, block + helper, part));
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[e] += values[e];
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if constexpr (helpers > 1) sum[e] += device::shuffle_xor(sum[e], 1);
      if constexpr (helpers > 2) sum[e] += device::shuffle_xor(sum[e], 2);
    }
    const float squares =
        device::shuffle(sum[0], ((works ? place : 0) * Plan::common_chunks + Plan::pre_chunks) * helpers);
    const float inv_rms = inverse_rms<Spec>(squares, args.norm_eps);
    device::Vector<float, 4> h;
#pragma unroll
    for (int e = 0; e < 4; ++e) h[e] = coefficient<Spec>(args, 0, sum[e] * inv_rms, scales.alpha[e], scales.bias[e]);
    if (works && helper == 0 && part < Plan::pre_chunks) device::store_shared_4(plan.h(token) + part * 16, h);
  }
  // Every lane waits, not one for the warp, so that a race checker can follow who waited for whom.
  device::barrier_arrive(plan.h_ready());
}

// Makes h_in of the warp's columns. The first x that it needs is in registers before h_pre comes.
template <int groups, class Spec>
MHCJIT_DEVICE void apply_few_tokens(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args, int warp,
                                    int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  using Element = typename Spec::Element;
  // Two chunks of 16-bit x or one of fp32 are worth their registers.
  constexpr int wanted_chunks = 4 / static_cast<int>(sizeof(Element));
  constexpr int slice_chunks = Plan::slice / Plan::chunk_columns;
  constexpr int warp_chunks = (slice_chunks + Plan::gemm_warps - 1) / Plan::gemm_warps;
  constexpr int chunks = wanted_chunks < warp_chunks ? wanted_chunks : warp_chunks;
  // Every warp then has all of its chunks.
  constexpr bool is_even = slice_chunks % Plan::gemm_warps == 0 && warp_chunks % chunks == 0;
#pragma unroll 1
  for (int first = 0; first < warp_chunks; first += chunks) {
    const auto chunk_of = [&](int chunk) { return warp * warp_chunks + first + chunk; };
    const auto exists = [&](int chunk) {
      return is_even || (first + chunk < warp_chunks && chunk_of(chunk) < slice_chunks);
    };
    const auto token_of = [&](int group) { return group * 8 + lane / 4; };
    device::Vector<float, 4> x[chunks][groups][Spec::n];
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int number = exists(chunk) ? chunk_of(chunk) : 0;
      const int column = number % Plan::unit_chunks * Plan::chunk_columns + lane % 4 * 4;
#pragma unroll
      for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int stream = 0; stream < Spec::n; ++stream)
          x[chunk][group][stream] =
              load_columns<Element>(plan.x(Plan::unit_of(stream, number)) + Plan::in_x_rows(token_of(group), column));
      }
    }
    device::barrier_wait(plan.h_ready(), 0);
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int column = plan.rank * Plan::slice + chunk_of(chunk) * Plan::chunk_columns + lane % 4 * 4;
#pragma unroll
      for (int group = 0; group < groups; ++group) {
        const int token = token_of(group);
        float sums[4] = {};
#pragma unroll
        for (int part = 0; part < Plan::pre_chunks; ++part) {
          const auto h = device::load_shared_4(plan.h(token) + part * 16);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int stream = part * 4 + i;
            if (stream >= Spec::n) continue;
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[e] = device::fma(h[i], x[chunk][group][stream][e], sums[e]);
          }
        }
        device::Vector<Element, 4> rounded;
#pragma unroll
        for (int e = 0; e < 4; ++e) rounded[e] = device::from_float<Element>(sums[e]);
        if (token < plan.live && exists(chunk) && Plan::has_column(column))
          device::store(static_cast<Element*>(args.h_in) + (plan.first_token + token) * Spec::d + column, rounded);
      }
    }
  }
}

// Makes the coefficients of the tokens that this block owns. A lane of the finaliser has four consecutive sums of a
// token.
template <class Spec>
MHCJIT_DEVICE void finalise_few_tokens(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args,
                                       const RowScales& scales, int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  const int place = lane / Plan::sum_chunks;
  const int chunk = lane % Plan::sum_chunks;
  const int first_row = chunk * 4;
  device::barrier_wait_cluster(plan.sums_received(), 0);
#pragma unroll 1
  for (int first = 0; first < plan.owned(); first += Plan::tokens_at_once) {
    const int mine = first + place;
    const int token = mine * Plan::cluster_size + plan.rank;
    const bool works = place < Plan::tokens_at_once && mine < plan.owned();
    float sum[4] = {};
    if (works)
      add_blocks<Plan::cluster_size, Plan::cluster_size>(sum, plan.sums(token, 0, chunk), Plan::sums_stride(chunk));
    const float squares = device::shuffle(sum[0], (works ? place : 0) * Plan::sum_chunks + Plan::sum_chunks - 1);
    const float inv_rms = inverse_rms<Spec>(squares, args.norm_eps);
    float value[4];
#pragma unroll
    for (int e = 0; e < 4; ++e)
      value[e] = coefficient<Spec>(args, first_row + e, sum[e] * inv_rms, scales.alpha[e], scales.bias[e]);
    if (works) {
      const device::i64 t = plan.first_token + token;
      if (first_row == Plan::squares_index && args.inv_rms != nullptr) args.inv_rms[t] = inv_rms;
      store_coefficients<Spec>(args, t, first_row, sum, value);
    }
  }
}

template <class Spec>
MHCJIT_DEVICE void pre_forward_few_tokens(const PreForwardArgs& args) {
  using Plan = PreForwardFewTokens<Spec>;
  // Unsigned: the compiler then knows that none is negative.
  const auto thread = static_cast<device::u32>(device::thread_index());
  const int warp = static_cast<int>(thread / device::warp_size);
  const int lane = static_cast<int>(thread % device::warp_size);
  const bool is_finaliser = warp == Plan::gemm_warps;
  device::let_next_kernel_begin();

  // phi comes before everything else, since nothing takes longer.
  FewTokensPhi<Spec> copies(args, warp, lane);
  if (!is_finaliser) {
    copies.copy_unit();
    device::copy_commit();
  }
  const Plan plan(args.tokens);
  if (thread == Plan::gemm_threads) plan.init_barriers();
  // A block is sent nothing before it has initialised its barriers. It exits only when it has received all that the
  // others send, so that no block sends to one that has exited.
  device::cluster_arrive();

  if (!is_finaliser) copy_others(plan, args, copies, warp, lane);
  // The scales come from device memory. They are needed only when the sums have crossed the cluster.
  const RowScales scales = RowScales::of<Spec>(
      args, (is_finaliser ? lane % Plan::sum_chunks : lane / Plan::pre_helpers % Plan::common_chunks) * 4);
  using Item = FewTokensItem<Spec>;
  const Item item(plan, device::thread_index() / Item::helpers, device::thread_index() % Item::helpers);
  device::cluster_wait();
  if (!is_finaliser) {
    if (plan.live <= 8)
      multiply_few_tokens<1>(plan, copies, warp, lane);
    else
      multiply_few_tokens<2>(plan, copies, warp, lane);
  }
  device::block_barrier();
  send_few_tokens(plan, item, device::thread_index());
  if (is_finaliser) {
    finalise_few_tokens(plan, args, scales, lane);
    return;
  }
  if (warp < Plan::pre_warps) make_h_pre(plan, args, scales, warp, lane);
  if (plan.live <= 8)
    apply_few_tokens<1>(plan, args, warp, lane);
  else
    apply_few_tokens<2>(plan, args, warp, lane);
}
