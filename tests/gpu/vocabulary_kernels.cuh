// One kernel for each function of the device vocabulary. The same text is compiled for the device, where the vocabulary
// is templates/device/device.cuh and device/matrix.cuh, and for the host, where it is the simulator's.
#include <device/matrix.cuh>

// Each kernel takes what it needs of this. Floats travel as their bits.
struct VocabularyArgs {
  const unsigned int* a;
  const unsigned int* b;
  const unsigned int* c;
  unsigned int* result;
  unsigned int count;
};

namespace {

constexpr int block_threads = 128;

MHCJIT_DEVICE unsigned int thread_of_grid() {
  return static_cast<unsigned int>(device::block_index_x()) * block_threads +
         static_cast<unsigned int>(device::thread_index());
}

// Copies vectors with their elements in reverse, so that an element out of place shows.
template <class T, int size>
MHCJIT_DEVICE void reverse_vectors(const VocabularyArgs& args) {
  const unsigned int vectors = args.count * 4 / (sizeof(T) * size);
  for (unsigned int i = thread_of_grid(); i < vectors;
       i += static_cast<unsigned int>(device::grid_size_x()) * block_threads) {
    const auto from = device::load<size>(reinterpret_cast<const T*>(args.a) + device::i64{i} * size);
    device::Vector<T, size> to;
    for (int k = 0; k < size; ++k) to[k] = from[size - 1 - k];
    device::store<size>(reinterpret_cast<T*>(args.result) + device::i64{i} * size, to);
  }
}

}  // namespace

#define MHCJIT_VOCABULARY_KERNEL(name)                           \
  extern "C" __global__ void __launch_bounds__(block_threads, 1) \
      vocabulary_##name(const __grid_constant__ VocabularyArgs args)

// result[i] = expression of i, for every i.
#define MHCJIT_ELEMENTWISE_KERNEL(name, expression)                             \
  MHCJIT_VOCABULARY_KERNEL(name) {                                              \
    for (unsigned int i = thread_of_grid(); i < args.count;                     \
         i += static_cast<unsigned int>(device::grid_size_x()) * block_threads) \
      args.result[i] = (expression);                                            \
  }

MHCJIT_ELEMENTWISE_KERNEL(bf16_to_float,
                          device::float_bits(device::to_float(device::bf16{static_cast<unsigned short>(args.a[i])})))
MHCJIT_ELEMENTWISE_KERNEL(fp16_to_float,
                          device::float_bits(device::to_float(device::fp16{static_cast<unsigned short>(args.a[i])})))
MHCJIT_ELEMENTWISE_KERNEL(
    float_to_float, device::float_bits(device::to_float(device::from_float<float>(device::float_of_bits(args.a[i])))))
MHCJIT_ELEMENTWISE_KERNEL(float_to_bf16, device::from_float<device::bf16>(device::float_of_bits(args.a[i])).bits)
MHCJIT_ELEMENTWISE_KERNEL(float_to_fp16, device::from_float<device::fp16>(device::float_of_bits(args.a[i])).bits)
MHCJIT_ELEMENTWISE_KERNEL(fused_multiply_add, device::float_bits(device::fma(device::float_of_bits(args.a[i]),
                                                                             device::float_of_bits(args.b[i]),
                                                                             device::float_of_bits(args.c[i]))))
MHCJIT_ELEMENTWISE_KERNEL(exponential, device::float_bits(device::exponential(device::float_of_bits(args.a[i]))))
MHCJIT_ELEMENTWISE_KERNEL(reciprocal, device::float_bits(device::reciprocal(device::float_of_bits(args.a[i]))))
MHCJIT_ELEMENTWISE_KERNEL(reciprocal_square_root,
                          device::float_bits(device::reciprocal_square_root(device::float_of_bits(args.a[i]))))

MHCJIT_VOCABULARY_KERNEL(vectors_of_1_float) { reverse_vectors<float, 1>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_2_float) { reverse_vectors<float, 2>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_4_float) { reverse_vectors<float, 4>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_1_bf16) { reverse_vectors<device::bf16, 1>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_2_bf16) { reverse_vectors<device::bf16, 2>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_4_bf16) { reverse_vectors<device::bf16, 4>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_8_bf16) { reverse_vectors<device::bf16, 8>(args); }
MHCJIT_VOCABULARY_KERNEL(vectors_of_8_fp16) { reverse_vectors<device::fp16, 8>(args); }

