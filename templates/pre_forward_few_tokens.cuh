// pre_forward of few tokens in one short kernel: what it costs is a launch, phi once and one exchange in a cluster.
//
//     h_mix, inv_rms, then h_pre, h_post, h_res of a token; h_in[t, d] = sum_i h_pre[i] * x[t, i, d]
//
// A cluster works on a group of up to 16 tokens, each of its blocks on a share of the columns. phi and x go straight
// from global memory into the registers that the tensor cores read: as a sum over columns has no order, each lane takes
// four consecutive columns for the four that the operand's layout gives it. x stays in the registers until h_in is made
// of it.
//
// Grid:   groups * few_cluster_size blocks; the groups share out the tokens.
// Block:  few_gemm_warps warps, each with few_chunks_per_warp times 16 columns of every stream: products with phi, sums
//         of squares, h_in. The first of them make h_pre of all tokens, the last the coefficients of the tokens that
//         the block owns.
// Shared: partial sums of the gemm warps | sums received from each block of the cluster | h_pre | two barriers.
#pragma once

#include <cluster_sums.cuh>
#include <device_async.cuh>
#include <pre_args.cuh>
#include <pre_coefficients.cuh>
#include <two_terms.cuh>

template <class Spec>
struct PreForwardFewTokens {
  static constexpr int tokens = 16;
  static constexpr int groups = tokens / 8;  // columns of B operands
  static constexpr int chunk_columns = 16;
  static constexpr int cluster_size = Spec::few_cluster_size;
  static constexpr int warps = Spec::few_gemm_warps;
  static constexpr int threads = warps * device::warp_size;
  static constexpr int block_columns = warps * Spec::few_chunks_per_warp * chunk_columns;
  static_assert(cluster_size * block_columns >= Spec::d && Spec::d % 4 == 0);

  // Sums of a token: h_mix in whole blocks of eight rows, the sum of squares, three of padding; in chunks of four.
  static constexpr int row_blocks = (Spec::rows + 7) / 8;
  static constexpr int squares_index = row_blocks * 8;
  static constexpr int sum_chunks = squares_index / 4 + 1;
  static constexpr int token_sum_bytes = sum_chunks * 16;
  static_assert(sum_chunks <= device::warp_size);
  // Every block needs the rows of h_pre and the sum of squares of every token; the others only the token's owner:
  // token m belongs to block m % cluster_size.
  static constexpr int pre_chunks = (Spec::n + 3) / 4;
  static constexpr int common_chunks = pre_chunks + 1;

  static constexpr int tokens_at_once = device::warp_size / sum_chunks;  // of a warp that makes coefficients
  static constexpr int tokens_of_pre_warp = device::warp_size / common_chunks;
  static constexpr int wanted_pre_warps = (tokens + tokens_of_pre_warp - 1) / tokens_of_pre_warp;
  static constexpr int pre_warps = wanted_pre_warps < warps ? wanted_pre_warps : warps;

  static constexpr int received_offset = warps * tokens * token_sum_bytes;
  static constexpr int h_offset = received_offset + tokens * cluster_size * token_sum_bytes;
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

  MHCJIT_DEVICE device::SharedAddress partials(int warp, int token) const {
    return base + (warp * tokens + token) * token_sum_bytes;
  }
  MHCJIT_DEVICE device::SharedAddress received(int token, int source) const {
    return base + received_offset + (token * cluster_size + source) * token_sum_bytes;
  }
  MHCJIT_DEVICE device::SharedAddress h(int token) const { return base + h_offset + token * pre_chunks * 16; }
  MHCJIT_DEVICE device::SharedAddress sums_received() const { return base + barriers_offset; }
  MHCJIT_DEVICE device::SharedAddress h_ready() const { return base + barriers_offset + 8; }
  MHCJIT_DEVICE int owned() const { return (live - rank + cluster_size - 1) / cluster_size; }

  MHCJIT_DEVICE void init_barriers() const {
    device::barrier_init(sums_received(), 1);
    device::barrier_init(h_ready(), pre_warps * device::warp_size);
    device::barrier_init_fence();
    device::barrier_arrive_expect(sums_received(),
                                  (live * common_chunks + owned() * (sum_chunks - common_chunks)) * cluster_size * 16);
  }
};

// What a gemm warp has of its tokens.
template <class Spec>
struct FewTokensWarp {
  using Plan = PreForwardFewTokens<Spec>;
  using Element = typename Spec::Element;
  using Pair = device::Vector<device::u32, 2>;  // four columns of x
  static constexpr int chunks = Spec::few_chunks_per_warp;

