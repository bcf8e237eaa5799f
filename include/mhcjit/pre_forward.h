/* pre_forward: MHCJIT_PRE_FORWARD.
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
 */
#ifndef MHCJIT_PRE_FORWARD_H
#define MHCJIT_PRE_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "mhcjit/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The usual post_mult of forward and backward. */
#define MHCJIT_DEFAULT_POST_MULT 2.0f

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
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_pre_forward_args)); /* how structs grow: status.h */
  const void* x;
  const float* phi;
  const float* alpha;
  const float* bias;
  const float* gamma;                                         /* required when the problem has gamma, NULL otherwise */
  int64_t T;                                                  /* 0..2^31-1; 0 succeeds and launches nothing */
  float norm_eps;                                             /* 1e-6 is usual; must be >= 0 and finite */
  float hc_eps;                                               /* 1e-6 is usual; must be >= 0 and finite */
  float post_mult MHCJIT_BEGINS_AS(MHCJIT_DEFAULT_POST_MULT); /* any finite value; with 0, h_post is 0 */
  int32_t overlap_previous; /* 1: the call may begin before the kernel before it in the stream has ended, and waits for
                               it before it reads x or writes anything (programmatic dependent launch). phi, gamma,
                               alpha and bias may be read before that: the kernel before must not write them. Ignored
                               on devices before compute capability 9.0 and on the CPU */
  void* h_in;
  float* h_post;
  float* h_res;
  float* inv_rms; /* NULL: not saved */
  float* h_mix;   /* NULL: not saved */
  float* h_pre;   /* NULL: not saved */
  void* workspace;
  size_t workspace_bytes; /* at least mhcjit_workspace_bytes(op, T) */
} mhcjit_pre_forward_args;

/* All zero or NULL but struct_size and post_mult. A struct of zeros is refused for its struct_size, so that a post_mult
 * of 0 is one that the caller wrote. */
#define MHCJIT_PRE_FORWARD_ARGS_INIT \
  MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_pre_forward_args), .post_mult = MHCJIT_DEFAULT_POST_MULT)

/* Enqueues forward on `stream` (a CUstream or cudaStream_t; NULL is the default stream) in the current context.
 * Does not synchronise, allocate, compile, read the environment or touch a file; may be captured into a graph. On the
 * CPU it returns when the outputs are written and ignores `stream`. No output may overlap an input.
 * Errors: INVALID_ARGUMENT, NULL_POINTER, MISALIGNED_POINTER, WORKSPACE_TOO_SMALL, WRONG_DEVICE, NO_DEVICE,
 * LAUNCH_FAILED, OUT_OF_MEMORY, FORKED. */
MHCJIT_API mhcjit_status mhcjit_pre_forward(const mhcjit_operator* op, const mhcjit_pre_forward_args* args,
                                            void* stream);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_PRE_FORWARD_H */