// 31 results for each thread: one for each lane mask.
MHCJIT_VOCABULARY_KERNEL(shuffle_xor) {
  const unsigned int thread = thread_of_grid();
  const float mine = device::float_of_bits(args.a[thread]);
  for (int mask = 1; mask < device::warp_size; ++mask)
    args.result[thread * 31 + mask - 1] = device::float_bits(device::shuffle_xor(mine, mask));
}

// Each round passes every value to another thread of the block, through shared memory.
MHCJIT_VOCABULARY_KERNEL(block_barrier) {
  float* shared = device::shared_floats();
  const int thread = device::thread_index();
  float value = device::float_of_bits(args.a[thread_of_grid()]);
  for (int round = 0; round < 64; ++round) {
    shared[thread] = value;
    device::block_barrier();
    value = shared[(thread * 37 + round) % block_threads];
    device::block_barrier();
  }
  args.result[thread_of_grid()] = device::float_bits(value);
}

// Five results for each thread: where it is.
MHCJIT_VOCABULARY_KERNEL(position) {
  const unsigned int block =
      static_cast<unsigned int>(device::block_index_x()) +
      static_cast<unsigned int>(device::block_index_y()) * static_cast<unsigned int>(device::grid_size_x());
  unsigned int* mine = args.result + (block * block_threads + static_cast<unsigned int>(device::thread_index())) * 5;
  mine[0] = static_cast<unsigned int>(device::thread_index());
  mine[1] = static_cast<unsigned int>(device::block_index_x());
  mine[2] = static_cast<unsigned int>(device::block_index_y());
  mine[3] = static_cast<unsigned int>(device::grid_size_x());
  mine[4] = static_cast<unsigned int>(device::grid_size_y());
}

// The same words as without.
MHCJIT_VOCABULARY_KERNEL(prefetch_to_l2) {
  const unsigned int thread = thread_of_grid();
  device::prefetch_to_l2(args.a + thread);
  args.result[thread] = args.a[thread];
}

// Each thread hands on words to the block before its own, `count` times, and returns a sum of what it gets. The slots
// of each time stand behind the results. What is put together from two stores adds nothing.
MHCJIT_VOCABULARY_KERNEL(exchange) {
  const unsigned int threads = static_cast<unsigned int>(device::grid_size_x()) * block_threads;
  const unsigned int thread = thread_of_grid();
  unsigned int* slots = args.result + threads;
  float value = device::float_of_bits(args.a[thread]);
  for (unsigned int round = 0; round < args.count; ++round, slots += 4 * threads) {
    const unsigned int bits = device::float_bits(value);
    device::store_relaxed(slots + 4 * thread, {{round, bits, ~bits, bits ^ round}});
    device::Vector<unsigned int, 4> words;
    while ((words = device::load_relaxed(slots + 4 * ((thread + block_threads) % threads)))[0] != round)
      device::sleep_nanoseconds(20);
    const bool is_whole = words[2] == ~words[1] && words[3] == (words[1] ^ round);
    value = device::fma(value, 0.5f, is_whole ? device::float_of_bits(words[1]) : 0.0f);
  }
  args.result[thread] = device::float_bits(value);
}

// ---- device/matrix.cuh ----------------------------------------------------------------------------------------------

MHCJIT_ELEMENTWISE_KERNEL(pack_bf16, device::pack<device::bf16>(device::float_of_bits(args.a[i]),
                                                                device::float_of_bits(args.b[i])))
MHCJIT_ELEMENTWISE_KERNEL(pack_fp16, device::pack<device::fp16>(device::float_of_bits(args.a[i]),
                                                                device::float_of_bits(args.b[i])))
MHCJIT_ELEMENTWISE_KERNEL(low_half_bf16, device::float_bits(device::low_half<device::bf16>(args.a[i])))
MHCJIT_ELEMENTWISE_KERNEL(high_half_bf16, device::float_bits(device::high_half<device::bf16>(args.a[i])))
MHCJIT_ELEMENTWISE_KERNEL(low_half_fp16, device::float_bits(device::low_half<device::fp16>(args.a[i])))
MHCJIT_ELEMENTWISE_KERNEL(high_half_fp16, device::float_bits(device::high_half<device::fp16>(args.a[i])))

