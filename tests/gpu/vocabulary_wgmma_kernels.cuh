// Kernels for device/wgmma.cuh, as vocabulary_kernels.cuh has them for the rest. The text follows that file's in one
// unit.
#include <device/async.cuh>
#include <device/wgmma.cuh>

namespace {

// A block is one warp group. Each thread has four words of a and columns / 2 sums in c; b has for each block 16 rows of
// `columns` columns, as they stand in shared memory.
template <class Element, int columns>
MHCJIT_DEVICE void wgmma(const VocabularyArgs& args) {
  const auto thread = static_cast<unsigned int>(device::thread_index());
  const unsigned int of_grid = thread_of_grid();
  const device::SharedAddress shared = device::shared_base();
  constexpr unsigned int block_words = columns * 8;
  for (unsigned int i = thread; i < block_words; i += block_threads)
    device::store_shared(shared + i * 4, args.b[of_grid / block_threads * block_words + i]);
  device::copy_fence();
  device::block_barrier();

  device::Vector<unsigned int, 4> a;
  for (unsigned int i = 0; i < 4; ++i) a[i] = args.a[4 * of_grid + i];
  float sums[columns / 8][4];
  for (int i = 0; i < columns / 2; ++i) sums[i / 4][i % 4] = device::float_of_bits(args.c[of_grid * (columns / 2) + i]);
  device::wgmma_fence();
  device::wgmma<Element, columns>(sums, a, shared, columns * 16);
  device::wgmma_commit();
  device::wgmma_wait_for(sums);
  for (int i = 0; i < columns / 2; ++i)
    args.result[of_grid * (columns / 2) + i] = device::float_bits(sums[i / 4][i % 4]);
}

}  // namespace

MHCJIT_VOCABULARY_KERNEL(wgmma_bf16_8) { wgmma<device::bf16, 8>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_bf16_16) { wgmma<device::bf16, 16>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_bf16_32) { wgmma<device::bf16, 32>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_bf16_64) { wgmma<device::bf16, 64>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_fp16_8) { wgmma<device::fp16, 8>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_fp16_16) { wgmma<device::fp16, 16>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_fp16_32) { wgmma<device::fp16, 32>(args); }
MHCJIT_VOCABULARY_KERNEL(wgmma_fp16_64) { wgmma<device::fp16, 64>(args); }

// Every kernel above.
#define MHCJIT_WGMMA_VOCABULARY_KERNELS(F) \
  F(wgmma_bf16_8)                          \
  F(wgmma_bf16_16)                         \
  F(wgmma_bf16_32)                         \
  F(wgmma_bf16_64)                         \
  F(wgmma_fp16_8)                          \
  F(wgmma_fp16_16)                         \
  F(wgmma_fp16_32)                         \
  F(wgmma_fp16_64)
