/* mhcjit: the mHC "pre" operator, specialised and compiled at run time.
 *
 * mHC = Manifold-Constrained Hyper-Connections (arXiv 2512.24880, section 4, equations 14-18).
 * A layer keeps n parallel residual streams. "pre" reads all n streams of a token, derives three sets of
 * mixing coefficients from them and collapses the streams into the input of the sublayer.
 *
 * A host application does four things:
 *
 *     mhcjit_engine *engine;      mhcjit_engine_create(NULL, &engine);                       once
 *     const mhcjit_operator *op;  mhcjit_prepare(engine, &problem, device, stream, &op);     once per shape
 *     size_t bytes;               mhcjit_workspace_bytes(op, T, &bytes);                     once per T
 *     mhcjit_pre_forward(op, &args, stream);                                                 every layer
 *
 * Shapes are row-major and contiguous, M = n*n + 2n, T = product of all leading dimensions of x:
 *
 *     x       [T, n, D]   bf16 | fp16 | fp32   residual streams
 *     phi     [M, n*D]    fp32                 projection; rows are [pre n, post n, res n*n row-major]
 *     alpha   [3]         fp32                 scales of [pre, post, res]
 *     bias    [M]         fp32                 same row order as phi
 *     gamma   [n, D]      fp32                 element-wise scale inside the projection (optional)
 *     h_in    [T, D]      x's dtype            collapsed input of the sublayer
 *     h_post  [T, n]      fp32
 *     h_res   [T, n, n]   fp32                 raw logits: the Sinkhorn iteration is the caller's
 *     inv_rms [T]         fp32                 saved for backward on request
 *     h_mix   [T, M]      fp32                 saved on request, before the multiplication by inv_rms
 *     h_pre   [T, n]      fp32                 saved on request, includes the added hc_eps
 *
 * The same things elsewhere: phi = fn; alpha = scale; bias = base = beta; h_in = layer_input;
 * h_post = post_layer_mix; h_res = comb_res_mix before Sinkhorn; gamma = norm_weight; n = hc = mhc_mult;
 * D = hidden size.
 *
 * Threads: every function may be called from any number of threads at the same time. The text of
 * mhcjit_last_error() belongs to the calling thread. A thread that calls mhcjit_prepare or mhcjit_compile needs a
 * stack of 512 KiB, since NVRTC runs on it; 256 KiB are enough for every other function.
 *
 * Limits: where no further thread can be made, the calling thread does the work alone. Where memory runs out, the
 * result is OUT_OF_MEMORY; NVRTC and the driver may still end the process where memory runs out inside them.
 *
 * The library never prints, exits, aborts or throws through this interface. T is never part of what is
 * compiled. The same call gives the same bits every time, for every output.
 */
#ifndef MHCJIT_MHCJIT_H
#define MHCJIT_MHCJIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(MHCJIT_BUILDING_LIBRARY)
#define MHCJIT_API __attribute__((visibility("default")))
#else
#define MHCJIT_API
#endif

