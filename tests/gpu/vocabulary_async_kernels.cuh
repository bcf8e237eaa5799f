// Kernels for device/async.cuh, as vocabulary_kernels.cuh has them for the rest. The text follows that file's in one
// unit.
#include <device/async.cuh>

struct AsyncVocabularyArgs {
  VocabularyArgs pointers;
  int first[3];  // of a box
  int box_bytes;
  device::TensorMap map;
};

#define MHCJIT_ASYNC_VOCABULARY_KERNEL(name)                     \
  extern "C" __global__ void __launch_bounds__(block_threads, 1) \
      vocabulary_##name(const __grid_constant__ AsyncVocabularyArgs args)

namespace {

// Barriers stand in the first 1024 bytes of shared memory.
constexpr unsigned int data_offset = 1024;

MHCJIT_DEVICE device::SharedAddress barrier_at(int index) {
  return device::shared_base() + 8 * static_cast<unsigned int>(index);
}

MHCJIT_DEVICE void init_barriers(int count, int arrivals) {
  if (device::thread_index() == 0) {
    for (int i = 0; i < count; ++i) device::barrier_init(barrier_at(i), arrivals);
    device::barrier_init_fence();
  }
  device::block_barrier();
}

}  // namespace

// Each round passes every value to another thread of the block, as block_barrier does. Threads arrive when they have
// written, and when they have read.
MHCJIT_ASYNC_VOCABULARY_KERNEL(barrier_arrive) {
  init_barriers(2, block_threads);
  const int thread = device::thread_index();
  const device::SharedAddress data = device::shared_base() + data_offset;
  float value = device::float_of_bits(args.pointers.a[thread_of_grid()]);
  for (int round = 0; round < 64; ++round) {
    device::barrier_wait(barrier_at(1), (round + 1) % 2);
    device::store_shared(data + 4 * static_cast<unsigned int>(thread), value);
    device::barrier_arrive(barrier_at(0));
    device::barrier_wait(barrier_at(0), round % 2);
    value = device::load_shared(data + 4 * static_cast<unsigned int>((thread * 37 + round) % block_threads));
    device::barrier_arrive(barrier_at(1));
  }
  args.pointers.result[thread_of_grid()] = device::float_bits(value);
}

// Two stages that one thread fills and all empty: 16 rounds of two copies, 512 words each round.
MHCJIT_ASYNC_VOCABULARY_KERNEL(copy_bytes) {
  constexpr int rounds = 16;
  constexpr int words = 512;
  init_barriers(2, 1);
  const int thread = device::thread_index();
  const auto stage_at = [](int round) {
    return device::shared_base() + data_offset + static_cast<unsigned int>(round % 2 * words * 4);
  };
  const auto fill = [&](int round) {
    const device::SharedAddress barrier = barrier_at(round % 2);
    const unsigned int* from = args.pointers.a + round * words;
    device::copy_bytes(stage_at(round), from, 64, barrier);
    device::barrier_arrive_expect(barrier, words * 4);
    device::copy_bytes(stage_at(round) + 64, from + 16, words * 4 - 64, barrier);
  };
  if (thread == 0) {
    fill(0);
    fill(1);
  }
  for (int round = 0; round < rounds; ++round) {
    device::barrier_wait(barrier_at(round % 2), round / 2 % 2);
    for (int i = thread; i < words; i += block_threads)
      args.pointers.result[round * words + i] =
          device::float_bits(device::load_shared(stage_at(round) + 4 * static_cast<unsigned int>(i)));
    device::block_barrier();
    if (thread == 0 && round + 2 < rounds) fill(round + 2);
  }
}

// The box's bytes as they lie in shared memory.
MHCJIT_ASYNC_VOCABULARY_KERNEL(copy_box) {
  init_barriers(1, 1);
  const device::SharedAddress data = device::shared_base() + data_offset;
  if (device::thread_index() == 0) {
    device::barrier_arrive_expect(barrier_at(0), args.box_bytes);
    device::copy_box(data, args.map, args.first[0], args.first[1], args.first[2], barrier_at(0));
  }
  device::barrier_wait(barrier_at(0), 0);
  for (int i = device::thread_index(); i < args.box_bytes / 4; i += block_threads)
    args.pointers.result[i] = device::float_bits(device::load_shared(data + 4 * static_cast<unsigned int>(i)));
}

