// Device vocabulary: shared memory by address, and the tensor cores. Compute capability 8.0 and newer.
//
// A SharedAddress counts bytes. Sums with what lies inside the block's dynamic shared memory are allowed, and so is
// exclusive-or with bits below the alignment of the base. Addresses instead of pointers keep registers free: 32 bits
// each, and nothing to convert.
#pragma once

#include <device/device.cuh>

namespace device {

using SharedAddress = u32;

// The block's dynamic shared memory, aligned to 1024 bytes. The empty asm hides from the compiler that the base is a
// constant, which it would otherwise compute anew at each use.
MHCJIT_DEVICE SharedAddress shared_base() {
  extern __shared__ __align__(1024) float mhcjit_shared_tiles[];
  SharedAddress base = static_cast<SharedAddress>(__cvta_generic_to_shared(mhcjit_shared_tiles));
  asm volatile("" : "+r"(base));
  return base;
}

// ---- Loads and stores of 2 to 16 bytes; the address is aligned to their size ---------------------------------------

MHCJIT_DEVICE float load_shared(SharedAddress address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}
MHCJIT_DEVICE Vector<float, 2> load_shared_2(SharedAddress address) {
  Vector<float, 2> value;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(value[0]), "=f"(value[1]) : "r"(address) : "memory");
  return value;
}
MHCJIT_DEVICE Vector<float, 4> load_shared_4(SharedAddress address) {
  Vector<float, 4> value;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value[0]), "=f"(value[1]), "=f"(value[2]), "=f"(value[3])
               : "r"(address)
               : "memory");
  return value;
}
template <int count>
MHCJIT_DEVICE Vector<u32, count> load_shared_words(SharedAddress address) {
  static_assert(count == 2 || count == 4);
  Vector<u32, count> value;
  if constexpr (count == 2)
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(value[0]), "=r"(value[1]) : "r"(address) : "memory");
  else
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value[0]), "=r"(value[1]), "=r"(value[2]), "=r"(value[3])
                 : "r"(address)
                 : "memory");
  return value;
}
MHCJIT_DEVICE u16 load_shared_half(SharedAddress address) {
  u16 value;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(value) : "r"(address) : "memory");
  return value;
}
MHCJIT_DEVICE void store_shared(SharedAddress address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}
MHCJIT_DEVICE void store_shared_4(SharedAddress address, const Vector<float, 4>& value) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(value[0]), "f"(value[1]), "f"(value[2]),
               "f"(value[3])
               : "memory");
}
MHCJIT_DEVICE void store_shared(SharedAddress address, u32 value) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}
MHCJIT_DEVICE void store_shared_words(SharedAddress address, const Vector<u32, 2>& value) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(address), "r"(value[0]), "r"(value[1]) : "memory");
}
MHCJIT_DEVICE void store_shared_words(SharedAddress address, const Vector<u32, 4>& value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value[0]), "r"(value[1]), "r"(value[2]),
               "r"(value[3])
               : "memory");
}

// 16 bytes to global memory, in one instruction; the address is aligned to 16.
MHCJIT_DEVICE void store_words(void* address, const Vector<u32, 4>& value) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)), "r"(value[0]),
               "r"(value[1]), "r"(value[2]), "r"(value[3])
               : "memory");
}

// ---- Copies from global to shared memory that a thread waits for itself -------------------------------------------

// 4, 8 or 16 bytes, both addresses aligned to them.
template <int bytes>
MHCJIT_DEVICE void copy_async(SharedAddress to, const void* from) {
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(__cvta_generic_to_global(from)) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "n"(bytes)
                 : "memory");
}

