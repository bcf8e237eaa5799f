// pre_forward makes the coefficients of a block's tokens from their sums, then the collapsed streams.
//
//     h_mix, inv_rms from the partial sums; h_pre, h_post, h_res from u = h_mix * inv_rms;
//     h_in[t, d] = sum_i h_pre[t, i] * x[t, i, d]
//
// Shared: for each of the block's tokens n values of h_pre, and inv_rms.
#pragma once

#include <common/packed.cuh>
#include <device/device.cuh>
#include <pre_forward/args.cuh>
#include <pre_forward/coefficients.cuh>
#include <pre_forward/packed_phi.cuh>
#include <pre_forward/two_pass_work.cuh>

// Tokens that follow upon one another.
struct BlockTokens {
  device::i64 first;
  int count;
};

// `sums_at_once` sums are made at a time, each of `parts_at_once` partial sums at a time: as many loads are under way.
template <class Spec, int sums_at_once, int parts_at_once>
struct Coefficients {
  static constexpr int n = Spec::n;
  static constexpr int token_floats = n + 1;  // in shared memory

  // By threads_per_block threads, which meet at `barrier`. partial(i, split, row): what one range of columns gives to a
  // row of the i-th token; row M has the squares.
  template <class Barrier, class Partial>
  static MHCJIT_DEVICE void make(const PreForwardArgs& args, const TwoPassWork& work, const BlockTokens& tokens,
                                 float* shared, int splits, const Barrier& barrier, const Partial& partial) {
    const int thread = device::thread_index();
    for (int i = thread; i < tokens.count; i += Spec::threads_per_block) {
      float square[1] = {};
      add_parts(work, {i}, {Spec::rows}, splits, partial, square);
      const float inv_rms = inverse_rms<Spec>(square[0], args.norm_eps);
      shared[i * token_floats + n] = inv_rms;
      if (args.inv_rms != nullptr) args.inv_rms[tokens.first + i] = inv_rms;
    }
    barrier();
    const int items = tokens.count * Spec::rows;
#pragma unroll 1
    for (int first = thread; first < items; first += sums_at_once * Spec::threads_per_block) {
      // Beyond the last item, that one.
      int token[sums_at_once];
      int row[sums_at_once];
#pragma unroll
      for (int k = 0; k < sums_at_once; ++k) {
        const int item = first + k * Spec::threads_per_block < items ? first + k * Spec::threads_per_block : items - 1;
        token[k] = item / Spec::rows;
        row[k] = item % Spec::rows;
      }
      float sum[sums_at_once] = {};
      add_parts(work, token, row, splits, partial, sum);
#pragma unroll
      for (int k = 0; k < sums_at_once; ++k) {
        if (first + k * Spec::threads_per_block >= items) break;
        const float u = sum[k] * shared[token[k] * token_floats + n];
        const float value =
            coefficient<Spec>(args, row[k], u, args.alpha[alpha_index<Spec>(row[k])], args.bias[row[k]]);
        if (row[k] < n) shared[token[k] * token_floats + row[k]] = value;
        store_coefficients<Spec, 1>(args, tokens.first + token[k], row[k], {sum[k]}, {value});
      }
    }
    barrier();
  }

 private:
  // In the order of the splits.
  template <int count, class Partial>
  static MHCJIT_DEVICE void add_parts(const TwoPassWork& work, const int (&token)[count], const int (&row)[count],
                                      int splits, const Partial& partial, float (&sum)[count]) {
#pragma unroll 1
    for (int first = 0; first < splits; first += parts_at_once) {
      float parts[count][parts_at_once];
#pragma unroll
      for (int k = 0; k < count; ++k) {
#pragma unroll
        for (int s = 0; s < parts_at_once; ++s) {
          const int split = first + s < splits ? first + s : splits - 1;
          parts[k][s] = partial(token[k], split, row[k]);
          if (Spec::scales_phi && !Spec::uses_wgmma && row[k] < Spec::rows)
            parts[k][s] *= work.phi_factors[split * PackedPhi<Spec>::tiles * 8 + row[k]];
        }
      }
#pragma unroll
      for (int k = 0; k < count; ++k) {
#pragma unroll
        for (int s = 0; s < parts_at_once; ++s)
          if (first + s < splits) sum[k] += parts[k][s];
      }
    }
  }
};

