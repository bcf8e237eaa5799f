// Device vocabulary: everything a kernel needs of the machine, so that kernels themselves are plain C++.
//
// Kernels include this header as <device/device.cuh>. A host simulator offers the same names, which is how the same
// kernels run on a machine without a GPU. Nothing here needs a header of CUDA's.
#pragma once

#define MHCJIT_DEVICE __device__ __forceinline__

namespace device {

using i64 = long long;
using u16 = unsigned short;
using u32 = unsigned int;

inline constexpr int warp_size = 32;

MHCJIT_DEVICE u32 float_bits(float value) { return __float_as_uint(value); }
MHCJIT_DEVICE float float_of_bits(u32 bits) { return __uint_as_float(bits); }

// ---- Storage types of x, h_in, dh_in and dx: bits only, arithmetic is fp32 ----------------------------------------

struct bf16 {
  u16 bits;
};
struct fp16 {
  u16 bits;
};

MHCJIT_DEVICE float to_float(float value) { return value; }
MHCJIT_DEVICE float to_float(bf16 value) { return float_of_bits(u32{value.bits} << 16); }
MHCJIT_DEVICE float to_float(fp16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

// Rounds to nearest, ties to even; overflows to infinity.
template <class T>
MHCJIT_DEVICE T from_float(float value);
template <>
MHCJIT_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
MHCJIT_DEVICE bf16 from_float<bf16>(float value) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
template <>
MHCJIT_DEVICE fp16 from_float<fp16>(float value) {
  fp16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

// ---- Vectors: one load or store instruction of up to 16 bytes ------------------------------------------------------

template <class T, int size>
struct alignas(sizeof(T) * size) Vector {
  static_assert(sizeof(T) * size <= 16 && (size & (size - 1)) == 0);
  T element[size];

  MHCJIT_DEVICE T& operator[](int i) { return element[i]; }
  MHCJIT_DEVICE const T& operator[](int i) const { return element[i]; }
};

// `address` is aligned to the whole vector.
template <int size, class T>
MHCJIT_DEVICE Vector<T, size> load(const T* address) {
  return *reinterpret_cast<const Vector<T, size>*>(address);
}
template <int size, class T>
MHCJIT_DEVICE void store(T* address, const Vector<T, size>& value) {
  *reinterpret_cast<Vector<T, size>*>(address) = value;
}

// Asks for the line of 128 bytes at `address`, in global memory, to be brought into the L2 cache.
MHCJIT_DEVICE void prefetch_to_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(address)));
}

// ---- Where this thread is ------------------------------------------------------------------------------------------

MHCJIT_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
MHCJIT_DEVICE i64 block_index_x() { return blockIdx.x; }
MHCJIT_DEVICE int block_index_y() { return static_cast<int>(blockIdx.y); }
MHCJIT_DEVICE i64 grid_size_x() { return gridDim.x; }
MHCJIT_DEVICE int grid_size_y() { return static_cast<int>(gridDim.y); }

// ---- Threads of a block together -----------------------------------------------------------------------------------

// Every thread of the block arrives; shared-memory accesses before it are seen after it.
MHCJIT_DEVICE void block_barrier() { __syncthreads(); }

// The value of the lane whose number differs in the bits of `lane_mask`. Every lane of the warp takes part.
MHCJIT_DEVICE float shuffle_xor(float value, int lane_mask) { return __shfl_xor_sync(0xffffffffu, value, lane_mask); }

// The block's dynamic shared memory, aligned to 16 bytes.
MHCJIT_DEVICE float* shared_floats() {
  extern __shared__ __align__(16) float mhcjit_shared[];
  return mhcjit_shared;
}

// The same value, of which the compiler knows nothing: what is computed from it is computed behind this place.
MHCJIT_DEVICE u32 opaque(u32 value) {
  asm volatile("" : "+r"(value));
  return value;
}

// ---- Blocks that wait for one another -------------------------------------------------------------------------------
//
// They run at the same time if the kernel is launched so (codegen/plan.h, is_cooperative). A block hands others 16
// bytes at a time, which are written and read in one access each. These accesses order no other.

// `address` is aligned to 16 bytes, and nothing else writes there.
MHCJIT_DEVICE Vector<u32, 4> load_relaxed(const u32* address) {
  unsigned long long low, high;
  asm volatile(
      "{\n"
      ".reg .b128 value;\n"
      "ld.relaxed.gpu.global.b128 value, [%2];\n"
      "mov.b128 {%0, %1}, value;\n"
      "}"
      : "=l"(low), "=l"(high)
      : "l"(__cvta_generic_to_global(address))
      : "memory");
  return {{static_cast<u32>(low), static_cast<u32>(low >> 32), static_cast<u32>(high), static_cast<u32>(high >> 32)}};
}
MHCJIT_DEVICE void store_relaxed(u32* address, const Vector<u32, 4>& value) {
  const unsigned long long low = value[0] | static_cast<unsigned long long>(value[1]) << 32;
  const unsigned long long high = value[2] | static_cast<unsigned long long>(value[3]) << 32;
  asm volatile(
      "{\n"
      ".reg .b128 value;\n"
      "mov.b128 value, {%1, %2};\n"
      "st.relaxed.gpu.global.b128 [%0], value;\n"
      "}" ::"l"(__cvta_generic_to_global(address)),
      "l"(low), "l"(high)
      : "memory");
}

// Between two looks at what another block is to write. About as long as asked for.
MHCJIT_DEVICE void sleep_nanoseconds(u32 count) { asm volatile("nanosleep.u32 %0;" ::"r"(count)); }

// ---- Kernels behind one another in a stream ------------------------------------------------------------------------
//
// A kernel that is launched to overlap the one before it (compute capability 9.0 and newer) begins as soon as every
// block of that one has let it or has ended.

// Lets the next kernel begin.
MHCJIT_DEVICE void let_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Waits until the kernel before has ended; what it wrote is seen from here on.
MHCJIT_DEVICE void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- Arithmetic ----------------------------------------------------------------------------------------------------

MHCJIT_DEVICE i64 multiply_wide(u32 a, u32 b) { return static_cast<i64>(static_cast<unsigned long long>(a) * b); }
MHCJIT_DEVICE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
// Within 2 + |1.173 value| ulp: no more than the gates' accuracy needs, and short to compile.
MHCJIT_DEVICE float exponential(float value) { return __expf(value); }

// 1 / value and 1 / sqrt(value), each one instruction: within 1 ulp, and within 2^-22.9 of the value.
MHCJIT_DEVICE float reciprocal(float value) {
  float result;
  asm("rcp.approx.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}
MHCJIT_DEVICE float reciprocal_square_root(float value) {
  float result;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

}  // namespace device
