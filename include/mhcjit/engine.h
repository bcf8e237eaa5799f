/* Engines, problems and what is prepared of them, for every operator.
 *
 * Threads: every function may be called from any number of threads at the same time. The text of
 * mhcjit_last_error() belongs to the calling thread. A thread that calls mhcjit_prepare or mhcjit_compile needs a
 * stack of 512 KiB, since NVRTC runs on it; 256 KiB are enough for every other function.
 *
 * Limits: if no further thread can be made, the calling thread does the work alone. If memory runs out, the result is
 * OUT_OF_MEMORY; NVRTC and the driver may still end the process when memory runs out inside them.
 *
 * The library never prints, exits, aborts or throws through this interface. T is never part of what is
 * compiled. The same call gives the same bits every time, for every output.
 */
#ifndef MHCJIT_ENGINE_H
#define MHCJIT_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "mhcjit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Engine: the compiler, the cache and the prepared operators ------------------------------------------- */

typedef struct mhcjit_engine mhcjit_engine;

typedef enum mhcjit_log_level {
  MHCJIT_LOG_WARNING = 1, /* something is degraded, the result is still right; each kind is said once */
  MHCJIT_LOG_INFO = 2,    /* one line per compile or load */
  MHCJIT_LOG_TRACE = 3    /* one line per event, with the fields of docs/observability.md */
} mhcjit_log_level;

/* Receives one line without a newline. Called from whichever thread meets the event; must not call back into the
 * library. */
typedef void (*mhcjit_log_callback)(mhcjit_log_level level, const char* line, void* user);

/* Start from `mhcjit_engine_options options = MHCJIT_ENGINE_OPTIONS_INIT;`: all fields may stay as they are then.
 * Strings are copied. */
typedef struct mhcjit_engine_options {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_engine_options)); /* how structs grow: status.h */
  const char* cache_dir;      /* NULL: $MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else $HOME/.cache/mhcjit, where
                                 one that is not an absolute path is not used, which is a warning to the log;
                                 "" keeps compiled kernels in memory only */
  const char* nvrtc_path;     /* libnvrtc.so file; NULL: $MHCJIT_NVRTC, else the first of those already loaded in the
                                 process, beside the program, in nvidia-cuda-nvrtc wheels, in $CUDA_PATH, $CUDA_HOME,
                                 the loader's path and /usr/local/cuda that knows the architecture and whose kernels
                                 the driver can load */
  const char* driver_path;    /* libcuda.so file; NULL: libcuda.so.1 from the loader's path */
  const char* template_dir;   /* development: read kernel templates from here, not from the library; NULL: embedded */
  mhcjit_log_callback log;    /* NULL: nothing is logged */
  void* log_user;             /* handed to `log` */
  mhcjit_log_level log_level; /* most detailed level handed to `log`; 0: warnings */
  int32_t cpu_threads;        /* threads of a call on the CPU, at most; 0: one per core */
  const char* read_only_cache_dirs; /* folders that are searched after cache_dir and never written, with : between
                                       them; NULL: the absolute paths in $MHCJIT_CACHE_RO, others are a warning to
                                       the log, then the Python package mhcjit-kernels beside the one that holds
                                       this library; "": none. Entries found there are copied to cache_dir */
  int32_t no_compile;        /* 1: a kernel that no cache folder has is NOT_IN_CACHE, and the compiler is never opened;
                                0: the same when $MHCJIT_NO_COMPILE is 1 */
  const char* record_path;   /* file to which each problem that no cache folder has is appended as a line of a shapes
                                file (docs/shapes.md), once a process, compiled or not; NULL: $MHCJIT_RECORD; "": none.
                                A file that cannot be written is a warning to the log */
  const char* plan;          /* development: which plans serve every problem that they fit, a family and parameters of
                                it, "one_pass" or "two_pass cluster_size=0" (docs/DESIGN.md), or "clusters=0",
                                those without clusters and cooperative launches; for the others the library chooses.
                                NULL: $MHCJIT_PLAN; "": the library chooses for all */
  const char* remote_url;    /* HTTP server that is asked for what no cache folder has, and sent what is compiled:
                                "http://HOST:PORT/PATH" or https, below which an entry is PATH/<digest>; NULL:
                                $MHCJIT_CACHE_REMOTE; "": none. A request takes 2 s at most; after a failure, which is a
                                warning to the log, the process does not ask it again. https trusts the
                                certificates in the file $SSL_CERT_FILE, else the system's. Needs libcurl.so.4 */
  int32_t remote_read_only;  /* 1: nothing is sent; 0: the same when $MHCJIT_CACHE_REMOTE_READ_ONLY is 1 */
  const char* hmac_key_file; /* file of a secret key, open to its owner alone: entries of every folder and of the
                                server carry an HMAC-SHA256 made with it, and others are not used; NULL:
                                $MHCJIT_CACHE_KEY_FILE; "": none. One that cannot be read is a warning to the log, and
                                no cache is used */
  const char* tuned_path;    /* tuned record (docs/tuning.md), whose plans come before those that the library would
                                choose, unless `plan` names some; NULL: $MHCJIT_TUNED; "": none. Read when something
                                is first prepared or compiled. One that cannot be used, was made on another kind of
                                device, or has plans that do not fit is a warning to the log */
} mhcjit_engine_options;

