// Device vocabulary, on the host: the names of templates/device/device.cuh for the same kernels under a host compiler.
// The meaning of each name stands there.
//
// Conformance: to_float, from_float, Vector, load, store, fma, exponential, reciprocal and reciprocal_square_root are
// plain functions, which a test may call directly and compare with what a device returns for the same bits. All agree
// bit for bit, except exponential (a device's is within 2 + |1.173 value| ulp) and the payload of a NaN. Names that say
// where a thread is or make threads meet work inside mhcjit::sim::run() only.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "simulator.h"
#include "support/half.h"
#include "warp.h"

#define MHCJIT_DEVICE inline
#define __global__
#define __grid_constant__
#define __launch_bounds__(threads, blocks)

namespace device {

using i64 = long long;
using u16 = unsigned short;
using u32 = unsigned int;

inline constexpr int warp_size = mhcjit::sim::warp_size;

inline u32 float_bits(float value) { return std::bit_cast<u32>(value); }
inline float float_of_bits(u32 bits) { return std::bit_cast<float>(bits); }

struct bf16 {
  u16 bits;
};
struct fp16 {
  u16 bits;
};

inline float to_float(float value) { return value; }
inline float to_float(bf16 value) { return mhcjit::bf16_to_float(value.bits); }
inline float to_float(fp16 value) { return mhcjit::fp16_to_float(value.bits); }

template <class T>
T from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
template <>
inline bf16 from_float<bf16>(float value) {
  return {mhcjit::float_to_bf16(value)};
}
template <>
inline fp16 from_float<fp16>(float value) {
  return {mhcjit::float_to_fp16(value)};
}

template <class T, int size>
struct alignas(sizeof(T) * size) Vector {
  static_assert(sizeof(T) * size <= 16 && (size & (size - 1)) == 0);
  T element[size];

  T& operator[](int i) { return element[i]; }
  const T& operator[](int i) const { return element[i]; }
};

// What a device answers with a fault of the whole context.
inline void check_alignment(const void* address, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) throw mhcjit::sim::Fault("misaligned vector access");
}

template <int size, class T>
Vector<T, size> load(const T* address) {
  check_alignment(address, sizeof(Vector<T, size>));
  Vector<T, size> value;
  std::memcpy(&value, address, sizeof(value));
  return value;
}
template <int size, class T>
void store(T* address, const Vector<T, size>& value) {
  check_alignment(address, sizeof(value));
  std::memcpy(address, &value, sizeof(value));
}

inline void prefetch_to_l2(const void* address) {
  if (address == nullptr) throw mhcjit::sim::Fault("prefetch_to_l2 of no address");
}

inline int thread_index() { return mhcjit::sim::position().thread; }
inline i64 block_index_x() { return mhcjit::sim::position().block_x; }
inline int block_index_y() { return static_cast<int>(mhcjit::sim::position().block_y); }
inline i64 grid_size_x() { return mhcjit::sim::position().grid_x; }
inline int grid_size_y() { return static_cast<int>(mhcjit::sim::position().grid_y); }

using mhcjit::sim::Place;

inline void block_barrier(const Place& where = Place::current()) { mhcjit::sim::block_barrier(where); }
inline float shuffle_xor(float value, int lane_mask, const Place& where = Place::current()) {
  return mhcjit::sim::shuffle_xor(value, lane_mask, where);
}
inline float* shared_floats() { return mhcjit::sim::position().shared; }

inline Vector<u32, 4> load_relaxed(const u32* address, const Place& where = Place::current()) {
  check_alignment(address, 16);
  return std::bit_cast<Vector<u32, 4>>(mhcjit::sim::load_relaxed(address, where));
}
inline void store_relaxed(u32* address, const Vector<u32, 4>& value) {
  check_alignment(address, 16);
  mhcjit::sim::store_relaxed(address, std::bit_cast<mhcjit::sim::Words>(value));
}
// The looks before and behind it take as long as they must.
inline void sleep_nanoseconds(u32) {}

// Kernels run one after the other here.
inline void let_next_kernel_begin() {}
inline void wait_for_previous_kernel() {}

inline i64 multiply_wide(u32 a, u32 b) { return static_cast<i64>(a) * static_cast<i64>(b); }
inline u32 opaque(u32 value) { return value; }

inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float exponential(float value) { return std::exp(value); }
inline float reciprocal(float value) { return 1.0f / value; }
inline float reciprocal_square_root(float value) { return 1.0f / std::sqrt(value); }

}  // namespace device
