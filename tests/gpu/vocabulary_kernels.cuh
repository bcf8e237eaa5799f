// One kernel for each function of the device vocabulary. The same text is compiled for the device, where the vocabulary
// is templates/device.cuh, and for the host, where it is the simulator's.
#include <device.cuh>

// Each kernel takes what it needs of this. Floats travel as their bits.
struct VocabularyArgs {
  const unsigned int* a;
  const unsigned int* b;
  const unsigned int* c;
  unsigned int* result;
  unsigned int count;
};

namespace {

union Word {
  unsigned int bits;
  float value;
};

MHCJIT_DEVICE float as_float(unsigned int bits) {
  Word word;
  word.bits = bits;
  return word.value;
}

MHCJIT_DEVICE unsigned int as_bits(float value) {
  Word word;
  word.value = value;
  return word.bits;
}

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
                          as_bits(device::to_float(device::bf16{static_cast<unsigned short>(args.a[i])})))
MHCJIT_ELEMENTWISE_KERNEL(fp16_to_float,
                          as_bits(device::to_float(device::fp16{static_cast<unsigned short>(args.a[i])})))
MHCJIT_ELEMENTWISE_KERNEL(float_to_float, as_bits(device::to_float(device::from_float<float>(as_float(args.a[i])))))
MHCJIT_ELEMENTWISE_KERNEL(float_to_bf16, device::from_float<device::bf16>(as_float(args.a[i])).bits)
MHCJIT_ELEMENTWISE_KERNEL(float_to_fp16, device::from_float<device::fp16>(as_float(args.a[i])).bits)
MHCJIT_ELEMENTWISE_KERNEL(fused_multiply_add,
                          as_bits(device::fma(as_float(args.a[i]), as_float(args.b[i]), as_float(args.c[i]))))
MHCJIT_ELEMENTWISE_KERNEL(square_root, as_bits(device::square_root(as_float(args.a[i]))))
MHCJIT_ELEMENTWISE_KERNEL(exponential, as_bits(device::exponential(as_float(args.a[i]))))

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
  const float mine = as_float(args.a[thread]);
  for (int mask = 1; mask < device::warp_size; ++mask)
    args.result[thread * 31 + mask - 1] = as_bits(device::shuffle_xor(mine, mask));
}

// Each round passes every value to another thread of the block, through shared memory.
MHCJIT_VOCABULARY_KERNEL(block_barrier) {
  float* shared = device::shared_floats();
  const int thread = device::thread_index();
  float value = as_float(args.a[thread_of_grid()]);
  for (int round = 0; round < 64; ++round) {
    shared[thread] = value;
    device::block_barrier();
    value = shared[(thread * 37 + round) % block_threads];
    device::block_barrier();
  }
  args.result[thread_of_grid()] = as_bits(value);
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

// Every kernel above.
#define MHCJIT_VOCABULARY_KERNELS(F) \
  F(bf16_to_float)                   \
  F(fp16_to_float)                   \
  F(float_to_float)                  \
  F(float_to_bf16)                   \
  F(float_to_fp16)                   \
  F(fused_multiply_add)              \
  F(square_root)                     \
  F(exponential)                     \
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
  F(position)
