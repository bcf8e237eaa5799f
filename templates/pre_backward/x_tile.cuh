// A warp's columns of a tile of 16 tokens, of x or dx, in shared memory and as fragments of the tensor cores.
//
// In shared memory a token is a row of the columns of all warps that share a stream. A row is an odd number of 16-byte
// chunks long, so that ldmatrix reads eight of them without bank conflicts.
//
// If D is no multiple of a part, rows in memory begin anywhere, but every `phases`-th token's begin alike. A tile
// therefore has tokens of one phase, and a warp's columns begin at a sector of memory in every row of its stream. The
// first and the last part of a row then hold elements of its neighbours, which become columns that do not exist.
#pragma once

#include <common/two_terms.cuh>
#include <device/matrix.cuh>

template <class Spec>
struct XTile {
  using Element = typename Spec::Element;

  static constexpr int tokens = 16;
  static constexpr int columns = Spec::tiles_per_warp * 16;  // a warp's
  static constexpr int element_bytes = static_cast<int>(sizeof(Element));
  static constexpr int row_bytes = Spec::warps_per_stream * columns * element_bytes + 16;
  static constexpr int bytes = tokens * row_bytes;  // for all warps that share a stream

  // A lane copies this many elements of a row at a time. 2-byte elements, too small for cp.async, go in pairs.
  static constexpr int part_elements = Spec::vec_size * element_bytes >= 4 ? Spec::vec_size : 2;
  static constexpr bool is_whole = part_elements == Spec::vec_size;
  static constexpr int part_bytes = part_elements * element_bytes;

  static constexpr bool is_aligned = Spec::d % Spec::vec_size == 0;  // each row, to parts
  static_assert(is_aligned || part_bytes == 16);
  // A sector written by two warps, each a part of it, takes several times as long as one written whole.
  static constexpr int sector_elements = 32 / element_bytes;
  static constexpr int columns_multiple = Spec::columns & -Spec::columns;
  static constexpr int phases =
      is_aligned || columns_multiple >= sector_elements ? 1 : sector_elements / columns_multiple;
  static MHCJIT_DEVICE int tokens_of_phase(device::i64 tokens, int phase) {
    return static_cast<int>((tokens - phase + phases - 1) / phases);
  }
  // Returns how many elements lie between this element of the tensor and the last multiple of `multiple` in memory.
  static MHCJIT_DEVICE int behind_multiple(int multiple, const void* tensor, device::i64 element) {
    const auto first = static_cast<device::u32>(reinterpret_cast<device::i64>(tensor) / element_bytes);
    return static_cast<int>((first + static_cast<device::u32>(element)) % multiple);
  }

  // A lane's other parts lie at the same distances from its first part in every lane.
  static constexpr int row_parts = columns / part_elements;
  static constexpr int lanes_per_row = row_parts < device::warp_size ? row_parts : device::warp_size;
  static constexpr int copies_per_row = row_parts / lanes_per_row;
  static constexpr int rows_at_once = device::warp_size / lanes_per_row;
  static constexpr int copies = tokens / rows_at_once * copies_per_row;
  static_assert(lanes_per_row * rows_at_once == device::warp_size && lanes_per_row * copies_per_row == row_parts);
  static MHCJIT_DEVICE int first_token() { return device::thread_index() % device::warp_size / lanes_per_row; }
  static MHCJIT_DEVICE int first_column() { return device::thread_index() % lanes_per_row * part_elements; }
  static MHCJIT_DEVICE device::SharedAddress first_place() {
    return static_cast<device::SharedAddress>(place(first_token(), first_column()));
  }

  // The tokens and columns that exist, counted from a lane's first part. If rows are aligned, first_column is 0.
  struct Extent {
    int tokens;
    int first_column;
    int columns;
    MHCJIT_DEVICE bool contains(int token, int column) const {
      return token < tokens && column < columns && (is_aligned || column >= first_column);
    }
    MHCJIT_DEVICE bool contains_part(int token, int column) const {
      return token < tokens && column >= first_column && column + part_elements <= columns;
    }
    MHCJIT_DEVICE bool touches_part(int token, int column) const {
      return token < tokens && column + part_elements > first_column && column < columns;
    }
    // Returns the bytes of a part, up to the end of the row.
    MHCJIT_DEVICE int bytes(int token, int column) const {
      if constexpr (is_aligned) return contains(token, column) ? part_bytes : 0;
      const int elements = token < tokens ? columns - column : 0;
      return elements >= part_elements ? part_bytes : elements > 0 ? elements * element_bytes : 0;
    }
  };

