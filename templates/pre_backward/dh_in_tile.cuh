// A tile of dh_in in shared memory. A warp loads its columns in the layout in which the tensor cores leave dx's.
#pragma once

#include <pre_backward/args.cuh>
#include <pre_backward/dx_warp.cuh>
#include <pre_backward/x_tile.cuh>

template <class Spec, bool is_aligned = XTile<Spec>::is_aligned>
class DhInTile;

// dh_in is copied as a stream of x is, by the warps of the block's first stream.
template <class Spec>
class DhInTile<Spec, true> {
  using Element = typename Spec::Element;
  using X = XTile<Spec>;

 public:
  using Fragment = XFragment<Element, X::row_bytes>;
  static constexpr int bytes = X::bytes;

  MHCJIT_DEVICE DhInTile(const PreBackwardArgs& args, const DxWarp<Spec>& warp)
      : lane_from_(static_cast<const Element*>(args.dh_in) + X::first_token() * device::i64{Spec::d} + warp.d +
                   X::first_column()),
        place_(warp.part * X::columns * X::element_bytes),
        copies_(warp.stream_of_block == 0),
        columns_(args.dh_in != nullptr ? warp.columns.end - X::first_column() : 0) {}

  // Starts the thread's copies of a tile. `first_token` counts in the phase; `tokens` of the tile exist.
  MHCJIT_DEVICE void copy_in(device::SharedAddress to, device::i64 first_token, int tokens) const {
    if (copies_)
      X::copy_in(to + place_ + X::first_place(), lane_from_ + first_token * Spec::d, Spec::d,
                 {tokens - X::first_token(), 0, columns_});
  }
  MHCJIT_DEVICE Fragment load(device::SharedAddress tile, int number) const {
    Fragment fragment;
    fragment.load(tile + place_, number);
    return fragment;
  }

 private:
  const Element* lane_from_;
  device::SharedAddress place_;
  bool copies_;
  int columns_;
};

// Rows of dh_in begin elsewhere than those of x do, and the columns of all warps lie in them. The block therefore
// copies whole parts, and a lane reads element by element.
template <class Spec>
class DhInTile<Spec, false> {
  using Element = typename Spec::Element;
  using X = XTile<Spec>;
  static constexpr int part_elements = X::part_elements;
  // The columns of a stream begin up to `before` columns before the block's. The first part may begin earlier still.
  static constexpr int before = DxWarp<Spec>::most_shift;
  static constexpr int parts = (DxWarp<Spec>::block_columns + before + 2 * (part_elements - 1)) / part_elements;
  static constexpr int row_bytes = parts * 16;
  static_assert(parts % 2 == 1, "eight rows begin in different banks");
  static constexpr int tile_parts = X::tokens * parts;
  static constexpr int stride = X::phases * Spec::d;

 public:
  struct Fragment {
    float values[4][2];
    MHCJIT_DEVICE float value(int pair, int e) const { return values[pair][e]; }
  };
  static constexpr int bytes = X::tokens * row_bytes;

  MHCJIT_DEVICE DhInTile(const PreBackwardArgs& args, const DxWarp<Spec>& warp)
      : dh_in_(static_cast<const Element*>(args.dh_in)),
        first_(device::i64{warp.phase} * Spec::d + warp.block_d - before),
        first_column_(warp.block_d - before) {
    const int lane = device::thread_index() % device::warp_size;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int token = lane % 4 * 2 + e;
      const int column = warp.d - first_column_ + lane / 4 + in_part(token);
      places_[e] = token * row_bytes + column * X::element_bytes;
    }
  }

  MHCJIT_DEVICE void copy_in(device::SharedAddress to, device::i64 first_token, int tokens) const {
#pragma unroll
    for (int first = 0; first < tile_parts; first += Spec::threads_per_block) {
      const int number = first + device::thread_index();
      if (first + Spec::threads_per_block > tile_parts && number >= tile_parts) break;
      const int token = number / parts;
      const int part = number % parts * part_elements - in_part(token);
      const int column = first_column_ + part;
      const bool exists = dh_in_ != nullptr && column > -part_elements;
      const typename X::Extent extent = {exists ? tokens : 0, 0, Spec::d};
      device::copy_async_first<16>(to + token * row_bytes + number % parts * 16,
                                   dh_in_ + first_ + (first_token + token) * stride + part,
                                   extent.bytes(token, column));
    }
  }
  MHCJIT_DEVICE Fragment load(device::SharedAddress tile, int number) const {
    Fragment fragment;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
#pragma unroll
      for (int e = 0; e < 2; ++e)
        fragment.values[pair][e] = load_element(tile + places_[e] + pair / 2 * 8 * row_bytes +
                                                (number * 16 + pair % 2 * 8) * X::element_bytes);
    }
    return fragment;
  }

 private:
  // The result is the same in each tile, and in both halves of a tile.
  MHCJIT_DEVICE int in_part(int token) const {
    return X::behind_multiple(part_elements, dh_in_, first_ + device::i64{token} * stride);
  }
  static MHCJIT_DEVICE float load_element(device::SharedAddress address) {
    if constexpr (X::element_bytes == 2)
      return device::to_float(Element{device::load_shared_half(address)});
    else
      return device::load_shared(address);
  }

  const Element* dh_in_;
  device::i64 first_;  // number of the phase's first token's element
  int first_column_;
  device::SharedAddress places_[2];  // the lane's elements of tokens 2q and 2q + 1
};
