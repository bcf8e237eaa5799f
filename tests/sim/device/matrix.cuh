// Device vocabulary, on the host: the names of templates/device/matrix.cuh. The meaning of each stands there.
//
// Conformance: all agree with a device bit for bit, except the payload of a NaN, and multiply_add: it rounds the exact
// sum once, where a device aligns the terms and drops what stands below. The two differ by no more than 2^-19 of the
// sum of the terms' magnitudes.
#pragma once

#include <device/device.cuh>

#include <array>
#include <bit>
#include <cstring>

#include "shared_address.h"

namespace device {

using SharedAddress = u32;

inline SharedAddress shared_base() { return mhcjit::sim::shared_base; }

// ---- Loads and stores -----------------------------------------------------------------------------------------------

template <class T>
T load_checked(SharedAddress address, const Place& where) {
  T value;
  std::memcpy(&value, mhcjit::sim::shared_memory("load", address, sizeof(T), sizeof(T), where), sizeof(T));
  return value;
}
template <class T>
void store_checked(SharedAddress address, const T& value, const Place& where) {
  std::memcpy(mhcjit::sim::shared_memory("store", address, sizeof(T), sizeof(T), where), &value, sizeof(T));
}

inline float load_shared(SharedAddress address, const Place& where = Place::current()) {
  return load_checked<float>(address, where);
}
inline Vector<float, 2> load_shared_2(SharedAddress address, const Place& where = Place::current()) {
  return load_checked<Vector<float, 2>>(address, where);
}
inline Vector<float, 4> load_shared_4(SharedAddress address, const Place& where = Place::current()) {
  return load_checked<Vector<float, 4>>(address, where);
}
template <int count>
Vector<u32, count> load_shared_words(SharedAddress address, const Place& where = Place::current()) {
  static_assert(count == 2 || count == 4);
  return load_checked<Vector<u32, count>>(address, where);
}
inline u16 load_shared_half(SharedAddress address, const Place& where = Place::current()) {
  return load_checked<u16>(address, where);
}
inline void store_shared(SharedAddress address, float value, const Place& where = Place::current()) {
  store_checked(address, value, where);
}
inline void store_shared_4(SharedAddress address, const Vector<float, 4>& value,
                           const Place& where = Place::current()) {
  store_checked(address, value, where);
}
inline void store_shared(SharedAddress address, u32 value, const Place& where = Place::current()) {
  store_checked(address, value, where);
}
inline void store_shared_words(SharedAddress address, const Vector<u32, 2>& value,
                               const Place& where = Place::current()) {
  store_checked(address, value, where);
}
inline void store_shared_words(SharedAddress address, const Vector<u32, 4>& value,
                               const Place& where = Place::current()) {
  store_checked(address, value, where);
}

inline void store_words(void* address, const Vector<u32, 4>& value) { store(static_cast<u32*>(address), value); }

// ---- Copies that a thread waits for itself
// ---------------------------------------------------------------------------

template <int bytes>
void copy_async_first(SharedAddress to, const void* from, int source_bytes, const Place& where = Place::current()) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  if (source_bytes < 0 || source_bytes > bytes) throw mhcjit::sim::Fault("copy_async of more than it is of");
  if (source_bytes > 0) check_alignment(from, bytes);
  std::byte* const place = mhcjit::sim::shared_memory("copy_async", to, bytes, bytes, where);
  if (source_bytes > 0) mhcjit::sim::copy_async(place, from, static_cast<std::uint32_t>(source_bytes));
  if (source_bytes < bytes)
    mhcjit::sim::copy_async(place + source_bytes, nullptr, static_cast<std::uint32_t>(bytes - source_bytes));
}
template <int bytes>
void copy_async_or_zeros(SharedAddress to, const void* from, bool exists, const Place& where = Place::current()) {
  copy_async_first<bytes>(to, from, exists ? bytes : 0, where);
}
template <int bytes>
void copy_async(SharedAddress to, const void* from, const Place& where = Place::current()) {
  copy_async_or_zeros<bytes>(to, from, true, where);
}
inline void copy_commit() { mhcjit::sim::copy_commit(); }
template <int pending>
void copy_wait(const Place& where = Place::current()) {
  mhcjit::sim::copy_wait(pending, where);
}

// ---- Pairs of 16-bit elements ---------------------------------------------------------------------------------------

template <class Element>
u32 pack(float low, float high) {
  return u32{from_float<Element>(low).bits} | u32{from_float<Element>(high).bits} << 16;
}
template <class Element>
float low_half(u32 pair) {
  return to_float(Element{static_cast<u16>(pair & 0xffffu)});
}
template <class Element>
float high_half(u32 pair) {
  return to_float(Element{static_cast<u16>(pair >> 16)});
}

// ---- Tensor cores ---------------------------------------------------------------------------------------------------

inline Vector<u32, 4> load_matrices(SharedAddress row, const Place& where = Place::current()) {
  return std::bit_cast<Vector<u32, 4>>(mhcjit::sim::load_matrices(row, where));
}
inline Vector<u32, 4> load_matrices_transposed(SharedAddress row, const Place& where = Place::current()) {
  return std::bit_cast<Vector<u32, 4>>(mhcjit::sim::load_matrices_transposed(row, where));
}
inline void store_matrices_transposed(SharedAddress row, const Vector<u32, 4>& words,
                                      const Place& where = Place::current()) {
  mhcjit::sim::store_matrices_transposed(row, std::bit_cast<std::array<std::uint32_t, 4>>(words), where);
}

// Each product of two floats is exact in double.
template <class Element, std::size_t words>
float sum_of_products(double sum, const std::array<u32, words>& row, const std::array<u32, words>& column) {
  for (std::size_t word = 0; word < words; ++word) {
    sum += static_cast<double>(low_half<Element>(row[word])) * static_cast<double>(low_half<Element>(column[word]));
    sum += static_cast<double>(high_half<Element>(row[word])) * static_cast<double>(high_half<Element>(column[word]));
  }
  return static_cast<float>(sum);
}

template <class Element, std::size_t K>
void add_products(float (&sums)[4], const mhcjit::sim::Fragments<K>& fragments) {
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 2; ++column) {
      float& sum = sums[2 * row + column];
      sum = sum_of_products<Element>(sum, fragments.rows[row], fragments.columns[column]);
    }
  }
}

template <class Element>
void multiply_add(float (&sums)[4], const Vector<u32, 4>& a, u32 b0, u32 b1, const Place& where = Place::current()) {
  add_products<Element>(sums, mhcjit::sim::exchange_fragments<16>({a[0], a[1], a[2], a[3], b0, b1}, where));
}
template <class Element>
void multiply_add(float (&sums)[4], u32 a0, u32 a1, u32 b0, const Place& where = Place::current()) {
  add_products<Element>(sums, mhcjit::sim::exchange_fragments<8>({a0, a1, b0}, where));
}

// ---- A warp together ------------------------------------------------------------------------------------------------

inline int lane_index() { return thread_index() % warp_size; }

inline void warp_barrier(const Place& where = Place::current()) { mhcjit::sim::warp_barrier(where); }

inline float shuffle(float value, int lane, const Place& where = Place::current()) {
  return mhcjit::sim::shuffle(value, lane, where);
}
inline bool any_lane(bool value, const Place& where = Place::current()) { return mhcjit::sim::any_lane(value, where); }

}  // namespace device