  Pair x[chunks][Spec::n][Plan::groups];
  float sums[Plan::row_blocks][Plan::groups][4];
  float squares[Plan::groups];

  // The lane's first column of a stream in one of the warp's chunks.
  static MHCJIT_DEVICE int column_of(const Plan& plan, int warp, int lane, int chunk) {
    return plan.rank * Plan::block_columns + (chunk * Plan::warps + warp) * Plan::chunk_columns + lane % 4 * 4;
  }
};

template <class Spec>
MHCJIT_DEVICE void multiply_few_tokens(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args, int warp,
                                       int lane, FewTokensWarp<Spec>& mine) {
  using Plan = PreForwardFewTokens<Spec>;
  using Mine = FewTokensWarp<Spec>;
  using Element = typename Spec::Element;
  constexpr int blocks = Plan::row_blocks;
  const int row = lane / 4;
  // Everything but phi, gamma, alpha and bias may be the previous kernel's.
  device::wait_for_previous_kernel();
  const auto* x = static_cast<const device::u32*>(args.x);
#pragma unroll
  for (int chunk = 0; chunk < Mine::chunks; ++chunk) {
    const int column = Mine::column_of(plan, warp, lane, chunk);
#pragma unroll
    for (int stream = 0; stream < Spec::n; ++stream) {
#pragma unroll
      for (int group = 0; group < Plan::groups; ++group) {
        const int token = group * 8 + row;
        mine.x[chunk][stream][group] = {};
        if (token < plan.live && column < Spec::d)
          mine.x[chunk][stream][group] =
              device::load<2>(x + ((plan.first_token + token) * Spec::columns + stream * Spec::d + column) / 2);
      }
    }
  }

#pragma unroll
  for (int chunk = 0; chunk < Mine::chunks; ++chunk) {
    const int column = Mine::column_of(plan, warp, lane, chunk);
    // phi * gamma of this lane's row of a block.
    const auto phi = [&](int block, int stream) {
      device::Vector<float, 4> values = {};
      if (column >= Spec::d || (Spec::rows % 8 != 0 && block * 8 + row >= Spec::rows)) return values;
      values = device::load<4>(args.phi + device::i64{block * 8 + row} * Spec::columns + stream * Spec::d + column);
      if constexpr (Spec::has_gamma) {
        const auto gamma = device::load<4>(args.gamma + stream * Spec::d + column);
#pragma unroll
        for (int e = 0; e < 4; ++e) values[e] *= gamma[e];
      }
      return values;
    };
    float scale[blocks];
    float inverse_scale[blocks];
    if constexpr (Spec::scales_phi) {
#pragma unroll
      for (int block = 0; block < blocks; ++block) {
        float largest = 0.0f;
#pragma unroll
        for (int stream = 0; stream < Spec::n; ++stream) {
          const auto values = phi(block, stream);
#pragma unroll
          for (int e = 0; e < 4; ++e) largest = larger_magnitude(largest, values[e]);
        }
        largest = larger_magnitude(largest, device::shuffle_xor(largest, 1));
        largest = larger_magnitude(largest, device::shuffle_xor(largest, 2));
        scale[block] = power_of_two_scale(largest, inverse_scale[block]);
      }
    }

    // The blocks of the high terms and then those of the low terms, two to an operand.
    float products[blocks][Plan::groups][4] = {};
#pragma unroll
    for (int stream = 0; stream < Spec::n; ++stream) {
      device::u32 words[2 * blocks][2];
#pragma unroll
      for (int block = 0; block < blocks; ++block) {
        auto values = phi(block, stream);
        if constexpr (Spec::scales_phi) {
#pragma unroll
          for (int e = 0; e < 4; ++e) values[e] *= scale[block];
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const TwoTerms terms = two_terms<Element>(values[2 * half], values[2 * half + 1]);
          words[block][half] = terms.high;
          words[blocks + block][half] = terms.low;
        }
      }
#pragma unroll
      for (int group = 0; group < Plan::groups; ++group) {
        if (group * 8 >= plan.live) continue;
        const auto pair = mine.x[chunk][stream][group];
#pragma unroll
        for (int tile = 0; tile < blocks; ++tile)
          device::multiply_add<Element>(
              products[tile][group],
              {{words[2 * tile][0], words[2 * tile + 1][0], words[2 * tile][1], words[2 * tile + 1][1]}}, pair[0],
              pair[1]);
      }
    }
#pragma unroll
    for (int group = 0; group < Plan::groups; ++group) {
#pragma unroll
      for (int stacked = 0; stacked < 2 * blocks; ++stacked) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float product = products[stacked / 2][group][stacked % 2 * 2 + e];
          const int block = stacked % blocks;
          float& sum = mine.sums[block][group][e];
          const float before = chunk == 0 && stacked < blocks ? 0.0f : sum;
          sum = Spec::scales_phi ? device::fma(product, inverse_scale[block], before) : before + product;
        }
      }
      float square = chunk == 0 ? 0.0f : mine.squares[group];
#pragma unroll
      for (int stream = 0; stream < Spec::n; ++stream) {
#pragma unroll
        for (int word = 0; word < 2; ++word) {
          const float low = device::low_half<Element>(mine.x[chunk][stream][group][word]);
          const float high = device::high_half<Element>(mine.x[chunk][stream][group][word]);
          square = device::fma(high, high, device::fma(low, low, square));
        }
      }
      mine.squares[group] = square;
    }
  }

