/* Outcomes of the library's functions, and how its structs grow.
 *
 * Structs that a caller fills or receives begin with struct_size, which says how much of them the caller's program
 * knows: the library reads and writes no more. In C each has an initialiser, MHCJIT_..._INIT, which sets struct_size
 * and whatever else does not begin as zero; in C++ (14 and later) every object begins so, `= {}` included. A program
 * that fills a struct by other means, memset perhaps, writes sizeof of it.
 *
 *     0 or less than the first version had   INVALID_ARGUMENT
 *     less than the library knows            the program is older: fields that it does not know begin as initialised
 *     more than the library knows            the program is newer: what lies beyond must be zero in a struct that is
 *                                            filled, and stays as it is in one that is received
 */
#ifndef MHCJIT_STATUS_H
#define MHCJIT_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MHCJIT_BUILDING_LIBRARY)
#define MHCJIT_API __attribute__((visibility("default")))
#else
#define MHCJIT_API
#endif

/* For this library's own headers: what a member begins as in C++, and an initialiser. */
#ifdef __cplusplus
#define MHCJIT_BEGINS_AS(value) = value
#define MHCJIT_INITIALISER(...) \
  {                             \
  }
#else
#define MHCJIT_BEGINS_AS(value)
#define MHCJIT_INITIALISER(...) {__VA_ARGS__}
#endif

/* Outcome of a call. The numbers are part of the interface and never change meaning. A call that fails has
 * launched nothing, written nothing and lost nothing; LAUNCH_FAILED and OUT_OF_MEMORY alone can come from a later
 * kernel of a call whose earlier ones are already enqueued: its outputs are then undefined. */
typedef enum mhcjit_status {
  MHCJIT_SUCCESS = 0,
  /* A value outside what is allowed: negative T, n outside 1..16, D < 1, an unknown dtype or architecture, a
   * malformed option. Remedy: the text names the argument, the value given and the values allowed. */
  MHCJIT_ERROR_INVALID_ARGUMENT = 1,
  /* A required pointer is NULL. Remedy: pass the tensor that the text names. */
  MHCJIT_ERROR_NULL_POINTER = 2,
  /* A pointer is not aligned as its row length asks. Remedy: the text says the alignment; memory that an
   * allocator returns always has it, a view into the middle of a row may not. */
  MHCJIT_ERROR_MISALIGNED_POINTER = 3,
  /* The workspace is smaller than mhcjit_workspace_bytes(op, T). Remedy: the text says how much is needed. */
  MHCJIT_ERROR_WORKSPACE_TOO_SMALL = 4,
  /* A pointer is host memory or memory of another device, or the current context belongs to another device than
   * the operator was prepared for. Remedy: prepare under that device's context, or move the tensor.
   * Each thread remembers the pointers that passed and does not ask the driver about them again: when such memory is
   * freed and its address later belongs to other memory, that is not noticed. A refused pointer is never remembered. */
  MHCJIT_ERROR_WRONG_DEVICE = 5,
  /* The CUDA driver (libcuda.so.1) is absent, too old, or reports no device; or no context is current on this
   * thread. Remedy: install a driver, make a context current, or use MHCJIT_DEVICE_CPU. */
  MHCJIT_ERROR_NO_DEVICE = 6,
  /* NVRTC is needed and was not found. Remedy: install the nvidia-cuda-nvrtc wheel or a CUDA toolkit, set
   * MHCJIT_NVRTC, or ship a warm cache; `mhcjit doctor` lists the folders searched. */
  MHCJIT_ERROR_NO_NVRTC = 7,
  /* NVRTC refused the generated source. The text carries its log, the options and where the source was kept.
   * Remedy: an architecture that this NVRTC does not know needs a newer NVRTC; anything else is a fault of
   * this library worth reporting with that text. */
  MHCJIT_ERROR_COMPILATION_FAILED = 8,
  /* The stream is being captured and the operator is not prepared yet: preparing cannot happen inside a
   * capture. The capture stays valid. Remedy: call mhcjit_prepare before the capture begins. */
  MHCJIT_ERROR_NOT_PREPARED = 9,
  /* The driver refused the compiled kernel, even after it was compiled anew. Remedy: the driver may be older
   * than the NVRTC that compiled it; the text has both versions.
   * Or the device, a MIG slice perhaps, cannot run even one cluster, or cooperative group of blocks, of a plan that
   * `plan` or $MHCJIT_PLAN asks for. Remedy: ask for none. If the library chose the plan, this is no error: the
   * cheapest plans without clusters take its place, with a warning to the log. */
  MHCJIT_ERROR_LOAD_FAILED = 10,
  /* The driver refused the launch. The text carries the driver's own error name. Often an earlier asynchronous
   * fault of the process reported late. */
  MHCJIT_ERROR_LAUNCH_FAILED = 11,
  /* Host or device memory ran out. Remedy: free memory and call again. */
  MHCJIT_ERROR_OUT_OF_MEMORY = 12,
  /* A file or folder that the caller named cannot be read or written. The text has the path and the reason. */
  MHCJIT_ERROR_IO = 13,
  /* A file that the caller named is not what it should be. The text says which field, what it holds and what it
   * should hold. */
  MHCJIT_ERROR_BAD_FILE = 14,
  /* This process was forked after its parent had initialised CUDA here, or had started the threads of this engine's
   * CPU path, neither of which a child has. Remedy: create the engine after the fork, or start the child with exec. */
  MHCJIT_ERROR_FORKED = 15,
  /* The kernel is in no cache folder, and no_compile or $MHCJIT_NO_COMPILE forbids compiling it. Remedy: run the
   * `mhcjit warmup` command that the text has. */
  MHCJIT_ERROR_NOT_IN_CACHE = 16,
  /* A fault of this library. Remedy: report it with the text. */
  MHCJIT_ERROR_INTERNAL = 99
} mhcjit_status;

/* Version of the library, "major.minor.patch". Never NULL, valid for ever. */
MHCJIT_API const char* mhcjit_version(void);

/* Name of a status, such as "MHCJIT_ERROR_NO_NVRTC"; "unknown status" for any other number. Never NULL. */
MHCJIT_API const char* mhcjit_status_name(mhcjit_status status);

/* Text of the calling thread's most recent failure: its inputs, the allowed values and the remedy.
 * "" when no call of this thread has failed. Valid until this thread's next failing call. Never NULL. */
MHCJIT_API const char* mhcjit_last_error(void);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_STATUS_H */
