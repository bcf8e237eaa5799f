// Device vocabulary, on the host: the names of templates/device/async.cuh. The meaning of each stands there.
//
// Conformance: what a finished wait lets a thread see is the same, but for cluster_wait, after which here all is seen
// that stands before the arrivals. A device may let a thread see more, earlier.
#pragma once

#include <device/device.cuh>
#include <device/matrix.cuh>

#include "box_store.h"
#include "transfer.h"

namespace device {

// ---- Barriers -------------------------------------------------------------------------------------------------------

inline u32 barrier_offset(const char* operation, SharedAddress barrier, const Place& where) {
  return mhcjit::sim::shared_offset(operation, barrier, 8, 8, where);
}

inline void barrier_init(SharedAddress barrier, int arrivals, const Place& where = Place::current()) {
  mhcjit::sim::check_arrivals(arrivals, where);
  mhcjit::sim::barrier_init(barrier_offset("barrier_init", barrier, where), arrivals, where);
}
inline void barrier_init_fence(const Place& where = Place::current()) { mhcjit::sim::barrier_init_fence(where); }
inline void barrier_arrive(SharedAddress barrier, const Place& where = Place::current()) {
  mhcjit::sim::barrier_step(barrier_offset("barrier_arrive", barrier, where), {.arrivals = 1}, where);
}
inline void barrier_arrive_expect(SharedAddress barrier, int bytes, const Place& where = Place::current()) {
  mhcjit::sim::barrier_step(barrier_offset("barrier_arrive_expect", barrier, where), {.arrivals = 1, .expected = bytes},
                            where);
}
inline void barrier_wait(SharedAddress barrier, int parity, const Place& where = Place::current()) {
  mhcjit::sim::check_parity(parity, where);
  mhcjit::sim::barrier_wait(barrier_offset("barrier_wait", barrier, where), parity, mhcjit::sim::Scope::block, where);
}
inline void barrier_wait_cluster(SharedAddress barrier, int parity, const Place& where = Place::current()) {
  mhcjit::sim::check_parity(parity, where);
  mhcjit::sim::barrier_wait(barrier_offset("barrier_wait_cluster", barrier, where), parity, mhcjit::sim::Scope::cluster,
                            where);
}

// ---- Copies ---------------------------------------------------------------------------------------------------------

struct alignas(64) TensorMap {
  unsigned char opaque[128];
};
static_assert(sizeof(TensorMap) == mhcjit::sim::tensor_map_bytes);

// The offset of a box in shared memory, whose rows begin at column c0 of the tensor.
inline u32 box_offset(const char* operation, const mhcjit::sim::TensorShape& shape, int c0, SharedAddress address,
                      const Place& where) {
  mhcjit::sim::check_multiple_of_16(operation, i64{c0} * shape.element_bytes(), where);
  // The swizzle's pattern begins there.
  const u32 alignment = shape.swizzle_bytes == 0 ? 128 : shape.swizzle_bytes * 8;
  return mhcjit::sim::shared_offset(operation, address, shape.box_bytes(), alignment, where);
}

inline void copy_box(SharedAddress to, const TensorMap& map, int c0, int c1, int c2, SharedAddress barrier,
                     const Place& where = Place::current()) {
  const mhcjit::sim::TensorShape shape = mhcjit::sim::decode(map.opaque);
  mhcjit::sim::start(mhcjit::sim::Transfer{.operation = "copy_box",
                                           .where = where,
                                           .rank = static_cast<u32>(mhcjit::sim::position().cluster_rank),
                                           .to = box_offset("copy_box", shape, c0, to, where),
                                           .barrier = barrier_offset("copy_box", barrier, where),
                                           .bytes = shape.box_bytes(),
                                           .source = mhcjit::sim::Transfer::Box{shape, {c0, c1, c2}}});
}

inline void copy_bytes(SharedAddress to, const void* from, int bytes, SharedAddress barrier,
                       const Place& where = Place::current()) {
  if (bytes <= 0 || bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0)
    throw mhcjit::sim::Fault("copy_bytes at " + mhcjit::sim::to_string(where) + ": the source or the count " +
                             std::to_string(bytes) + " is not a multiple of 16");
  mhcjit::sim::start(
      mhcjit::sim::Transfer{.operation = "copy_bytes",
                            .where = where,
                            .rank = static_cast<u32>(mhcjit::sim::position().cluster_rank),
                            .to = mhcjit::sim::shared_offset("copy_bytes", to, static_cast<u32>(bytes), 16, where),
                            .barrier = barrier_offset("copy_bytes", barrier, where),
                            .bytes = static_cast<u32>(bytes),
                            .source = mhcjit::sim::Transfer::Bytes{from}});
}

// What it orders, the simulator never has out of order.
inline void copy_fence() {}

inline void start_store(const char* operation, const TensorMap& map, std::array<int, 3> first, SharedAddress from,
                        bool adds, const Place& where) {
  const mhcjit::sim::TensorShape shape = mhcjit::sim::decode(map.opaque);
  const u32 offset = box_offset(operation, shape, first[0], from, where);
  mhcjit::sim::check_multiple_of_16(operation, static_cast<i64>(shape.sizes[0]) * shape.element_bytes(), where);
  if (first[0] < 0 || first[1] < 0 || first[2] < 0)
    throw mhcjit::sim::Fault(std::string(operation) + " at " + mhcjit::sim::to_string(where) +
                             ": a coordinate is negative");
  const auto* const shared = reinterpret_cast<const std::byte*>(mhcjit::sim::position().shared);
  mhcjit::sim::start(
      mhcjit::sim::BoxStore{.shape = shape, .first = first, .from = shared + offset, .address = from, .adds = adds});
}
inline void store_box(const TensorMap& map, int c0, int c1, int c2, SharedAddress from,
                      const Place& where = Place::current()) {
  start_store("store_box", map, {c0, c1, c2}, from, false, where);
}
inline void add_box(const TensorMap& map, int c0, int c1, int c2, SharedAddress from,
                    const Place& where = Place::current()) {
  start_store("add_box", map, {c0, c1, c2}, from, true, where);
}
inline void store_commit() { mhcjit::sim::store_commit(); }
template <int pending>
void store_wait_read(const Place& where = Place::current()) {
  mhcjit::sim::store_wait_read(pending, where);
}
template <int pending>
void store_wait(const Place& where = Place::current()) {
  mhcjit::sim::store_wait(pending, where);
}

// ---- Clusters -------------------------------------------------------------------------------------------------------

inline int cluster_rank() { return mhcjit::sim::position().cluster_rank; }
inline int cluster_blocks() { return mhcjit::sim::position().cluster_size; }
inline void cluster_arrive(const Place& where = Place::current()) { mhcjit::sim::cluster_arrive(where); }
inline void cluster_arrive_release(const Place& where = Place::current()) { mhcjit::sim::cluster_arrive(where); }
inline void cluster_wait(const Place& where = Place::current()) { mhcjit::sim::cluster_wait(where); }

struct ClusterAddress {
  u32 value;
};

inline ClusterAddress in_block(SharedAddress address, int rank, const Place& where = Place::current()) {
  return {mhcjit::sim::cluster_address(address, rank, where)};
}

inline float load_cluster(ClusterAddress from, const Place& where = Place::current()) {
  const mhcjit::sim::ClusterPlace source = mhcjit::sim::cluster_place(from.value, where);
  // The blocks of a launch have the same shared memory.
  const u32 offset = mhcjit::sim::shared_offset("load_cluster", source.address, 4, 4, where);
  float value;
  std::memcpy(&value, mhcjit::sim::cluster_memory(source.rank, where) + offset, sizeof(value));
  return value;
}

inline void send(ClusterAddress to, const Vector<float, 4>& value, ClusterAddress barrier,
                 const Place& where = Place::current()) {
  const mhcjit::sim::ClusterPlace target = mhcjit::sim::cluster_place(to.value, where);
  const mhcjit::sim::ClusterPlace counter = mhcjit::sim::cluster_place(barrier.value, where);
  if (target.rank != counter.rank)
    throw mhcjit::sim::Fault("send at " + mhcjit::sim::to_string(where) +
                             ": the bytes and their barrier are in different blocks");
  // The blocks of a launch have the same shared memory.
  mhcjit::sim::start(
      mhcjit::sim::Transfer{.operation = "send",
                            .where = where,
                            .rank = target.rank,
                            .to = mhcjit::sim::shared_offset("send", target.address, 16, 16, where),
                            .barrier = barrier_offset("send", counter.address, where),
                            .bytes = 16,
                            .source = mhcjit::sim::Transfer::Words{{value[0], value[1], value[2], value[3]}}});
}

// ---- Registers ------------------------------------------------------------------------------------------------------

template <int count>
void raise_registers(const Place& where = Place::current()) {
  static_assert(count % 8 == 0 && count >= 24 && count <= 256);
  mhcjit::sim::set_registers(count, where);
}
template <int count>
void lower_registers(const Place& where = Place::current()) {
  static_assert(count % 8 == 0 && count >= 24 && count <= 256);
  mhcjit::sim::set_registers(count, where);
}

}  // namespace device