// The same of the first `source_bytes`, of which there may be none: nothing behind them is read. Zeros in the place of
// the others.
template <int bytes>
MHCJIT_DEVICE void copy_async_first(SharedAddress to, const void* from, int source_bytes) {
  if constexpr (bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                 "r"(source_bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                 "n"(bytes), "r"(source_bytes)
                 : "memory");
}

// All or nothing: zeros where nothing `exists` to be copied.
template <int bytes>
MHCJIT_DEVICE void copy_async_or_zeros(SharedAddress to, const void* from, bool exists) {
  copy_async_first<bytes>(to, from, exists ? bytes : 0);
}

// Makes a group of the copies that the thread has asked for since it made the last one.
MHCJIT_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all of the thread's groups but the `pending` youngest. The thread sees their bytes; others do after a
// barrier of theirs.
template <int pending>
MHCJIT_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// ---- Pairs of 16-bit elements in a word: the element of the lower column stands in the lower half -----------------

template <class Element>
MHCJIT_DEVICE u32 pack(float low, float high);
template <>
MHCJIT_DEVICE u32 pack<bf16>(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <>
MHCJIT_DEVICE u32 pack<fp16>(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

template <class Element>
MHCJIT_DEVICE float low_half(u32 pair) {
  return to_float(Element{static_cast<u16>(pair & 0xffffu)});
}
template <class Element>
MHCJIT_DEVICE float high_half(u32 pair) {
  return to_float(Element{static_cast<u16>(pair >> 16)});
}
template <>
MHCJIT_DEVICE float low_half<bf16>(u32 pair) {
  return float_of_bits(pair << 16);
}
template <>
MHCJIT_DEVICE float high_half<bf16>(u32 pair) {
  return float_of_bits(pair & 0xffff0000u);
}

// ---- Tensor cores. Every lane of the warp takes part in each ------------------------------------------------------

// Four 8 x 8 matrices of 16-bit elements. Lane 8 m + r gives the address of row r of matrix m (16 bytes, aligned); lane
// l receives in word m elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of matrix m
// (https://docs.nvidia.com/cuda/parallel-thread-execution/#warp-level-matrix-instructions-ldmatrix).
MHCJIT_DEVICE Vector<u32, 4> load_matrices(SharedAddress row) {
  Vector<u32, 4> words;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(row)
               : "memory");
  return words;
}

// The same of the transposed matrices: lane l receives in word m rows 2 (l % 4) and 2 (l % 4) + 1 of column l / 4.
MHCJIT_DEVICE Vector<u32, 4> load_matrices_transposed(SharedAddress row) {
  Vector<u32, 4> words;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(row)
               : "memory");
  return words;
}

// Writes what load_matrices_transposed reads.
MHCJIT_DEVICE void store_matrices_transposed(SharedAddress row, const Vector<u32, 4>& words) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(words[0]),
               "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
#else
  const u32 lane = threadIdx.x % warp_size;
#pragma unroll
  for (int matrix = 0; matrix < 4; ++matrix) {
    u32 transposed;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(words[matrix]));
    const SharedAddress to = __shfl_sync(0xffffffffu, row, matrix * 8 + lane / 4) + lane % 4 * 4;
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(transposed) : "memory");
  }
#endif
}

// sums += A * B with A 16 x 16, B 16 x 8, sums 16 x 8 in fp32, in the layout of mma.m16n8k16
// (https://docs.nvidia.com/cuda/parallel-thread-execution/#warp-level-matrix-fragment-mma-16816-float). A
// lane with g = lane / 4 and q = lane % 4 holds
//   a[0], a[1], a[2], a[3]: columns 2q, 2q + 1 of rows g and g + 8, then columns 2q + 8, 2q + 9 of the same rows;
//   b[0], b[1]: rows 2q, 2q + 1 and 2q + 8, 2q + 9 of column g;
//   sums: columns 2q and 2q + 1 of row g, then of row g + 8.
template <class Element>
MHCJIT_DEVICE void multiply_add(float (&sums)[4], const Vector<u32, 4>& a, u32 b0, u32 b1);
template <>
MHCJIT_DEVICE void multiply_add<bf16>(float (&sums)[4], const Vector<u32, 4>& a, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
MHCJIT_DEVICE void multiply_add<fp16>(float (&sums)[4], const Vector<u32, 4>& a, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same with A 16 x 8 and B 8 x 8: a0 and a1 are columns 2q, 2q + 1 of rows g and g + 8; b0 is rows 2q, 2q + 1 of
// column g.
template <class Element>
MHCJIT_DEVICE void multiply_add(float (&sums)[4], u32 a0, u32 a1, u32 b0);
template <>
MHCJIT_DEVICE void multiply_add<bf16>(float (&sums)[4], u32 a0, u32 a1, u32 b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(b0));
}
template <>
MHCJIT_DEVICE void multiply_add<fp16>(float (&sums)[4], u32 a0, u32 a1, u32 b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(b0));
}

// ---- A warp together ----------------------------------------------------------------------------------------------

// The lane, read anew from the machine: for uses so rare that a register kept for them is wasted.
MHCJIT_DEVICE int lane_index() {
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

// Every lane arrives; memory accesses before it are seen after it by the lanes of the warp.
MHCJIT_DEVICE void warp_barrier() { __syncwarp(); }

// The value of lane `lane`. Every lane of the warp takes part.
MHCJIT_DEVICE float shuffle(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }

// True in every lane if `value` is true in one. Every lane of the warp takes part.
MHCJIT_DEVICE bool any_lane(bool value) { return __any_sync(0xffffffffu, value) != 0; }

}  // namespace device
