// pre_forward, third kernel, where the second is not launched as clusters: the coefficients of each token, and the
// collapsed streams (pre_forward/collapse.cuh).
//
// Grid:   x = tiles of threads_per_block / threads_per_token tokens.
// Block:  threads_per_token threads work on one token. Their first loads of x are under way before the sums are there.
// Shared: for each of the block's tokens, what pre_forward/collapse.cuh needs.
#pragma once

#include <pre_forward/collapse.cuh>

template <class Spec>
struct PreForwardApply {
  static constexpr int tokens_per_block = Spec::threads_per_block / Spec::threads_per_token;
  using TokenCoefficients = Coefficients<Spec, 1, 4>;
  static constexpr int shared_floats = tokens_per_block * TokenCoefficients::token_floats;
  // As many narrow loads as bring what one of 16 bytes does, as far as there are registers for them to wait in.
  static constexpr int wanted_depth = 16 / (Spec::vec_size * static_cast<int>(sizeof(typename Spec::Element)));
  static constexpr int most_depth = 32 / Spec::n;
  static constexpr int depth = wanted_depth < most_depth ? wanted_depth : most_depth;
};

template <class Spec>
MHCJIT_DEVICE void pre_forward_apply(const PreForwardArgs& args, const TwoPassWork& work) {
  constexpr int most_tokens = PreForwardApply<Spec>::tokens_per_block;
  const device::i64 first = device::block_index_x() * most_tokens;
  const device::i64 left = args.tokens - first;
  const BlockTokens tokens = {first, left < most_tokens ? static_cast<int>(left) : most_tokens};

  Collapse<Spec, PreForwardApply<Spec>::depth> collapse(args, tokens);
  device::wait_for_previous_kernel();
  PreForwardApply<Spec>::TokenCoefficients::make(
      args, work, tokens, device::shared_floats(), Spec::k_splits, [] { device::block_barrier(); },
      [&](int i, int split, int row) {
        return work.partial_sums[((first + i) * Spec::k_splits + split) * (Spec::rows + 1) + row];
      });
  collapse.make_h_in(device::shared_floats());
}