// 32 results for each thread: one for each lane.
MHCJIT_VOCABULARY_KERNEL(shuffle) {
  const unsigned int thread = thread_of_grid();
  const float mine = device::float_of_bits(args.a[thread]);
  for (int turn = 0; turn < device::warp_size; ++turn) {
    const int lane = (device::thread_index() * 11 + turn) % device::warp_size;
    args.result[thread * 32 + turn] = device::float_bits(device::shuffle(mine, lane));
  }
}

MHCJIT_VOCABULARY_KERNEL(any_lane) {
  const unsigned int thread = thread_of_grid();
  args.result[thread] = device::any_lane(args.a[thread] % 32 == 0) ? 1 : 0;
}

namespace {

// 16 bytes for each thread of the block, in an order that separates neighbours.
MHCJIT_DEVICE device::SharedAddress place_of(int thread) {
  return device::shared_base() + static_cast<unsigned int>(thread * 37 % block_threads) * 16;
}

}  // namespace

// Four words for each thread, stored in each width and loaded in each other. Only lanes of a warp meet.
MHCJIT_VOCABULARY_KERNEL(shared_memory) {
  const unsigned int thread = thread_of_grid();
  const int lane = device::thread_index() % device::warp_size;
  const device::SharedAddress mine = place_of(device::thread_index());
  const device::SharedAddress other = place_of(device::thread_index() - lane + (lane + 5) % device::warp_size);
  device::store_shared_4(
      mine, {{device::float_of_bits(args.a[4 * thread]), device::float_of_bits(args.a[4 * thread + 1]), 0.0f, 0.0f}});
  device::store_shared(mine + 8, args.a[4 * thread + 2]);
  device::store_shared(mine + 12, device::float_of_bits(args.a[4 * thread + 3]));
  device::warp_barrier();
  const auto words = device::load_shared_words<4>(other);
  const auto four = device::load_shared_4(other);
  const auto pair = device::load_shared_words<2>(other + 8);
  const auto two = device::load_shared_2(other + 8);
  const unsigned int halves = device::load_shared_half(other + 4) | device::u32{device::load_shared_half(other + 6)}
                                                                        << 16;
  const device::Vector<unsigned int, 4> result = {{words[0] ^ halves ^ device::float_bits(four[1]), halves,
                                                   device::float_bits(two[0]) ^ device::float_bits(two[1]) ^ pair[1],
                                                   device::float_bits(device::load_shared(other + 12))}};
  // By way of the same place once more, as four words at once and as two.
  device::warp_barrier();
  device::store_shared_words(mine, device::Vector<unsigned int, 4>{{result[0], result[1], 0, 0}});
  device::store_shared_words(mine + 8, device::Vector<unsigned int, 2>{{result[2], result[3]}});
  device::store_words(args.result + 4 * thread, device::load_shared_words<4>(mine));
}

// Four words for each thread, copied into shared memory in pieces of a size, a thread in three without its last piece;
// two groups, of which the older is waited for first. Another thread of the warp reads them.
namespace {

template <int bytes>
MHCJIT_DEVICE void copy_async(const VocabularyArgs& args) {
  const unsigned int thread = thread_of_grid();
  const int lane = device::thread_index() % device::warp_size;
  constexpr int pieces = 16 / bytes;
  const device::SharedAddress place = place_of(device::thread_index());
  const device::SharedAddress second = place + block_threads * 16;
  for (int piece = 0; piece < pieces; ++piece)
    device::copy_async_or_zeros<bytes>(place + piece * bytes, args.a + 4 * thread + piece * bytes / 4,
                                       piece < pieces - 1 || thread % 3 != 0);
  device::copy_commit();
  for (int piece = 0; piece < pieces; ++piece)
    device::copy_async<bytes>(second + piece * bytes, args.a + 4 * thread + piece * bytes / 4);
  device::copy_commit();
  const int other = device::thread_index() - lane + (lane + 7) % device::warp_size;
  device::copy_wait<1>();
  device::warp_barrier();
  const auto first_words = device::load_shared_words<4>(place_of(other));
  device::copy_wait<0>();
  device::warp_barrier();
  const auto second_words = device::load_shared_words<4>(place_of(other) + block_threads * 16);
  device::store_words(args.result + 8 * thread, first_words);
  device::store_words(args.result + 8 * thread + 4, second_words);
}

}  // namespace

MHCJIT_VOCABULARY_KERNEL(copy_async_4) { copy_async<4>(args); }
MHCJIT_VOCABULARY_KERNEL(copy_async_8) { copy_async<8>(args); }
MHCJIT_VOCABULARY_KERNEL(copy_async_16) { copy_async<16>(args); }

