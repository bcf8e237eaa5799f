/* pre_backward: MHCJIT_PRE_BACKWARD, the gradients of pre_forward. Shapes are those of pre_forward.h. */
#ifndef MHCJIT_PRE_BACKWARD_H
#define MHCJIT_PRE_BACKWARD_H

#include <stddef.h>
#include <stdint.h>

#include "mhcjit/engine.h"
#include "mhcjit/pre_forward.h"

#ifdef __cplusplus
extern "C" {
#endif

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
 * dx is computed in fp32 and rounded once, to x's dtype, or stored as fp32 when the problem has fp32_dx. A framework
 * that adds the gradients of x from pre, from post and from the mixing of the streams needs the latter: dx is then
 * within 2e-5 of ||dx|| for every dtype of x (bf16 alone rounds by 2e-3), and accumulate_dx keeps the sum in fp32. It
 * costs T * n * D * 2 bytes more to write where x has 16 bits, and as many to read with accumulate_dx.
 *
 * Start from `mhcjit_pre_backward_args args = MHCJIT_PRE_BACKWARD_ARGS_INIT;`. Alignment as in forward, with dh_in like
 * x, and dx too, by its own dtype; dphi and dgamma like phi. */
typedef struct mhcjit_pre_backward_args {
  size_t struct_size MHCJIT_BEGINS_AS(sizeof(mhcjit_pre_backward_args)); /* how structs grow: status.h */
  const void* x;
  const float* phi;
  const float* alpha;
  const float* gamma;   /* required when the problem has gamma, NULL otherwise */
  const float* inv_rms; /* saved by forward */
  const float* h_mix;   /* saved by forward */
  const float* h_pre;   /* saved by forward */
  const float* h_post;  /* an output of forward */
  const void* dh_in;    /* NULL counts as zero */
  const float* dh_post; /* NULL counts as zero */
  const float* dh_res;  /* NULL counts as zero */
  int64_t T;            /* 0..2^31-1; 0 launches no kernel: parameter gradients that are overwritten become zero */
  float hc_eps;         /* the value that forward was given */
  float post_mult MHCJIT_BEGINS_AS(MHCJIT_DEFAULT_POST_MULT); /* the value that forward was given */
  int32_t accumulate_dx;                                      /* 1: dx is added to, 0: overwritten */
  int32_t accumulate_parameters; /* 1: dphi, dgamma, dalpha and dbias are added to, 0: overwritten */
  void* dx;                      /* [T, n, D], x's dtype, or fp32 with fp32_dx; NULL: not wanted */
  float* dphi;                   /* [M, n*D]; NULL: not wanted */
  float* dgamma;                 /* [n, D]; NULL: not wanted; must be NULL when the problem has no gamma */
  float* dalpha;                 /* [3]; NULL: not wanted */
  float* dbias;                  /* [M]; NULL: not wanted */
  void* workspace;
  size_t workspace_bytes;   /* at least mhcjit_workspace_bytes(op, T) */
  int32_t overlap_previous; /* 1: the call may begin before the kernel before it in the stream has ended, and waits for
                               it before it reads anything but phi, gamma and alpha, or writes anything; the rest as in
                               forward. Ignored with T = 0 */
  int32_t reserved;         /* 0; of a later version */
} mhcjit_pre_backward_args;

/* All zero or NULL but struct_size and post_mult. */
#define MHCJIT_PRE_BACKWARD_ARGS_INIT \
  MHCJIT_INITIALISER(.struct_size = sizeof(mhcjit_pre_backward_args), .post_mult = MHCJIT_DEFAULT_POST_MULT)

/* Enqueues backward on `stream`. The rules and errors of mhcjit_pre_forward hold. */
MHCJIT_API mhcjit_status mhcjit_pre_backward(const mhcjit_operator* op, const mhcjit_pre_backward_args* args,
                                             void* stream);

#ifdef __cplusplus
}
#endif

#endif /* MHCJIT_PRE_BACKWARD_H */