#pragma unroll
  for (int group = 0; group < Plan::groups; ++group) {
    float square = mine.squares[group];
    square += device::shuffle_xor(square, 1);
    square += device::shuffle_xor(square, 2);
    if (lane % 4 == 0) device::store_shared(plan.partials(warp, group * 8 + row) + Plan::squares_index * 4, square);
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 2; ++e)
        device::store_shared(plan.partials(warp, group * 8 + lane % 4 * 2 + e) + (block * 8 + row) * 4,
                             mine.sums[block][group][e]);
    }
  }
}

// Adds the warps' partial sums, four threads to four sums of a token, and sends them to the blocks that need them.
template <class Spec>
MHCJIT_DEVICE void send_few_tokens(const PreForwardFewTokens<Spec>& plan, int thread) {
  using Plan = PreForwardFewTokens<Spec>;
  constexpr int helpers = 4;
  const int part = thread % helpers;
  const int items = plan.live * Plan::sum_chunks;
#pragma unroll 1
  for (int first = 0; first < items; first += Plan::threads / helpers) {
    const int item = first + thread / helpers;
    const bool exists = item < items;
    const int token = exists ? item / Plan::sum_chunks : 0;
    const int chunk = exists ? item % Plan::sum_chunks : 0;
    float sum[4] = {};
#pragma unroll
    for (int other = 0; other < Plan::warps; other += helpers) {
      if (other + part >= Plan::warps) continue;
      const auto values = device::load_shared_4(plan.partials(other + part, token) + chunk * 16);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[e] += values[e];
    }
    device::Vector<float, 4> total;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      total[e] = sum[e] + device::shuffle_xor(sum[e], 1);
      total[e] += device::shuffle_xor(total[e], 2);
    }
    const bool is_common = chunk < Plan::pre_chunks || chunk == Plan::sum_chunks - 1;
#pragma unroll
    for (int other = 0; other < Plan::cluster_size; other += helpers) {
      const int to = other + part;
      if (!exists || to >= Plan::cluster_size || !(is_common || to == token % Plan::cluster_size)) continue;
      device::send(device::in_block(plan.received(token, plan.rank) + chunk * 16, to), total,
                   device::in_block(plan.sums_received(), to));
    }
  }
}

// h_pre of all tokens, for this block's share of h_in.
template <class Spec>
MHCJIT_DEVICE void make_h_pre(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args,
                              const RowScales& scales, int warp, int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  const int place = lane / Plan::common_chunks;
  const int part = lane % Plan::common_chunks;
  const int chunk = part < Plan::pre_chunks ? part : Plan::sum_chunks - 1;
  device::barrier_wait_cluster(plan.sums_received(), 0);
#pragma unroll 1
  for (int first = warp * Plan::tokens_of_pre_warp; first < plan.live;
       first += Plan::pre_warps * Plan::tokens_of_pre_warp) {
    const int token = first + place;
    const bool works = place < Plan::tokens_of_pre_warp && token < plan.live;
    float sum[4] = {};
    if (works) add_blocks<Plan::cluster_size>(sum, plan.received(token, 0) + chunk * 16, Plan::token_sum_bytes);
    const float squares = device::shuffle(sum[0], (works ? place : 0) * Plan::common_chunks + Plan::pre_chunks);
    const float inv_rms = inverse_rms<Spec>(squares, args.norm_eps);
    device::Vector<float, 4> h;
#pragma unroll
    for (int e = 0; e < 4; ++e)
      h[e] = coefficient<Spec>(0, sum[e] * inv_rms, scales.alpha[e], scales.bias[e], args.hc_eps);
    if (works && part < Plan::pre_chunks) device::store_shared_4(plan.h(token) + part * 16, h);
  }
  // Every lane, not one for the warp: so a checker of races can follow who waited for whom.
  device::barrier_arrive(plan.h_ready());
}