namespace {

// Three boxes from two places in turn: stored one behind the other in the second dimension, or all added to the same.
// Behind the tensor's `count` words stands what the block's threads then see of them.
template <bool adds>
MHCJIT_DEVICE void put_boxes(const AsyncVocabularyArgs& args) {
  constexpr int box_rows = 8;
  const int thread = device::thread_index();
  const int words = args.box_bytes / 4;
  for (int round = 0; round < 3; ++round) {
    const device::SharedAddress place =
        device::shared_base() + data_offset + static_cast<unsigned int>(round % 2 * args.box_bytes);
    if (thread == 0) {
      if constexpr (adds)
        device::store_wait<0>();
      else
        device::store_wait_read<1>();
    }
    device::block_barrier();
    for (int i = thread; i < words; i += block_threads)
      device::store_shared(place + 4 * static_cast<unsigned int>(i), args.pointers.a[round * words + i]);
    device::copy_fence();
    device::block_barrier();
    if (thread != 0) continue;
    if constexpr (adds)
      device::add_box(args.map, args.first[0], args.first[1], args.first[2], place);
    else
      device::store_box(args.map, args.first[0], args.first[1] + round * box_rows, args.first[2], place);
    device::store_commit();
  }
  if (thread == 0) device::store_wait<0>();
  device::block_barrier();
  unsigned int* result = args.pointers.result;
  const unsigned int count = args.pointers.count;
  for (unsigned int i = static_cast<unsigned int>(thread); i < count; i += block_threads) result[count + i] = result[i];
}

}  // namespace

MHCJIT_ASYNC_VOCABULARY_KERNEL(store_box) { put_boxes<false>(args); }
MHCJIT_ASYNC_VOCABULARY_KERNEL(add_box) { put_boxes<true>(args); }

// Four words for each thread: a row of the 8 x 8 matrices of which the warp's threads have stored elements.
MHCJIT_ASYNC_VOCABULARY_KERNEL(store_matrices_transposed) {
  const unsigned int* a = args.pointers.a + 4 * thread_of_grid();
  const device::SharedAddress mine = place_of(device::thread_index());
  device::store_matrices_transposed(mine, device::load<4>(a));
  device::warp_barrier();
  device::store_words(args.pointers.result + 4 * thread_of_grid(), device::load_shared_words<4>(mine));
}

// Every thread sends to every block of the cluster, `count` of them, in two rounds, and returns a sum of what came.
MHCJIT_ASYNC_VOCABULARY_KERNEL(send) {
  const int blocks = static_cast<int>(args.pointers.count);
  const int thread = device::thread_index();
  if (thread == 0) {
    device::barrier_init(barrier_at(0), 1);
    device::barrier_init_fence();
  }
  const auto slot = [&](int rank) {
    return device::shared_base() + data_offset + static_cast<unsigned int>(rank * block_threads + thread) * 16;
  };
  float value = device::float_of_bits(args.pointers.a[thread_of_grid()]);
  for (int round = 0; round < 2; ++round) {
    // Before it the blocks initialise their barriers, and read what came.
    device::cluster_arrive();
    device::cluster_wait();
    if (thread == 0) device::barrier_arrive_expect(barrier_at(0), blocks * block_threads * 16);
    for (int to = 0; to < blocks; ++to) {
      const auto factor = static_cast<float>(to + 1);
      device::send(device::in_block(slot(device::cluster_rank()), to),
                   {{value, value * factor, static_cast<float>(device::cluster_rank()), factor}},
                   device::in_block(barrier_at(0), to));
    }
    device::barrier_wait_cluster(barrier_at(0), round);
    value = 0.0f;
    for (int from = 0; from < blocks; ++from) {
      const auto four = device::load_shared_4(slot(from));
      value = device::fma(four[1], four[2], value) + device::fma(four[0], four[3], value);
    }
  }
  args.pointers.result[thread_of_grid()] = device::float_bits(value);
}

// Every thread writes a word to shared memory and reads those of its fellows in all blocks of the cluster, in two
// rounds.
MHCJIT_ASYNC_VOCABULARY_KERNEL(load_cluster) {
  const int blocks = device::cluster_blocks();
  const int thread = device::thread_index();
  float value = device::float_of_bits(args.pointers.a[thread_of_grid()]);
  for (int round = 0; round < 2; ++round) {
    device::store_shared(device::shared_base() + data_offset + static_cast<unsigned int>(thread) * 4, value);
    device::cluster_arrive_release();
    device::cluster_wait();
    float sum = 0.0f;
    for (int from = 0; from < blocks; ++from) {
      const int fellow = (thread + from + 1) % block_threads;
      const device::SharedAddress word = device::shared_base() + data_offset + static_cast<unsigned int>(fellow) * 4;
      sum = device::fma(static_cast<float>(from + 1), device::load_cluster(device::in_block(word, from)), sum);
    }
    value = sum;
    // All have read before any writes again, or ends.
    device::cluster_arrive_release();
    device::cluster_wait();
  }
  args.pointers.result[thread_of_grid()] = device::float_bits(value);
}

// Every kernel above.
#define MHCJIT_ASYNC_VOCABULARY_KERNELS(F) \
  F(barrier_arrive)                        \
  F(copy_bytes)                            \
  F(copy_box)                              \
  F(store_box)                             \
  F(add_box)                               \
  F(store_matrices_transposed)             \
  F(send)                                  \
  F(load_cluster)