#define MHCJIT_ENGINE_OPTIONS_INIT MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_engine_options))

/* Creates an engine. `options` may be NULL: all defaults. Reads hmac_key_file, and touches neither CUDA nor NVRTC nor
 * the cache folder nor the network until something is prepared. Cost: microseconds. On failure *engine is NULL.
 * Errors: INVALID_ARGUMENT (struct_size; negative cpu_threads; no_compile, remote_read_only or a variable of theirs
 * neither 0 nor 1; remote_url; a plan of no family), NULL_POINTER (engine), OUT_OF_MEMORY. */
MHCJIT_API mhcjit_status mhcjit_engine_create(const mhcjit_engine_options* options, mhcjit_engine** engine);

/* Destroys an engine and the operators it prepared; NULL is allowed. No call that uses them may be running or
 * follow. Kernels already enqueued on a stream are unaffected: loaded modules stay loaded while the process lives.
 * Waits for what is being sent to remote_url, 2 s at most. */
MHCJIT_API void mhcjit_engine_destroy(mhcjit_engine* engine);

/* ---- Problem: what is asked -------------------------------------------------------------------------------- */

typedef enum mhcjit_op { MHCJIT_PRE_FORWARD = 0, MHCJIT_PRE_BACKWARD = 1 } mhcjit_op;
typedef enum mhcjit_dtype { MHCJIT_BF16 = 0, MHCJIT_FP16 = 1, MHCJIT_FP32 = 2 } mhcjit_dtype;

/* One operator on one shape. T is not here: one prepared operator serves every T from 0 to 2^31 - 1. Options of
 * later operators come at the end, where a program that does not know them has the usual values. */
typedef struct mhcjit_problem {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_problem)); /* how structs grow: status.h */
  mhcjit_op op;
  int32_t n;                             /* residual streams, 1..16 */
  int64_t d;                             /* hidden size D, 1..16777216 */
  mhcjit_dtype dtype;                    /* of x, h_in, dh_in, and of dx unless fp32_dx is 1 */
  int32_t has_gamma MHCJIT_BEGINS_AS(0); /* 0: gamma is all ones and no gamma pointer is read; 1: gamma is given */
  int32_t batch_invariant MHCJIT_BEGINS_AS(0); /* 1: row t of every per-token output has the same bits whatever T
                                                  is and wherever the row stands; 0: not promised */
  int32_t fp32_dx MHCJIT_BEGINS_AS(0);         /* 1: dx of pre_backward is fp32 whatever dtype is (pre_backward.h);
                                                  0: dx has dtype. Must be 0 for pre_forward */
} mhcjit_problem;

