// Device vocabulary: asynchronous copies, the barriers they complete on, and clusters. Compute capability 9.0 and
// newer.
#pragma once

#include <device/device.cuh>
#include <device/matrix.cuh>

namespace device {

// ---- Barriers in shared memory: 8 bytes, aligned to 8 -------------------------------------------------------------
//
// A barrier's phase ends when `arrivals` threads have arrived and every byte that was expected has come; the next phase
// begins at once. The first phase has parity 0, the next 1, then 0 again. Bytes may come before they are expected.

MHCJIT_DEVICE void barrier_init(SharedAddress barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes the calling thread's barrier_init visible to the copies and to the cluster, once a barrier of the block or of
// the cluster has followed.
MHCJIT_DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Arrives. Memory accesses before it are seen by whoever waited for the phase.
MHCJIT_DEVICE void barrier_arrive(SharedAddress barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and lets the phase expect `bytes` more.
MHCJIT_DEVICE void barrier_arrive_expect(SharedAddress barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits for the end of the phase of this parity, which is the present or the previous phase. Writes of threads of the
// block that arrived, and of copies of the block, are seen after it.
MHCJIT_DEVICE void barrier_wait(SharedAddress barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra passed;\n"
      "bra again;\n"
      "passed:\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// The same where the bytes come from other blocks of the cluster.
MHCJIT_DEVICE void barrier_wait_cluster(SharedAddress barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra passed;\n"
      "bra again;\n"
      "passed:\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// ---- Copies from global to shared memory --------------------------------------------------------------------------
//
// One thread issues each; its bytes count on `barrier`.

// A tensor map (CUtensorMap), which the driver encodes; an argument of the kernel, by value.
struct alignas(64) TensorMap {
  unsigned char opaque[128];
};

// Copies a box of a tensor of three dimensions, first element at (c0, c1, c2), to `to`, as the map's swizzle lays it
// out (https://docs.nvidia.com/cuda/parallel-thread-execution/#tensor-swizzling-modes). Elements outside the tensor
// become zero; their bytes count. c0 is at a multiple of 16 bytes; otherwise an H200 reports an illegal instruction.
MHCJIT_DEVICE void copy_box(SharedAddress to, const TensorMap& map, int c0, int c1, int c2, SharedAddress barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(to),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier)
      : "memory");
}

// `bytes` consecutive bytes; both addresses and the count are multiples of 16.
MHCJIT_DEVICE void copy_bytes(SharedAddress to, const void* from, int bytes, SharedAddress barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}

// Orders what the calling thread wrote to shared memory before copies to the same place that are issued later, by
// whoever learns of it.
MHCJIT_DEVICE void copy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- Copies from shared to global memory --------------------------------------------------------------------------
//
// They read what copy_fence has ordered before them. The thread that asks for them makes groups of them, and it alone
// can wait for these.

// Stores a box of shared memory, laid out as the map's swizzle says, to the tensor, first element at (c0, c1, c2), with
// c0 at a multiple of 16 bytes. Elements beyond the tensor's ends are not written; its rows are multiples of 16 bytes.
// No coordinate is negative; otherwise an H200 reports an illegal instruction.
MHCJIT_DEVICE void store_box(const TensorMap& map, int c0, int c1, int c2, SharedAddress from) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(&map),
               "r"(c0), "r"(c1), "r"(c2), "r"(from)
               : "memory");
}

// Adds the box to the tensor, each element in the map's type.
MHCJIT_DEVICE void add_box(const TensorMap& map, int c0, int c1, int c2, SharedAddress from) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(&map),
      "r"(c0), "r"(c1), "r"(c2), "r"(from)
      : "memory");
}

// Makes a group of the stores that the thread has asked for since it made the last one.
MHCJIT_DEVICE void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Waits until all of the thread's groups but the `pending` youngest have read their shared memory, which may be written
// again then.
template <int pending>
MHCJIT_DEVICE void store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
}

// Waits until they are written; the thread sees it.
template <int pending>
MHCJIT_DEVICE void store_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(pending) : "memory");
}

// ---- Clusters: blocks that run at the same time and reach each other's shared memory ------------------------------

MHCJIT_DEVICE int cluster_rank() {
  u32 rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}

// Blocks of the cluster.
MHCJIT_DEVICE int cluster_blocks() {
  u32 count;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(count));
  return static_cast<int>(count);
}

// Every thread of the cluster arrives once and then waits once. After the wait it sees what barrier_init_fence stands
// for, and need not see anything else from before an arrival, which would have to wait for all of that. Called by whole
// warps.
MHCJIT_DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
MHCJIT_DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// Arrives likewise; after the wait, what this thread wrote before it is seen by every thread of the cluster.
MHCJIT_DEVICE void cluster_arrive_release() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }

// An address in the shared memory of some block of the cluster.
struct ClusterAddress {
  u32 value;
};

// The address in the block of this rank that corresponds to `address` in this block.
MHCJIT_DEVICE ClusterAddress in_block(SharedAddress address, int rank) {
  ClusterAddress mapped;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped.value) : "r"(address), "r"(rank));
  return mapped;
}

// Reads from the block that `from` is in, which has not ended.
MHCJIT_DEVICE float load_cluster(ClusterAddress from) {
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(from.value) : "memory");
  return value;
}

// Writes 16 bytes into the block that `to` and `barrier` are in; they count on `barrier`.
MHCJIT_DEVICE void send(ClusterAddress to, const Vector<float, 4>& value, ClusterAddress barrier) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to.value),
      "f"(value[0]), "f"(value[1]), "f"(value[2]), "f"(value[3]), "r"(barrier.value)
      : "memory");
}

// ---- Registers ----------------------------------------------------------------------------------------------------

// Sets the registers of each thread, a multiple of 8 from 24 to 256. The four warps of a warp group (warps 4 g to
// 4 g + 3) all do it. Raising waits until others have given back what is needed.
template <int count>
MHCJIT_DEVICE void raise_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
MHCJIT_DEVICE void lower_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

}  // namespace device