// Four words for each thread, of which it copies the first bytes, 0 to 16 of them.
MHCJIT_VOCABULARY_KERNEL(copy_async_first) {
  const unsigned int thread = thread_of_grid();
  const device::SharedAddress place = place_of(device::thread_index());
  device::copy_async_first<16>(place, args.a + 4 * thread, static_cast<int>(thread % 17));
  device::copy_commit();
  device::copy_wait<0>();
  device::store_words(args.result + 4 * thread, device::load_shared_words<4>(place));
}

// Four words for each thread: its elements of the 8 x 8 matrices whose rows the warp's threads have stored.
namespace {

MHCJIT_DEVICE device::SharedAddress stored_row(const VocabularyArgs& args) {
  const device::SharedAddress mine = place_of(device::thread_index());
  for (unsigned int i = 0; i < 4; ++i) device::store_shared(mine + 4 * i, args.a[4 * thread_of_grid() + i]);
  device::warp_barrier();
  return mine;
}

}  // namespace

MHCJIT_VOCABULARY_KERNEL(load_matrices) {
  device::store_words(args.result + 4 * thread_of_grid(), device::load_matrices(stored_row(args)));
}
MHCJIT_VOCABULARY_KERNEL(load_matrices_transposed) {
  device::store_words(args.result + 4 * thread_of_grid(), device::load_matrices_transposed(stored_row(args)));
}

namespace {

// Each thread has depth / 4 words of a, half as many of b and four sums in c.
template <class Element, int depth>
MHCJIT_DEVICE void multiply_add(const VocabularyArgs& args) {
  const unsigned int thread = thread_of_grid();
  const unsigned int* a = args.a + thread * (depth / 4);
  const unsigned int* b = args.b + thread * (depth / 8);
  float sums[4];
  for (unsigned int i = 0; i < 4; ++i) sums[i] = device::float_of_bits(args.c[4 * thread + i]);
  if constexpr (depth == 8)
    device::multiply_add<Element>(sums, a[0], a[1], b[0]);
  else
    device::multiply_add<Element>(sums, device::load<4>(a), b[0], b[1]);
  for (unsigned int i = 0; i < 4; ++i) args.result[4 * thread + i] = device::float_bits(sums[i]);
}

}  // namespace

MHCJIT_VOCABULARY_KERNEL(multiply_add_bf16_8) { multiply_add<device::bf16, 8>(args); }
MHCJIT_VOCABULARY_KERNEL(multiply_add_bf16_16) { multiply_add<device::bf16, 16>(args); }
MHCJIT_VOCABULARY_KERNEL(multiply_add_fp16_8) { multiply_add<device::fp16, 8>(args); }
MHCJIT_VOCABULARY_KERNEL(multiply_add_fp16_16) { multiply_add<device::fp16, 16>(args); }

// Every kernel above.
#define MHCJIT_VOCABULARY_KERNELS(F) \
  F(bf16_to_float)                   \
  F(fp16_to_float)                   \
  F(float_to_float)                  \
  F(float_to_bf16)                   \
  F(float_to_fp16)                   \
  F(fused_multiply_add)              \
  F(exponential)                     \
  F(reciprocal)                      \
  F(reciprocal_square_root)          \
  F(vectors_of_1_float)              \
  F(vectors_of_2_float)              \
  F(vectors_of_4_float)              \
  F(vectors_of_1_bf16)               \
  F(vectors_of_2_bf16)               \
  F(vectors_of_4_bf16)               \
  F(vectors_of_8_bf16)               \
  F(vectors_of_8_fp16)               \
  F(shuffle_xor)                     \
  F(block_barrier)                   \
  F(position)                        \
  F(prefetch_to_l2)                  \
  F(exchange)                        \
  F(pack_bf16)                       \
  F(pack_fp16)                       \
  F(low_half_bf16)                   \
  F(high_half_bf16)                  \
  F(low_half_fp16)                   \
  F(high_half_fp16)                  \
  F(shuffle)                         \
  F(any_lane)                        \
  F(shared_memory)                   \
  F(copy_async_4)                    \
  F(copy_async_8)                    \
  F(copy_async_16)                   \
  F(copy_async_first)                \
  F(load_matrices)                   \
  F(load_matrices_transposed)        \
  F(multiply_add_bf16_8)             \
  F(multiply_add_bf16_16)            \
  F(multiply_add_fp16_8)             \
  F(multiply_add_fp16_16)