// h_in of the block's tokens: each group of threads_per_token threads works on one token at a time, so that what it
// reads of a stream lies together. x is asked for `depth` loads of every stream ahead of its use, the first by the
// constructor: before the coefficients are there.
template <class Spec, int depth>
struct Collapse {
  using Element = typename Spec::Element;
  static constexpr int n = Spec::n;
  static constexpr int groups = Spec::threads_per_block / Spec::threads_per_token;
  static constexpr int columns_at_once = Spec::threads_per_token * Spec::vec_size;
  // A warp that writes less than 16 bytes a lane begins at a sector of memory: one that two warps write, each a part of
  // it, takes several times as long as one written whole.
  static constexpr int element_bytes = static_cast<int>(sizeof(Element));
  static constexpr int sector_elements = 32 / element_bytes;
  static constexpr bool is_shifted = Spec::vec_size * element_bytes < 16;
  static constexpr int most_shift = is_shifted ? sector_elements - Spec::vec_size : 0;
  static constexpr int steps_per_token = (Spec::d + most_shift + columns_at_once - 1) / columns_at_once;

  // A step of a token's columns.
  struct Step {
    int token;
    int number = 0;

    MHCJIT_DEVICE void advance() {
      if (++number < steps_per_token) return;
      number = 0;
      token += groups;
    }
  };

  const PreForwardArgs& args;
  const BlockTokens& tokens;
  int group;
  int thread_column;
  Step asked;
  Packed<Element, Spec::vec_size> values[depth][n];

  MHCJIT_DEVICE Collapse(const PreForwardArgs& all, const BlockTokens& of)
      : args(all),
        tokens(of),
        group(device::thread_index() / Spec::threads_per_token),
        thread_column(device::thread_index() % Spec::threads_per_token * Spec::vec_size),
        asked{group} {
#pragma unroll
    for (int slot = 0; slot < depth; ++slot) ask(slot);
  }

  // `shared` is what Coefficients left.
  MHCJIT_DEVICE void make_h_in(const float* shared) {
    Step used{group};
#pragma unroll 1
    while (used.token < tokens.count) {
#pragma unroll
      for (int slot = 0; slot < depth; ++slot) {
        if (used.token >= tokens.count) break;
        const int d = column_of(used);
        const float* h_pre = shared + used.token * (n + 1);
        float sums[Spec::vec_size] = {};
#pragma unroll
        for (int stream = 0; stream < n; ++stream) {
          const float weight = h_pre[stream];
          float floats[Spec::vec_size];
          values[slot][stream].unpack(floats);
#pragma unroll
          for (int e = 0; e < Spec::vec_size; ++e) sums[e] = device::fma(weight, floats[e], sums[e]);
        }
        ask(slot);
        device::Vector<Element, Spec::vec_size> rounded;
#pragma unroll
        for (int e = 0; e < Spec::vec_size; ++e) rounded[e] = device::from_float<Element>(sums[e]);
        if (exists(d))
          device::store(static_cast<Element*>(args.h_in) + (tokens.first + used.token) * Spec::d + d, rounded);
        used.advance();
      }
    }
  }

 private:
  MHCJIT_DEVICE int column_of(const Step& step) const {
    const int d = step.number * columns_at_once + thread_column;
    if constexpr (!is_shifted) return d;
    const auto first = static_cast<device::u32>(reinterpret_cast<device::i64>(args.h_in) / element_bytes);
    const auto row = static_cast<device::u32>((tokens.first + step.token) * Spec::d);
    return d - static_cast<int>((first + row) % sector_elements);
  }
  static MHCJIT_DEVICE bool exists(int d) { return d < Spec::d && (!is_shifted || d >= 0); }

  MHCJIT_DEVICE void ask(int slot) {
    const int d = column_of(asked);
    if (asked.token < tokens.count && exists(d)) {
      const Element* x = static_cast<const Element*>(args.x) + (tokens.first + asked.token) * Spec::columns + d;
#pragma unroll
      for (int stream = 0; stream < n; ++stream) values[slot][stream].load(x + device::i64{stream} * Spec::d);
    }
    asked.advance();
  }
};