  // Starts the copies of the lane's parts of a tile, with zeros where no token and no column exists. The caller commits
  // them as a group. Tokens lie `stride` elements apart; both addresses are those of the lane's first part.
  static MHCJIT_DEVICE void copy_in(device::SharedAddress to, const Element* from, int stride, const Extent& extent) {
#pragma unroll
    for (int i = 0; i < copies && is_whole; ++i)
      device::copy_async_first<part_bytes>(to + place(token_of(i), column_of(i)), part_of(from, stride, i),
                                           extent.bytes(token_of(i), column_of(i)));
    if constexpr (!is_whole) copy_pairs_in(to, from, stride, extent);
  }

  // Copies the same of a tensor that other warps may be writing: it reads only elements that exist.
  static MHCJIT_DEVICE void copy_own_in(device::SharedAddress to, const Element* from, int stride,
                                        const Extent& extent) {
    if constexpr (is_aligned) {
      copy_in(to, from, stride, extent);
    } else {
#pragma unroll
      for (int i = 0; i < copies; ++i) {
        const Element* source = part_of(from, stride, i);
        const device::SharedAddress target = to + place(token_of(i), column_of(i));
        if (begins_part(source) && extent.contains_part(token_of(i), column_of(i))) {
          device::copy_async<part_bytes>(target, source);
          continue;
        }
#pragma unroll 1
        for (int e = 0; e < part_elements; e += 2)
          device::store_shared(target + e * element_bytes, pair_of(source + e, extent, token_of(i), column_of(i) + e));
      }
    }
  }

  static MHCJIT_DEVICE void copy_out(Element* to, int stride, const Extent& extent, device::SharedAddress from) {
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      const int token = token_of(i);
      const int column = column_of(i);
      const device::SharedAddress source = from + place(token, column);
      Element* target = to + device::i64{token} * stride + column;
      if constexpr (!is_whole) {
        store_pair(target, extent, token, column, device::float_bits(device::load_shared(source)));
      } else if constexpr (is_aligned) {
        if (extent.contains(token, column)) store_part(target, source);
      } else {
        const auto words = device::load_shared_words<4>(source);
        if (begins_part(target) && extent.contains_part(token, column)) {
          device::store_words(target, words);
        } else if (extent.touches_part(token, column)) {
#pragma unroll
          for (int e = 0; e < part_elements; e += 2) store_pair(target + e, extent, token, column + e, words[e / 2]);
        }
      }
    }
  }

 private:
  // token_of and column_of lead from a lane's first part to part i.
  static constexpr MHCJIT_DEVICE int token_of(int i) { return i / copies_per_row * rows_at_once; }
  static constexpr MHCJIT_DEVICE int column_of(int i) { return i % copies_per_row * lanes_per_row * part_elements; }
  static constexpr MHCJIT_DEVICE int place(int token, int column) { return token * row_bytes + column * element_bytes; }
  static MHCJIT_DEVICE bool begins_part(const Element* address) {
    return behind_multiple(part_elements, address, 0) == 0;
  }
  static MHCJIT_DEVICE const Element* part_of(const Element* first, int stride, int i) {
    return first + device::i64{token_of(i)} * stride + column_of(i);
  }

  // Pairs go through registers, where they wait for each other no more than they must.
  static MHCJIT_DEVICE void copy_pairs_in(device::SharedAddress to, const Element* from, int stride,
                                          const Extent& extent) {
    device::u32 pairs[copies];
#pragma unroll
    for (int i = 0; i < copies; ++i) pairs[i] = pair_of(part_of(from, stride, i), extent, token_of(i), column_of(i));
#pragma unroll
    for (int i = 0; i < copies; ++i) device::store_shared(to + place(token_of(i), column_of(i)), pairs[i]);
  }
  static MHCJIT_DEVICE device::u32 pair_of(const Element* elements, const Extent& extent, int token, int column) {
    device::u32 pair = 0;
#pragma unroll
    for (int e = 0; e < 2; ++e)
      if (extent.contains(token, column + e)) pair |= device::u32{bits_of(elements + e)} << e * 16;
    return pair;
  }
  static MHCJIT_DEVICE void store_pair(Element* elements, const Extent& extent, int token, int column,
                                       device::u32 pair) {
    if (extent.contains(token, column)) store_bits(elements, static_cast<device::u16>(pair & 0xffffu));
    if (extent.contains(token, column + 1)) store_bits(elements + 1, static_cast<device::u16>(pair >> 16));
  }
  static MHCJIT_DEVICE void store_part(Element* to, device::SharedAddress from) {
    if constexpr (part_bytes == 16)
      device::store_words(to, device::load_shared_words<4>(from));
    else if constexpr (part_bytes == 8)
      device::store(reinterpret_cast<float*>(to), device::load_shared_2(from));
    else
      device::store(reinterpret_cast<float*>(to), device::Vector<float, 1>{{device::load_shared(from)}});
  }
  static MHCJIT_DEVICE device::u16 bits_of(const Element* element) {
    return device::load<1>(reinterpret_cast<const device::u16*>(element))[0];
  }
  static MHCJIT_DEVICE void store_bits(Element* element, device::u16 bits) {
    device::store(reinterpret_cast<device::u16*>(element), device::Vector<device::u16, 1>{{bits}});
  }
};