#define MHCJIT_PROBLEM_INIT MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_problem))

/* ---- Prepare: everything slow, before a launch ------------------------------------------------------------- */

typedef enum mhcjit_device {
  MHCJIT_DEVICE_CPU = 0, /* host memory, this process's threads; calls return when the outputs are written */
  MHCJIT_DEVICE_GPU = 1  /* the device of the calling thread's current CUDA context */
} mhcjit_device;

/* One prepared operator. Owned by its engine, valid until the engine is destroyed, shared freely among threads. */
typedef struct mhcjit_operator mhcjit_operator;

/* Makes `problem` ready to launch: generates its kernels, finds each in the cache or compiles it, loads them into the
 * current context. The second call for a problem is a look-up. Concurrent calls for one problem compile once.
 *
 * `stream` is the stream of the launches to come, or NULL: when that stream is being captured and the operator is
 * not ready, the result is NOT_PREPARED and the capture stays valid. Ignored for MHCJIT_DEVICE_CPU.
 *
 * Errors: INVALID_ARGUMENT, NULL_POINTER, NO_DEVICE, NO_NVRTC, COMPILATION_FAILED, NOT_PREPARED, LOAD_FAILED,
 * NOT_IN_CACHE, OUT_OF_MEMORY, FORKED, IO (template_dir). A cache folder that cannot be used is a warning to the log,
 * never an error.
 * If several processes of one machine share a cache folder and ask at the same time, one compiles; the others wait for
 * it, at most 30 s, and take the entry that it published. */
MHCJIT_API mhcjit_status mhcjit_prepare(mhcjit_engine* engine, const mhcjit_problem* problem, mhcjit_device device,
                                        void* stream, const mhcjit_operator** op);

/* Bytes of workspace that a call with T tokens needs, in memory of the operator's device, aligned to 16. Grows with
 * T. May be 0. The workspace holds nothing between calls.
 * Errors: INVALID_ARGUMENT (T outside 0..2^31-1), NULL_POINTER. */
MHCJIT_API mhcjit_status mhcjit_workspace_bytes(const mhcjit_operator* op, int64_t T, size_t* bytes);

/* What the plans of an operator rest on. */
typedef enum mhcjit_plan_source {
  MHCJIT_PLAN_ESTIMATED = 0, /* estimated costs */
  MHCJIT_PLAN_SHIPPED = 1,   /* what was measured for the library */
  MHCJIT_PLAN_RECORDED = 2   /* the record of tuned_path */
} mhcjit_plan_source;

/* How near what was measured is to the problem and its device. */
typedef enum mhcjit_plan_grade {
  MHCJIT_PLAN_NOT_MEASURED = 0,
  MHCJIT_PLAN_EXACT = 1,        /* the problem, on this kind of device */
  MHCJIT_PLAN_NEAREST_D = 2,    /* the same with another D, row_d, on this kind of device */
  MHCJIT_PLAN_OTHER_DEVICE = 3, /* another kind of device of this architecture, measured_on; D is row_d, and gamma may
                                   be what differs, too */
  MHCJIT_PLAN_OTHER_GAMMA = 4   /* the same without gamma where the problem has it, or with it where it has none; D is
                                   row_d; on this kind of device */
} mhcjit_plan_grade;

/* The plan of an operator for T tokens. Strings live as long as the operator. Start from MHCJIT_PLAN_INFO_INIT. */
typedef struct mhcjit_plan_info {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_plan_info)); /* how structs grow: status.h */
  const char* plan;          /* its family and parameters: "one_pass cluster_size=16 ..."; "cpu" on the CPU */
  mhcjit_plan_source source; /* of all plans of the operator, as what follows but for max_t */
  mhcjit_plan_grade grade;
  int64_t row_d;           /* 0 where nothing was measured */
  const char* measured_on; /* name of the device, "" where nothing was measured */
  const char* refused;     /* why plans that were measured for the problem are not legal, "" where none was refused;
                              of those that do not compile or load the log says it */
  int64_t max_t;           /* most tokens that have this plan */
  char digest[65];         /* SHA-256 over problem and plans, hexadecimal; "" on the CPU. Ranks of a job have the same
                              plans where it is the same (docs/tuning.md) */
} mhcjit_plan_info;

