// pre_forward's last step in the kernel that multiplies: the blocks that share a tile of tokens are a cluster, and each
// applies a share of the tokens, with what all of them have summed up.
//
// Shared: partial sums (pre_forward/partial_sums.cuh) | for each of the block's tokens, what pre_forward/collapse.cuh
// needs.
#pragma once

#include <device/async.cuh>
#include <pre_forward/collapse.cuh>
#include <pre_forward/partial_sums.cuh>

template <class Spec>
struct ApplyInCluster {
  using Partials = PartialSums<Spec>;
  // For the narrowest cluster, whose blocks have the most tokens.
  static constexpr int most_tokens = (Partials::tokens + Partials::fewest_blocks - 1) / Partials::fewest_blocks;
  // Other blocks' shared memory is far away.
  using TokenCoefficients = Coefficients<Spec, 4, 2>;
  static constexpr int shared_floats =
      Partials::in_cluster ? Partials::shared_floats + most_tokens * TokenCoefficients::token_floats : 0;
  // One block has a multiprocessor to itself, or two: few warps, each of which asks for as much as its registers hold.
  static constexpr int words = Spec::vec_size * static_cast<int>(sizeof(typename Spec::Element)) / 4;
  // Where each brings two bytes, their addresses want registers too.
  static constexpr int most_words = Spec::uses_wgmma ? 128 : words > 0 ? 64 : 48;
  static constexpr int wanted_depth = most_words / (Spec::n * (words > 0 ? words : 1));
  static constexpr int depth = wanted_depth < 1 ? 1 : wanted_depth > 8 ? 8 : wanted_depth;
};

// By the warps that multiply, which meet at `barrier`. Other warps of the block arrive and wait twice too.
template <class Spec, class Barrier>
MHCJIT_DEVICE void apply_in_cluster(const PreForwardArgs& args, const TwoPassWork& work, const Barrier& barrier) {
  using Plan = ApplyInCluster<Spec>;
  using Partials = typename Plan::Partials;
  const device::i64 tile = Partials::first_token();
  const int blocks = Partials::blocks();
  const int owned = (Partials::tokens + blocks - 1) / blocks;
  const int first = device::cluster_rank() * owned;  // in the tile
  int end = first + owned < Partials::tokens ? first + owned : Partials::tokens;
  if (args.tokens - tile < end) end = static_cast<int>(args.tokens - tile);
  const BlockTokens tokens = {tile + first, end - first};
  float* shared = device::shared_floats() + Partials::shared_floats;

  Collapse<Spec, Plan::depth> collapse(args, tokens);
  device::cluster_arrive_release();
  device::cluster_wait();
  Plan::TokenCoefficients::make(
      args, work, tokens, shared, Partials::splits(), barrier,
      [&](int i, int split, int row) { return Partials::in_block_of(split, first + i, row); });
  // The other blocks' sums have been read: all warps that use them have met at `barrier`.
  device::cluster_arrive();
  collapse.make_h_in(shared);
  device::cluster_wait();  // until the others have read what this block has
}