// Sixteen columns of a tile, the `number`-th of the warp's. With g = lane / 4 and q = lane % 4 a lane holds in pair w
// tokens 2q, 2q + 1 of column g; w = 1 and 3 is column g + 8, w = 2 and 3 tokens 2q + 8, 2q + 9. Operand A of x^T has
// this layout, and so have the tensor cores' sums of dx^T.
template <class Element, int row_bytes>
struct XFragment {
  device::Vector<device::u32, 4> words;

  MHCJIT_DEVICE void load(device::SharedAddress tile, int number) {
    words = device::load_matrices_transposed(address(tile, number));
  }
  MHCJIT_DEVICE float value(int pair, int e) const {
    return e == 0 ? device::low_half<Element>(words[pair]) : device::high_half<Element>(words[pair]);
  }
  // Rounds the values and stores them where load() reads.
  static MHCJIT_DEVICE void store(device::SharedAddress tile, int number, const float (&values)[4][2]) {
    device::Vector<device::u32, 4> rounded;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) rounded[pair] = device::pack<Element>(values[pair][0], values[pair][1]);
    device::store_matrices_transposed(address(tile, number), rounded);
  }

 private:
  static MHCJIT_DEVICE device::SharedAddress address(device::SharedAddress tile, int number) {
    const int lane = device::thread_index() % device::warp_size;
    return tile + (lane / 16 * 8 + lane % 8) * row_bytes + lane / 8 % 2 * 16 + number * 32;
  }
};
template <int row_bytes>
struct XFragment<float, row_bytes> {
  float values[4][2];

  MHCJIT_DEVICE void load(device::SharedAddress tile, int number) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
#pragma unroll
      for (int e = 0; e < 2; ++e) values[pair][e] = device::load_shared(address(tile, number, pair, e));
    }
  }
  MHCJIT_DEVICE float value(int pair, int e) const { return values[pair][e]; }

 private:
  static MHCJIT_DEVICE device::SharedAddress address(device::SharedAddress tile, int number, int pair, int e) {
    const int lane = device::thread_index() % device::warp_size;
    return tile + (lane % 4 * 2 + pair / 2 * 8 + e) * row_bytes + (lane / 4 + pair % 2 * 8 + number * 16) * 4;
  }
};

// x of bf16 is an operand as it stands; of the other types it becomes two terms of bf16, which are exact for fp16.
template <class Element, class Fragment>
struct XOperand {
  static constexpr int terms = 2;
  device::Vector<device::u32, 4> words[terms];

  MHCJIT_DEVICE void set(const Fragment& fragment) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      const TwoTerms both = two_terms<device::bf16>(fragment.value(pair, 0), fragment.value(pair, 1));
      words[0][pair] = both.high;
      words[1][pair] = both.low;
    }
  }
};
template <class Fragment>
struct XOperand<device::bf16, Fragment> {
  static constexpr int terms = 1;
  device::Vector<device::u32, 4> words[terms];

  MHCJIT_DEVICE void set(const Fragment& fragment) { words[0] = fragment.words; }
};
