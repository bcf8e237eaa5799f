// Device vocabulary: products of a warp group, which the tensor cores make while its warps go on. Compute capability
// 9.0a alone.
//
// A warp group is four warps, the first of them at a multiple of four. Its products are made in batches. Until a batch
// has been waited for, neither its sums nor its A operands may be touched, and what it reads of shared memory stays.
#pragma once

#include <device/matrix.cuh>

namespace device {

// Every warp of the group does each of the following.

// Before the first product of a batch: the products see what the warp has written to registers.
MHCJIT_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Makes a batch of the products since the last one.
MHCJIT_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits for all of the group's batches but the `pending` youngest.
template <int pending>
MHCJIT_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// Waits for all of the group's batches, whose sums are then complete. That they pass through it keeps the compiler from
// reading them earlier.
template <int blocks>
MHCJIT_DEVICE void wgmma_wait_for(float (&sums)[blocks][4]) {
  wgmma_wait<0>();
#pragma unroll
  for (int block = 0; block < blocks; ++block) {
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(sums[block][e])::"memory");
  }
}

// sums += A * B for the warp's 16 rows of A, 16 x 16, and `columns` columns of B: 8, 16, 32 or 64. For each eight
// columns a lane holds four sums, laid out as those of multiply_add; so are the words of A.
//
// B stands in shared memory as matrices of eight columns by eight rows: a column's eight elements are 16 bytes, and
// column follows upon column. The columns' matrices follow one another as well; those of rows 8 to 15 begin
// `row_stride` bytes behind those of rows 0 to 7.
template <class Element, int columns>
MHCJIT_DEVICE void wgmma(float (*sums)[4], const Vector<u32, 4>& a, SharedAddress b, int row_stride);

// The matrix descriptor of B has its start, the distance between its halves of eight rows, and that between matrices of
// neighbouring columns, in units of 16 bytes
// (https://docs.nvidia.com/cuda/parallel-thread-execution/#asynchronous-warpgroup-level-matrix-shared-memory-layout-matrix-descriptor).
// It takes the 18 bits of an address that lie in a block: those above have the block's rank in a cluster.
#define MHCJIT_WGMMA(element, type, columns, all_sums, a0, a1, a2, a3, b, stride, ...)                                \
  template <>                                                                                                         \
  MHCJIT_DEVICE void wgmma<element, columns>(float(*sums)[4], const Vector<u32, 4>& a, SharedAddress b0,              \
                                             int row_stride) {                                                        \
    asm volatile(                                                                                                     \
        "{\n"                                                                                                         \
        ".reg .pred adds;\n"                                                                                          \
        ".reg .b64 b;\n"                                                                                              \
        "setp.eq.u32 adds, 0, 0;\n"                                                                                   \
        "mov.b64 b, {" b ", " stride                                                                                  \
        "};\n"                                                                                                        \
        "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" all_sums "}, {" a0 ", " a1 ", " a2 \
        ", " a3                                                                                                       \
        "}, b, adds, 1, 1, 0;\n"                                                                                      \
        "}"                                                                                                           \
        : __VA_ARGS__                                                                                                 \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]),                                                                 \
          "r"(b0 % (1 << 18) / 16 | static_cast<u32>(row_stride / 16) << 16), "r"(128 / 16)                           \
        : "memory");                                                                                                  \
  }
#define MHCJIT_SUMS_OF(i) "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3])
#define MHCJIT_WGMMA_8(element, type) \
  MHCJIT_WGMMA(element, type, 8, "%0, %1, %2, %3", "%4", "%5", "%6", "%7", "%8", "%9", MHCJIT_SUMS_OF(0))
#define MHCJIT_WGMMA_16(element, type)                                                                      \
  MHCJIT_WGMMA(element, type, 16, "%0, %1, %2, %3, %4, %5, %6, %7", "%8", "%9", "%10", "%11", "%12", "%13", \
               MHCJIT_SUMS_OF(0), MHCJIT_SUMS_OF(1))
#define MHCJIT_WGMMA_32(element, type)                                                                           \
  MHCJIT_WGMMA(element, type, 32, "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", \
               "%17", "%18", "%19", "%20", "%21", MHCJIT_SUMS_OF(0), MHCJIT_SUMS_OF(1), MHCJIT_SUMS_OF(2),       \
               MHCJIT_SUMS_OF(3))
#define MHCJIT_WGMMA_64(element, type)                                                                                \
  MHCJIT_WGMMA(element, type, 64,                                                                                     \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
               "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31",                                                    \
               "%32", "%33", "%34", "%35", "%36", "%37", MHCJIT_SUMS_OF(0), MHCJIT_SUMS_OF(1), MHCJIT_SUMS_OF(2),     \
               MHCJIT_SUMS_OF(3), MHCJIT_SUMS_OF(4), MHCJIT_SUMS_OF(5), MHCJIT_SUMS_OF(6), MHCJIT_SUMS_OF(7))
MHCJIT_WGMMA_8(bf16, "bf16")
MHCJIT_WGMMA_16(bf16, "bf16")
MHCJIT_WGMMA_32(bf16, "bf16")
MHCJIT_WGMMA_64(bf16, "bf16")
MHCJIT_WGMMA_8(fp16, "f16")
MHCJIT_WGMMA_16(fp16, "f16")
MHCJIT_WGMMA_32(fp16, "f16")
MHCJIT_WGMMA_64(fp16, "f16")
#undef MHCJIT_WGMMA_64
#undef MHCJIT_WGMMA_32
#undef MHCJIT_WGMMA_16
#undef MHCJIT_WGMMA_8
#undef MHCJIT_SUMS_OF
#undef MHCJIT_WGMMA

}  // namespace device
