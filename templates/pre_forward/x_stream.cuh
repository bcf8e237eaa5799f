// x as operands of the tensor cores, by way of shared memory: a block copies its tokens chunk after chunk of columns,
// several chunks ahead of their use.
//
// A chunk is four steps of 16 columns, which lanes hold as pre_forward/x_part.cuh has them; so does
// pre_forward/packed_phi.cuh.
//
// Shared: `stages` chunks, each the block's tokens one after the other. A token's bytes stand in units of 16, exchanged
// by the token's number so that lanes that read at once have no bank conflicts.
#pragma once

#include <pre_forward/args.cuh>
#include <pre_forward/x_part.cuh>

template <class Spec>
struct XStream {
  using Element = typename Spec::Element;
  using Operand = typename OperandOf<Element>::Type;
  using Part = PartOf<Element>;

  static constexpr int stages = Spec::pipeline_stages;
  static constexpr int chunk_columns = 64;
  static constexpr int unit_elements = 16 / sizeof(Element);
  static constexpr int units = chunk_columns / unit_elements;  // of a token
  static constexpr int token_bytes = chunk_columns * sizeof(Element);
  static constexpr int step_bytes = token_bytes / 4;
  static constexpr int tokens_per_block = Spec::threads_per_block / device::warp_size * Spec::tokens_per_warp;
  static constexpr int stage_bytes = tokens_per_block * token_bytes;
  static constexpr int shared_floats = stages * stage_bytes / 4;
  // Lanes that read at once hold this many tokens.
  static constexpr int exchanged_tokens = 4 / Part::terms;
  // Tokens that the block copies units of at once.
  static constexpr int copied_at_once = Spec::threads_per_block / units;
  static constexpr int copies = tokens_per_block / copied_at_once;
  // The most that a copy may be: rows of all streams begin at multiples of it, where x does.
  static constexpr int columns_multiple = Spec::columns & -Spec::columns;
  static constexpr int widest_piece = columns_multiple < unit_elements ? columns_multiple : unit_elements;
  static_assert(tokens_per_block % copied_at_once == 0 && copied_at_once % exchanged_tokens == 0);

  const Element* source;  // the thread's unit of the first token that it copies, in chunk 0
  int source_tokens;      // that exist from there on, at most those of the block
  int source_column;      // of the unit in a chunk
  bool has_widest;        // x begins at a multiple of the widest piece
  device::SharedAddress copied;
  device::SharedAddress read;

  // `first_token` is the block's; `warp_token` the first of those that the warp multiplies, in the block.
  MHCJIT_DEVICE XStream(const PreForwardArgs& args, device::i64 first_token, int warp_token,
                        device::SharedAddress shared) {
    const int thread = device::thread_index();
    const int lane = thread % device::warp_size;
    const int token = thread / units;
    const int unit = thread % units;
    const device::i64 left = args.tokens - first_token - token;
    source_tokens = left < tokens_per_block ? static_cast<int>(left) : tokens_per_block;
    source_column = unit * unit_elements;
    has_widest = widest_piece == Spec::vec_size ||
                 reinterpret_cast<device::i64>(args.x) % (widest_piece * static_cast<int>(sizeof(Element))) == 0;
    source = static_cast<const Element*>(args.x) + (first_token + token) * Spec::columns + source_column;
    copied = shared + token * token_bytes + ((unit * 16) ^ exchange(token));
    read = shared + (warp_token + lane / 4) * token_bytes + exchange(lane / 4) + lane % 4 * (step_bytes / 4);
  }

  // Asks for the chunk that begins at column `chunk`. The caller makes a group of it. Tokens that do not exist may have
  // any values: they are columns of B of their own. Columns that do not exist become zeros.
  MHCJIT_DEVICE void copy(int stage, int chunk) const {
    if (has_widest)
      copy_in_pieces<widest_piece>(stage, chunk);
    else
      copy_in_pieces<Spec::vec_size>(stage, chunk);
  }

  // For one step and a group of eight of the warp's tokens.
  MHCJIT_DEVICE typename Part::Type load(int stage, int step, int group) const {
    return Part::load(((read + stage * stage_bytes) ^ (step * step_bytes)) + group * 8 * token_bytes);
  }

 private:
  template <int piece_elements>
  MHCJIT_DEVICE void copy_in_pieces(int stage, int chunk) const {
    constexpr bool whole = Spec::columns % chunk_columns == 0;
    constexpr int piece_bytes = piece_elements * static_cast<int>(sizeof(Element));
#pragma unroll
    for (int i = 0; i < copies; ++i) {
      if (i * copied_at_once >= source_tokens) continue;
      const device::SharedAddress to = copied + stage * stage_bytes + i * copied_at_once * token_bytes;
      const Element* from = source + device::i64{i} * copied_at_once * Spec::columns + chunk;
      const int columns = Spec::columns - chunk - source_column;
      if constexpr (piece_bytes >= 4) {
#pragma unroll
        for (int first = 0; first < unit_elements; first += piece_elements) {
          const device::SharedAddress piece = to + first * static_cast<int>(sizeof(Element));
          if constexpr (whole)
            device::copy_async<piece_bytes>(piece, from + first);
          else
            device::copy_async_or_zeros<piece_bytes>(piece, from + first, first < columns);
        }
      } else {
        // Elements of two bytes one by one, which no copy can.
        device::Vector<device::u32, 4> unit = {};
#pragma unroll
        for (int e = 0; e < unit_elements; ++e)
          if (e < columns) unit[e / 2] |= device::u32{bits_of(from + e)} << e % 2 * 16;
        device::store_shared_words(to, unit);
      }
    }
  }
  // By what the offsets of a token's bytes differ from their order.
  static MHCJIT_DEVICE int exchange(int token) { return token % exchanged_tokens * step_bytes; }
  static MHCJIT_DEVICE device::u16 bits_of(const Element* element) {
    return device::load<1>(reinterpret_cast<const device::u16*>(element))[0];
  }
};