template <class Spec>
MHCJIT_DEVICE void apply_few_tokens(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args, int warp,
                                    int lane, const FewTokensWarp<Spec>& mine) {
  using Plan = PreForwardFewTokens<Spec>;
  using Mine = FewTokensWarp<Spec>;
  using Element = typename Spec::Element;
  device::barrier_wait(plan.h_ready(), 0);
#pragma unroll
  for (int group = 0; group < Plan::groups; ++group) {
    const int token = group * 8 + lane / 4;
    if (token >= plan.live) continue;
    float h[Plan::pre_chunks * 4];
#pragma unroll
    for (int part = 0; part < Plan::pre_chunks; ++part) {
      const auto four = device::load_shared_4(plan.h(token) + part * 16);
#pragma unroll
      for (int e = 0; e < 4; ++e) h[part * 4 + e] = four[e];
    }
#pragma unroll
    for (int chunk = 0; chunk < Mine::chunks; ++chunk) {
      const int column = Mine::column_of(plan, warp, lane, chunk);
      if (column >= Spec::d) continue;
      typename Mine::Pair rounded;
#pragma unroll
      for (int word = 0; word < 2; ++word) {
        float low = 0.0f;
        float high = 0.0f;
#pragma unroll
        for (int stream = 0; stream < Spec::n; ++stream) {
          const device::u32 pair = mine.x[chunk][stream][group][word];
          low = device::fma(h[stream], device::low_half<Element>(pair), low);
          high = device::fma(h[stream], device::high_half<Element>(pair), high);
        }
        rounded[word] = device::pack<Element>(low, high);
      }
      device::store(static_cast<device::u32*>(args.h_in) + ((plan.first_token + token) * Spec::d + column) / 2,
                    rounded);
    }
  }
}

// The coefficients of the tokens that this block owns: a lane has four consecutive sums of one. `number` counts the
// warps from the last.
template <class Spec>
MHCJIT_DEVICE void finalise_few_tokens(const PreForwardFewTokens<Spec>& plan, const PreForwardArgs& args,
                                       const RowScales& scales, int number, int lane) {
  using Plan = PreForwardFewTokens<Spec>;
  const int place = lane / Plan::sum_chunks;
  const int first_row = lane % Plan::sum_chunks * 4;
#pragma unroll 1
  for (int first = number * Plan::tokens_at_once; first < plan.owned(); first += Plan::warps * Plan::tokens_at_once) {
    const int mine = first + place;
    const int token = mine * Plan::cluster_size + plan.rank;
    const bool works = place < Plan::tokens_at_once && mine < plan.owned();
    float sum[4] = {};
    if (works) add_blocks<Plan::cluster_size>(sum, plan.received(token, 0) + first_row * 4, Plan::token_sum_bytes);
    const float squares = device::shuffle(sum[0], (works ? place : 0) * Plan::sum_chunks + Plan::sum_chunks - 1);
    const float inv_rms = inverse_rms<Spec>(squares, args.norm_eps);
    float value[4];
#pragma unroll
    for (int e = 0; e < 4; ++e)
      value[e] = coefficient<Spec>(first_row + e, sum[e] * inv_rms, scales.alpha[e], scales.bias[e], args.hc_eps);
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
  const Plan plan(args.tokens);
  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  if (device::thread_index() == 0) plan.init_barriers();
  // Nothing is sent to another block before it has initialised its barriers. A block ends when it has received all
  // that the others send, so that none is ever sent to when it has gone.
  device::cluster_arrive();

  // Asked for first: they come from device memory. A warp that makes h_pre asks for the others when it needs them.
  const bool makes_h_pre = warp < Plan::pre_warps;
  const int row_chunk = makes_h_pre ? lane % Plan::common_chunks : lane % Plan::sum_chunks;
  RowScales scales = RowScales::of<Spec>(args, row_chunk * 4);
  FewTokensWarp<Spec> mine;
  multiply_few_tokens(plan, args, warp, lane, mine);
  device::block_barrier();
  device::cluster_wait();
  send_few_tokens(plan, device::thread_index());
  device::let_next_kernel_begin();
  if (makes_h_pre) make_h_pre(plan, args, scales, warp, lane);
  apply_few_tokens(plan, args, warp, lane, mine);
  const int number = Plan::warps - 1 - warp;
  if (number * Plan::tokens_at_once < plan.owned()) {
    if (makes_h_pre) scales = RowScales::of<Spec>(args, lane % Plan::sum_chunks * 4);
    finalise_few_tokens(plan, args, scales, number, lane);
  }
}
