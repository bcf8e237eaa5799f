/* Device memory for programs that have no CUDA of their own: tools, examples, tests.
 *
 * A host application that already uses CUDA needs nothing here: its own contexts, pointers and streams go straight
 * into mhcjit.h. Otherwise four steps put a tensor on a GPU:
 *
 *     int32_t count;   mhcjit_device_count(&count);                          0: use MHCJIT_DEVICE_CPU
 *     mhcjit_device_open(0);                                                 once per thread
 *     void *x;         mhcjit_memory_allocate(bytes, &x);
 *                      mhcjit_memory_copy_to_device(x, host_x, bytes);
 *
 * All calls are synchronous and work on the calling thread's current CUDA context and on libcuda.so.1 from the
 * loader's path, or on the one that is already in the process. They are not for a hot path, and none may be called
 * while a stream of the process is being captured.
 *
 * Threads: as in mhcjit.h. A current context belongs to one thread: each thread that allocates, copies or launches
 * opens the device first. Failures leave their text in mhcjit_last_error(). */
#ifndef MHCJIT_MEMORY_H
#define MHCJIT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "mhcjit/mhcjit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Number of CUDA devices. A machine without a driver, with too old a driver or without a device gives 0 and success:
 * the absence of a GPU is an answer, not a failure. `mhcjit doctor` says what is missing.
 * Errors: NULL_POINTER, FORKED. On failure *count is unchanged. */
MHCJIT_API mhcjit_status mhcjit_device_count(int32_t* count);

/* Makes device `ordinal` (0 .. count - 1) current on the calling thread. It retains the device's primary context, the
 * one that the CUDA run-time library and PyTorch use, and keeps it while the process lives.
 * Cost: 0.1-1 s the first time in a process, microseconds afterwards.
 * Errors: INVALID_ARGUMENT (ordinal), NO_DEVICE, OUT_OF_MEMORY, FORKED. On failure the current context is unchanged. */
MHCJIT_API mhcjit_status mhcjit_device_open(int32_t ordinal);

/* Allocates `bytes` of memory on the current context's device, aligned to at least 256. Its content is undefined.
 * 0 bytes gives a NULL pointer and success.
 * Errors: NULL_POINTER, NO_DEVICE (no driver, or no context is current), OUT_OF_MEMORY, FORKED. On failure *memory is
 * NULL. */
MHCJIT_API mhcjit_status mhcjit_memory_allocate(size_t bytes, void** memory);

/* Frees what mhcjit_memory_allocate gave, after the work that uses it has finished; NULL is allowed.
 * Errors: INVALID_ARGUMENT (not an allocation), NO_DEVICE, LAUNCH_FAILED (an earlier kernel faulted), FORKED. */
MHCJIT_API mhcjit_status mhcjit_memory_free(void* memory);

/* Copies `bytes` from host memory to device memory, after the work enqueued before it on the default stream; `host`
 * may be overwritten as soon as it returns.
 * Errors: NULL_POINTER (with bytes > 0), INVALID_ARGUMENT (not device memory, or less of it than `bytes`), NO_DEVICE,
 * LAUNCH_FAILED (an earlier kernel faulted), FORKED. */
MHCJIT_API mhcjit_status mhcjit_memory_copy_to_device(void* device, const void* host, size_t bytes);

/* Copies `bytes` from device memory to host memory, after the work enqueued before it on the default stream; `host`
 * is complete when it returns. A copy after a launch on the default stream is therefore all that a synchronous
 * program needs. Errors: as mhcjit_memory_copy_to_device. */
MHCJIT_API mhcjit_status mhcjit_memory_copy_to_host(void* host, const void* device, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_MEMORY_H */
