// A warp's columns of a tile of 16 tokens, of x, dh_in or dx, in shared memory and as fragments of the tensor cores.
//
// In shared memory a token is a row of the columns of all warps that share a stream. Rows are an odd number of 16 bytes
// long, so that eight of them begin in different banks.
#pragma once

#include <common/two_terms.cuh>
#include <device/matrix.cuh>

template <class Spec>
struct XTile {
  using Element = typename Spec::Element;

  static constexpr int tokens = 16;
  static constexpr int columns = Spec::tiles_per_warp * 16;  // of a warp
  static constexpr int element_bytes = static_cast<int>(sizeof(Element));
  // Rows that begin at multiples of 8 bytes are copied to where they are wanted. Of others the 16 bytes are copied that
  // hold parts of them, for which a warp's row has room, and settle() moves the elements.
  static constexpr bool is_settled = Spec::vec_size * element_bytes >= 8;
  static constexpr int warp_bytes = columns * element_bytes + (is_settled ? 0 : 16);
  static constexpr int row_bytes = (Spec::warps_per_stream * warp_bytes / 16 | 1) * 16;
  static constexpr int bytes = tokens * row_bytes;  // of all warps that share a stream

  // How the lanes share out a warp's rows in parts. A lane's others lie at distances from its first that are the same
  // for every lane.
  template <int bytes_of_part>
  struct Parts {
    static constexpr int elements = bytes_of_part / element_bytes;
    static constexpr int row_parts = columns / elements;
    static constexpr int lanes_per_row = row_parts < device::warp_size ? row_parts : device::warp_size;
    static constexpr int per_row = row_parts / lanes_per_row;
    static constexpr int rows_at_once = device::warp_size / lanes_per_row;
    static constexpr int count = tokens / rows_at_once * per_row;
    static_assert(lanes_per_row * rows_at_once == device::warp_size && lanes_per_row * per_row == row_parts);
    static MHCJIT_DEVICE int first_token() { return device::thread_index() % device::warp_size / lanes_per_row; }
    static MHCJIT_DEVICE int first_column() { return device::thread_index() % lanes_per_row * elements; }
    static constexpr MHCJIT_DEVICE int token_of(int i) { return i / per_row * rows_at_once; }
    static constexpr MHCJIT_DEVICE int column_of(int i) { return i % per_row * lanes_per_row * elements; }
  };
  static constexpr int copy_bytes = is_settled ? Spec::vec_size * element_bytes : 16;
  using Copies = Parts<copy_bytes>;
  using Words = Parts<4>;
  static MHCJIT_DEVICE int first_token() { return Copies::first_token(); }
  static MHCJIT_DEVICE int first_column() { return Copies::first_column(); }
  static MHCJIT_DEVICE device::SharedAddress first_place() {
    return static_cast<device::SharedAddress>(place(first_token(), first_column()));
  }

  // What exists of tokens and columns, from a lane's first part on. Of no columns there are -columns: not even the
  // bytes before the first are read.
  struct Extent {
    int tokens;
    int columns;
    MHCJIT_DEVICE bool contains(int token, int column) const { return token < tokens && column < columns; }
  };

  // Asks for the lane's parts of a tile of `tensor`; zeros where nothing exists. The caller makes a group of the
  // copies. Tokens lie `stride` elements apart; both addresses are those of the lane's first part.
  static MHCJIT_DEVICE void copy_in(device::SharedAddress to, const Element* from, const void* tensor, int stride,
                                    const Extent& extent) {
#pragma unroll
    for (int i = 0; i < Copies::count; ++i) {
      const int token = Copies::token_of(i);
      const int column = Copies::column_of(i);
      const Element* source = from + device::i64{token} * stride + column;
      if constexpr (is_settled)
        device::copy_async_or_zeros<copy_bytes>(to + place(token, column), source, extent.contains(token, column));
      else
        copy_around(to + place(token, column), source, may_begin_before(token, stride) ? tensor : nullptr,
                    {extent.tokens - token, extent.columns - column});
    }
    if constexpr (!is_settled) {
      // What is behind a row's last part.
      const int lane = device::thread_index() % device::warp_size;
      const int token = lane - first_token();
      const int column = columns - first_column();
      if (lane < tokens)
        copy_around(to + place(token, column), from + device::i64{token} * stride + column, nullptr,
                    {extent.tokens - token, extent.columns - column});
    }
  }