#define MHCJIT_PLAN_INFO_INIT MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_plan_info))

/* Errors: INVALID_ARGUMENT (T outside 0..2^31-1; struct_size), NULL_POINTER, OUT_OF_MEMORY. */
MHCJIT_API mhcjit_status mhcjit_operator_plan(const mhcjit_operator* op, int64_t T, mhcjit_plan_info* info);

/* The result of a compile. Start from MHCJIT_COMPILE_RESULT_INIT. */
typedef struct mhcjit_compile_result {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_compile_result)); /* how structs grow: status.h */
  int32_t cache_hit;   /* 1: all kernels were in the cache; 0: some were compiled now */
  double milliseconds; /* of the whole call */
  size_t cubin_bytes;  /* of all kernels */
  char digest[65];     /* SHA-256 of the kernel's cache key, hexadecimal, which names its entry; of several kernels,
                          SHA-256 over their digests, a line each */
} mhcjit_compile_result;

#define MHCJIT_COMPILE_RESULT_INIT MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_compile_result))

/* Compiles `problem` for a named architecture ("sm_80", "sm_90a", ...) into the cache, without a GPU or a driver, as a
 * warm-up does. A later mhcjit_prepare on such a device is a hit. `result` may be NULL.
 * Errors: INVALID_ARGUMENT, NULL_POINTER, NO_NVRTC, COMPILATION_FAILED, NOT_IN_CACHE, OUT_OF_MEMORY, IO
 * (template_dir). */
MHCJIT_API mhcjit_status mhcjit_compile(mhcjit_engine* engine, const mhcjit_problem* problem, const char* architecture,
                                        mhcjit_compile_result* result);

/* Counters of an engine since its creation. An entry is a kernel, of which a problem has up to six; problems share
 * those that are alike. Start from MHCJIT_COUNTERS_INIT. */
typedef struct mhcjit_counters {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_counters)); /* how structs grow: status.h */
  uint64_t memory_hits;                                         /* prepared operators found ready */
  uint64_t disk_hits;        /* entries read from a cache folder, read-only ones included */
  uint64_t misses;           /* kernels in no cache: compiled */
  uint64_t corrupt_entries;  /* entries set aside because a check failed */
  uint64_t publish_failures; /* entries that could not be written */
  double compile_ms;         /* total time in NVRTC, added up over the threads that compile at the same time */
  double load_us;            /* total time in the driver's module loading */
  uint64_t read_only_hits;   /* those of disk_hits that came from a read-only folder */
  uint64_t promotions;       /* those of read_only_hits and remote_hits that were copied to cache_dir */
  uint64_t lock_timeouts;    /* compiles beside another process: it took too long, or the file system has no locks */
  uint64_t remote_hits;      /* entries that remote_url had */
  uint64_t remote_failures;  /* requests to it that failed, and answers of its that a check refused */
  uint64_t remote_uploads;   /* entries that were sent to it */
  uint64_t fallbacks;        /* problems, on a device each, that plans without clusters serve because the device cannot
                                run even one cluster, or cooperative group of blocks, of the library's choice */
} mhcjit_counters;

#define MHCJIT_COUNTERS_INIT MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_counters))

/* Errors: NULL_POINTER, INVALID_ARGUMENT (struct_size). */
MHCJIT_API mhcjit_status mhcjit_engine_counters(const mhcjit_engine* engine, mhcjit_counters* counters);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_ENGINE_H */