#ifdef __cplusplus
extern "C" {
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
   * freed and its address later belongs to other memory, that is not noticed. What is refused is never remembered. */
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
   * Or the device, a MIG slice perhaps, cannot run even one cluster of blocks of the plan that `plan` or $MHCJIT_PLAN
   * asks for. Remedy: ask for none. Where the library chose the plan, this is no error: the cheapest one without
   * clusters takes its place, with a warning to the log. */
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

/* Text of the calling thread's most recent failure: what failed, with which inputs, what is allowed, what to do.
 * "" when no call of this thread has failed. Valid until this thread's next failing call. Never NULL. */
MHCJIT_API const char* mhcjit_last_error(void);

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

/* All fields may be zero: start from `mhcjit_engine_options options = {0};`. Strings are copied. */
typedef struct mhcjit_engine_options {
  const char* cache_dir;      /* NULL: $MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else $HOME/.cache/mhcjit, where
                                 one that is not an absolute path is not used, which is a warning to the log;
                                 "" keeps compiled kernels in memory only */
  const char* nvrtc_path;     /* libnvrtc.so file; NULL: $MHCJIT_NVRTC, else already loaded in the process, else
                                 beside the program, else the nvidia-cuda-nvrtc wheel, else $CUDA_PATH,
                                 $CUDA_HOME, the loader's path, /usr/local/cuda */
  const char* driver_path;    /* libcuda.so file; NULL: libcuda.so.1 from the loader's path */
  const char* template_dir;   /* development: read kernel templates from here, not from the library; NULL: embedded */
  mhcjit_log_callback log;    /* NULL: nothing is logged */
  void* log_user;             /* handed to `log` */
  mhcjit_log_level log_level; /* most detailed level handed to `log`; 0: warnings */
  int32_t cpu_threads;        /* threads of a call on the CPU, at most; 0: one per core */
  const char* read_only_cache_dirs; /* folders that are searched after cache_dir and never written, with : between
                                       them; NULL: the absolute paths in $MHCJIT_CACHE_RO, others are a warning to
                                       the log; "": none. What is found there is copied to cache_dir */
  int32_t no_compile;        /* 1: a kernel that no cache folder has is NOT_IN_CACHE, and the compiler is never opened;
                                0: the same when $MHCJIT_NO_COMPILE is 1 */
  const char* record_path;   /* file to which each problem that no cache folder has is appended as a line of a shapes
                                file (docs/shapes.md), once a process, compiled or not; NULL: $MHCJIT_RECORD; "": none.
                                A file that cannot be written is a warning to the log */
  const char* plan;          /* development: which plans serve every problem that they fit, a family and parameters of
                                it, "one_pass" or "two_pass cluster_size=0" (docs/DESIGN.md), or "clusters=0", those
                                without clusters; for the others the library chooses. NULL: $MHCJIT_PLAN; "": the
                                library chooses for all */
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
} mhcjit_engine_options;

/* Creates an engine. `options` may be NULL: all defaults. Reads hmac_key_file, and touches neither CUDA nor NVRTC nor
 * the cache folder nor the network until something is prepared. Cost: microseconds. On failure *engine is NULL.
 * Errors: INVALID_ARGUMENT (negative cpu_threads; no_compile, remote_read_only or a variable of theirs neither 0 nor 1;
 * remote_url; a plan of no family), NULL_POINTER (engine), OUT_OF_MEMORY. */
MHCJIT_API mhcjit_status mhcjit_engine_create(const mhcjit_engine_options* options, mhcjit_engine** engine);

/* Destroys an engine and the operators it prepared; NULL is allowed. No call that uses them may be running or
 * follow. Kernels already enqueued on a stream are unaffected: loaded modules stay loaded while the process lives.
 * Waits for what is being sent to remote_url, 2 s at most. */
MHCJIT_API void mhcjit_engine_destroy(mhcjit_engine* engine);

/* ---- Problem: what is asked -------------------------------------------------------------------------------- */

typedef enum mhcjit_op { MHCJIT_PRE_FORWARD = 0, MHCJIT_PRE_BACKWARD = 1 } mhcjit_op;
typedef enum mhcjit_dtype { MHCJIT_BF16 = 0, MHCJIT_FP16 = 1, MHCJIT_FP32 = 2 } mhcjit_dtype;

/* One operator on one shape. T is not here: one prepared operator serves every T from 0 to 2^31 - 1. */
typedef struct mhcjit_problem {
  mhcjit_op op;
  int32_t n;               /* residual streams, 1..16 */
  int64_t d;               /* hidden size D, 1..16777216 */
  mhcjit_dtype dtype;      /* of x, h_in, dh_in and dx */
  int32_t has_gamma;       /* 0: gamma is all ones and no gamma pointer is read; 1: gamma is given */
  int32_t batch_invariant; /* 1: row t of every per-token output has the same bits whatever T is and wherever the
                              row stands; 0: not promised */
} mhcjit_problem;

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
 * Of the processes of one machine that share a cache folder and ask at the same time, one compiles; the others wait
 * for it, at most 30 s, and take what it published. */
MHCJIT_API mhcjit_status mhcjit_prepare(mhcjit_engine* engine, const mhcjit_problem* problem, mhcjit_device device,
                                        void* stream, const mhcjit_operator** op);

/* Bytes of workspace that a call with T tokens needs, in memory of the operator's device, aligned to 16. Grows with
 * T. May be 0. The workspace holds nothing between calls.
 * Errors: INVALID_ARGUMENT (T outside 0..2^31-1), NULL_POINTER. */
MHCJIT_API mhcjit_status mhcjit_workspace_bytes(const mhcjit_operator* op, int64_t T, size_t* bytes);

/* What a compile found or made. */
typedef struct mhcjit_compile_result {
  int32_t cache_hit;   /* 1: all kernels were in the cache; 0: some were compiled now */
  double milliseconds; /* of the whole call */
  size_t cubin_bytes;  /* of all kernels */
  char digest[65];     /* SHA-256 of the kernel's cache key, hexadecimal, which names its entry; of several kernels,
                          SHA-256 over their digests, a line each */
} mhcjit_compile_result;

/* Compiles `problem` for a named architecture ("sm_80", "sm_90a", ...) into the cache, without a GPU or a driver: what
 * a warm-up does. A later mhcjit_prepare on such a device is a hit. `result` may be NULL.
 * Errors: INVALID_ARGUMENT, NULL_POINTER, NO_NVRTC, COMPILATION_FAILED, NOT_IN_CACHE, OUT_OF_MEMORY, IO
 * (template_dir). */
MHCJIT_API mhcjit_status mhcjit_compile(mhcjit_engine* engine, const mhcjit_problem* problem, const char* architecture,
                                        mhcjit_compile_result* result);

/* Counters of an engine since its creation. An entry is a kernel, of which a problem has up to five; problems share
 * those that are alike. */
typedef struct mhcjit_counters {
  uint64_t memory_hits;      /* prepared operators found ready */
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
  uint64_t fallbacks; /* problems, on a device each, that plans without clusters serve because the device cannot run
                         even one cluster of blocks of the library's choice */
} mhcjit_counters;

/* Errors: NULL_POINTER. */
MHCJIT_API mhcjit_status mhcjit_engine_counters(const mhcjit_engine* engine, mhcjit_counters* counters);

/* The usual post_mult: an argument of each call, as 0 is a value like others. */
#define MHCJIT_DEFAULT_POST_MULT 2.0f

/* ---- Forward ----------------------------------------------------------------------------------------------- */

/* With X = x[t] flattened to n*D numbers, in fp32 (arXiv 2512.24880, equations 14-16):
 *
 *     h_mix   = (X * gamma) . phi^T
 *     inv_rms = 1 / sqrt(mean(X^2) + norm_eps)             mean over n*D, X without gamma
 *     u       = h_mix * inv_rms
 *     h_pre   = sigmoid(alpha[0] * u[0:n] + bias[0:n]) + hc_eps
 *     h_post  = post_mult * sigmoid(alpha[1] * u[n:2n] + bias[n:2n])
 *     h_res   = alpha[2] * u[2n:] + bias[2n:]              viewed as [n, n]
 *     h_in    = sum_i h_pre[i] * x[t, i, :]                fp32 accumulation, one rounding to x's dtype
 *
 * Sums of squares are fp32: where that of a row overflows (rms of X above about 1.8e19 / sqrt(n*D)), its inv_rms is 0.
 * A row of zeros with norm_eps = 0 has an inv_rms of infinity, and its coefficients and h_in are NaN.
 *
 * Rows are independent: whatever stands in one token's inputs, NaN and infinities included, changes no bit of another
 * token's outputs. The same holds of dx in backward; sums over tokens follow IEEE.
 *
 * Start from `mhcjit_pre_forward_args args = MHCJIT_PRE_FORWARD_ARGS_INIT;`. Alignment in bytes: x and h_in, the
 * largest power of two that divides D * sizeof(dtype), at most 16; phi and gamma, the same of D * 4; the workspace 16;
 * all others 4. */
typedef struct mhcjit_pre_forward_args {
  const void* x;
  const float* phi;
  const float* alpha;
  const float* bias;
  const float* gamma; /* required when the problem has gamma, NULL otherwise */
  int64_t T;          /* 0..2^31-1; 0 succeeds and launches nothing */
  float norm_eps;     /* 1e-6 is usual; must be >= 0 and finite */
  float hc_eps;       /* 1e-6 is usual; must be >= 0 and finite */
  float post_mult;    /* MHCJIT_DEFAULT_POST_MULT is usual; any finite value; with 0, as {0} has it, h_post is 0 */
  void* h_in;
  float* h_post;
  float* h_res;
  float* inv_rms; /* NULL: not saved */
  float* h_mix;   /* NULL: not saved */
  float* h_pre;   /* NULL: not saved */
  void* workspace;
  size_t workspace_bytes;   /* at least mhcjit_workspace_bytes(op, T) */
  int32_t overlap_previous; /* 1: the call may begin before the kernel before it in the stream has ended, and waits for
                               it before it reads x or writes anything (programmatic dependent launch). phi, gamma,
                               alpha and bias may be read before that: the kernel before must not write them. Ignored
                               on devices before compute capability 9.0 and on the CPU */
} mhcjit_pre_forward_args;

/* What a C program starts from: all zero or NULL but post_mult. A C++ program has mhcjit::PreForwardArgs. */
#define MHCJIT_PRE_FORWARD_ARGS_INIT {.post_mult = MHCJIT_DEFAULT_POST_MULT}

/* Enqueues forward on `stream` (a CUstream or cudaStream_t; NULL is the default stream) in the current context.
 * Does not synchronise, allocate, compile, read the environment or touch a file; may be captured into a graph. On the
 * CPU it returns when the outputs are written and ignores `stream`. No output may overlap an input.
 * Errors: INVALID_ARGUMENT, NULL_POINTER, MISALIGNED_POINTER, WORKSPACE_TOO_SMALL, WRONG_DEVICE, NO_DEVICE,
 * LAUNCH_FAILED, OUT_OF_MEMORY, FORKED. */
MHCJIT_API mhcjit_status mhcjit_pre_forward(const mhcjit_operator* op, const mhcjit_pre_forward_args* args,
                                            void* stream);

/* ---- Backward ---------------------------------------------------------------------------------------------- */

/* From dh_in [T, D] (x's dtype), dh_post [T, n], dh_res [T, n, n] (fp32) and the values that forward saved:
 *
 *     dh_pre[i] = sum_d dh_in[d] * x[i, d]                       s = h_pre - hc_eps
 *     p = dh_pre * s * (1 - s)      q = dh_post * h_post * (1 - h_post / post_mult), 0 where post_mult is 0
 *     r = dh_res
 *     du     = [alpha[0] * p, alpha[1] * q, alpha[2] * r]        dh_mix = du * inv_rms
 *     c      = -(sum_j du[j] * h_mix[j]) * inv_rms^3 / (n*D)
 *     dx[i, d] = gamma[i, d] * sum_j dh_mix[j] * phi[j, (i, d)] + c * x[i, d] + h_pre[i] * dh_in[d]
 *     dphi   = sum_t dh_mix^T . (X * gamma)                      dgamma = sum_t X * (dh_mix . phi)
 *     dalpha = [sum_t p.u[0:n], sum_t q.u[n:2n], sum_t r.u[2n:]] dbias  = sum_t [p, q, r]
 *
 * Start from `mhcjit_pre_backward_args args = MHCJIT_PRE_BACKWARD_ARGS_INIT;`. Alignment as in forward, with dx and
 * dh_in like x, dphi and dgamma like phi. */
typedef struct mhcjit_pre_backward_args {
  const void* x;
  const float* phi;
  const float* alpha;
  const float* gamma;    /* required when the problem has gamma, NULL otherwise */
  const float* inv_rms;  /* saved by forward */
  const float* h_mix;    /* saved by forward */
  const float* h_pre;    /* saved by forward */
  const float* h_post;   /* an output of forward */
  const void* dh_in;     /* NULL counts as zero */
  const float* dh_post;  /* NULL counts as zero */
  const float* dh_res;   /* NULL counts as zero */
  int64_t T;             /* 0..2^31-1; 0 launches no kernel: parameter gradients that are overwritten become zero */
  float hc_eps;          /* the value that forward was given */
  float post_mult;       /* the value that forward was given */
  int32_t accumulate_dx; /* 1: dx is added to, 0: overwritten */
  int32_t accumulate_parameters; /* 1: dphi, dgamma, dalpha and dbias are added to, 0: overwritten */
  void* dx;                      /* NULL: not wanted */
  float* dphi;                   /* [M, n*D]; NULL: not wanted */
  float* dgamma;                 /* [n, D]; NULL: not wanted; must be NULL when the problem has no gamma */
  float* dalpha;                 /* [3]; NULL: not wanted */
  float* dbias;                  /* [M]; NULL: not wanted */
  void* workspace;
  size_t workspace_bytes; /* at least mhcjit_workspace_bytes(op, T) */
} mhcjit_pre_backward_args;

/* The same for backward: mhcjit::PreBackwardArgs. */
#define MHCJIT_PRE_BACKWARD_ARGS_INIT {.post_mult = MHCJIT_DEFAULT_POST_MULT}

/* Enqueues backward on `stream`. The rules and errors of mhcjit_pre_forward hold. */
MHCJIT_API mhcjit_status mhcjit_pre_backward(const mhcjit_operator* op, const mhcjit_pre_backward_args* args,
                                             void* stream);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_MHCJIT_H */