  // Moves what the warp has copied of a tile of `tensor`. `from` is in the first tile: rows of others are aligned as
  // its are. So many of its columns are `existing`. Of the tensor's first tile there are `first_tokens`, of others
  // none. The warp's lanes see all copies, and see the tile behind a barrier.
  static MHCJIT_DEVICE void settle(device::SharedAddress tile, const Element* from, const void* tensor, int stride,
                                   int existing, int first_tokens) {
    const device::SharedAddress first = tile + place(Words::first_token(), Words::first_column());
    device::u32 words[Words::count];
#pragma unroll
    for (int i = 0; i < Words::count; ++i) {
      const device::u32 shift = shift_of(from, Words::token_of(i), stride);
      const device::SharedAddress source = first + place(Words::token_of(i), Words::column_of(i)) + shift / 4 * 4;
      words[i] = device::float_bits(device::load_shared(source));
      if constexpr (is_split)
        words[i] = device::shift_right(words[i], device::float_bits(device::load_shared(source + 4)), shift % 4 * 8);
    }
    // Of rows that share 16 bytes with what is before the tensor these have not been copied.
    if (first_tokens > 0 && Words::first_column() * element_bytes < 16) {
#pragma unroll
      for (int i = 0; i < Words::count; ++i) {
        if (!may_begin_before(Words::token_of(i), stride) || Words::column_of(i) > 0) continue;
        const int token = Words::first_token() + Words::token_of(i);
        const Element* row = from + device::i64{token} * stride;
        if (token >= first_tokens || chunk_of(row) >= tensor) continue;
        words[i] = 0;
#pragma unroll
        for (int e = 0; e < Words::elements; ++e)
          if (Words::first_column() + e < existing) words[i] |= bits_of(row + Words::first_column() + e) << e * 16;
      }
    }
    device::warp_barrier();
#pragma unroll
    for (int i = 0; i < Words::count; ++i)
      device::store_shared(first + place(Words::token_of(i), Words::column_of(i)), words[i]);
  }

  static MHCJIT_DEVICE void copy_out(Element* to, int stride, const Extent& extent, device::SharedAddress from) {
    if constexpr (is_settled) {
#pragma unroll
      for (int i = 0; i < Copies::count; ++i) {
        const int token = Copies::token_of(i);
        const int column = Copies::column_of(i);
        if (!extent.contains(token, column)) continue;
        Element* target = to + device::i64{token} * stride + column;
        if constexpr (copy_bytes == 16)
          device::store_words(target, device::load_shared_words<4>(from + place(token, column)));
        else
          device::store(reinterpret_cast<float*>(target), device::load_shared_2(from + place(token, column)));
      }
    } else {
      static_assert(element_bytes == 2, "wider elements are stored from registers");
      copy_out_pairs(to - (device::i64{first_token()} * stride + first_column()), stride,
                     {extent.tokens + first_token(), extent.columns + first_column()}, from - first_place());
    }
  }

 private:
  // Rows may begin in the middle of a word.
  static constexpr bool is_split = Spec::vec_size * element_bytes < 4;

  static constexpr MHCJIT_DEVICE int place(int token, int column) { return token * row_bytes + column * element_bytes; }

  // By how many bytes a row of the lane's words is off in shared memory: `from` is in the first row of the tile.
  static MHCJIT_DEVICE device::u32 shift_of(const Element* from, int token, int stride) {
    return (static_cast<device::u32>(reinterpret_cast<unsigned long long>(from)) +
            static_cast<device::u32>(Words::first_token() + token) * static_cast<device::u32>(stride) * element_bytes) %
           16;
  }

  // The 16 bytes that hold an element.
  static MHCJIT_DEVICE const void* chunk_of(const Element* element) {
    return reinterpret_cast<const void*>(reinterpret_cast<unsigned long long>(element) & ~15ull);
  }
  // Whether so many tokens behind a tensor's first the 16 bytes of a row's first element may begin before the tensor.
  static constexpr MHCJIT_DEVICE bool may_begin_before(int token, int stride) {
    return device::i64{token} * stride * element_bytes < 16;
  }

  // The 16 bytes that hold `from`, as far as they stand in its row; none that begin before `tensor`.
  static MHCJIT_DEVICE void copy_around(device::SharedAddress to, const Element* from, const void* tensor,
                                        const Extent& extent) {
    const void* source = chunk_of(from);
    const int wanted =
        extent.columns * element_bytes + static_cast<int>(reinterpret_cast<unsigned long long>(from) % 16);
    const bool exists = extent.tokens > 0 && wanted > 0 && source >= tensor;
    device::copy_async_first<16>(to, source, !exists ? 0 : wanted < 16 ? wanted : 16);
  }
  static MHCJIT_DEVICE device::u32 bits_of(const Element* element) {
    if constexpr (element_bytes == 4)
      return device::load<1>(reinterpret_cast<const device::u32*>(element))[0];
    else
      return device::load<1>(reinterpret_cast<const device::u16*>(element))[0];
  }

  // Pairs of elements that are a word in memory, then what has no other to be a pair with, at the beginnings of rows
  // and at their ends. The first row's first element is that of the warp.
  static MHCJIT_DEVICE void copy_out_pairs(Element* to, int stride, const Extent& extent, device::SharedAddress tile) {
    const int existing = extent.columns < columns ? extent.columns : columns;
    const int token = Words::first_token();
    const int column = Words::first_column();
    Element* const target = to + device::i64{token} * stride + column;
    const device::SharedAddress source = tile + place(token, column);
#pragma unroll
    for (int i = 0; i < Words::count; ++i) {
      const device::SharedAddress pair = source + place(Words::token_of(i), Words::column_of(i));
      device::u32 word = device::float_bits(device::load_shared(pair));
      int later = 0;
      if constexpr (is_split) {
        later = static_cast<int>(shift_of(to, Words::token_of(i), stride) % 4 / 2);
        word = device::shift_right(word, device::float_bits(device::load_shared(pair + 4)), later * 16);
      }
      if (token + Words::token_of(i) < extent.tokens && column + later + 1 < existing - Words::column_of(i))
        device::store(reinterpret_cast<device::u32*>(target + later + device::i64{Words::token_of(i)} * stride +
                                                     Words::column_of(i)),
                      device::Vector<device::u32, 1>{{word}});
    }
    const int lane = device::thread_index() % device::warp_size;
    Element* const row = to + device::i64{lane % tokens} * stride;
    const bool is_begin = lane < tokens;
    const bool begins_later = reinterpret_cast<unsigned long long>(row) % 4 != 0;
    if (lane % tokens < extent.tokens && existing > 0 && begins_later == (is_begin || existing % 2 == 0)) {
      const int single = is_begin ? 0 : existing - 1;
      const device::u32 word = device::float_bits(device::load_shared(tile + place(lane % tokens, single / 2 * 2)));
      device::store(reinterpret_cast<device::u16*>(row + single),
                    device::Vector<device::u16, 1>{{static_cast<device::u16>(single % 2 == 0 ? word : word >> 16)}});
    }
  }
};

// Sixteen columns of a tile, the `number`-th of the warp's. With g = lane / 4 and q = lane % 4 a lane holds in pair w
// tokens 2q, 2q + 1 of column g; w = 1 and 3 is column g + 8, w = 2 and 3 tokens 2q + 8, 2q + 9. So the tensor cores
// want operand A of x^T, and so they give dx^T.
template <class Element, int row_bytes>
struct XFragment {
  device::Vector<device::u32, 4> words;

  MHCJIT_DEVICE void load(device::SharedAddress tile, int number) {
    words = device::load_matrices_transposed(address(tile, number));
  }
  MHCJIT_DEVICE float value(int pair, int e) const {
    return e == 0 ? device::low_half<Element>(words[pair]) : device::high_half<Element>(words[pair]);
  }
  // Rounds the values to where load() has them from.
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
