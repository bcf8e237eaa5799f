"""The operator as a differentiable function, and as the functions that the reference implementation has."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from mhcjit.torch import ops
from mhcjit.torch.direct import pre_backward, split_saved


def pre(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    gamma: Optional[Tensor] = None,
    *,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
    batch_invariant: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(h_in, h_post, h_res) of the residual streams x, differentiable (arXiv 2512.24880, equations 14-16).

    With X = x[t] as n*D numbers, in fp32, and M = n*n + 2n:

        h_mix  = (X * gamma) . phi^T         inv_rms = 1 / sqrt(mean(X^2) + norm_eps)         u = h_mix * inv_rms
        h_pre  = sigmoid(alpha[0] * u[0:n] + bias[0:n]) + hc_eps
        h_post = post_mult * sigmoid(alpha[1] * u[n:2n] + bias[n:2n])
        h_res  = alpha[2] * u[2n:] + bias[2n:]        raw logits, before any Sinkhorn iteration
        h_in   = sum_i h_pre[i] * x[t, i, :]

        x      [..., n, D]     bfloat16, float16 or float32; n from 1 to 16
        phi    [M, n*D]        float32, rows [pre n, post n, res n*n row-major]
        alpha  [3]             float32, scales of [pre, post, res]
        bias   [M]             float32, the order of phi's rows
        gamma  [n, D]          float32; None: all ones
        h_in   [..., D]        x's dtype
        h_post [..., n]        float32
        h_res  [..., n, n]     float32

    Under autocast x is cast to its dtype and parameters to float32. Parameters that have an fp32 `main_grad` get their
    gradient added there, not in `.grad`, except in a backward that torch.compile has compiled.
    `batch_invariant`: row t has the same bits whatever the other dimensions are and wherever the row stands.

    Raises mhcjit.ArgumentError for a tensor of another shape, dtype or device; mhcjit.Error with NOT_PREPARED while a
    CUDA graph is captured and `mhcjit.torch.prepare` was not called before.
    """
    arguments = (x, phi, alpha, bias, gamma, norm_eps, hc_eps, post_mult, batch_invariant)
    if not ops.wants_gradient(x, phi, alpha, bias, gamma):
        return ops.pre_inference(*arguments)
    h_in, h_post, h_res, _ = ops.pre_forward(*arguments)
    return h_in, h_post, h_res


def mhc_forward_pre(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    outflag: bool = False,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
    gamma: Optional[Tensor] = None,
) -> tuple[Tensor, ...]:
    """The reference's forward: (h_in, h_post, h_res), and with `outflag` also (inv_rms, h_mix, h_pre).

    Arguments are those of `pre`. Differentiable, but not with respect to inv_rms, h_mix and h_pre, which are for
    `mhc_backward`. Unlike the reference's, it applies gamma, as the reference's backward assumes.
    """
    if not outflag:
        return pre(x, phi, alpha, bias, gamma, norm_eps=norm_eps, hc_eps=hc_eps)
    h_in, h_post, h_res, saved = ops.pre_forward(x, phi, alpha, bias, gamma, norm_eps, hc_eps, 2.0, False)
    return (h_in, h_post, h_res, *split_saved(saved, x.shape[:-2], x.shape[-2]))


def mhc_backward(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    inv_rms: Tensor,
    h_mix: Tensor,
    h_pre: Tensor,
    h_post: Tensor,
    dh_in: Optional[Tensor],
    dh_post: Optional[Tensor],
    dh_res: Optional[Tensor],
    gamma: Optional[Tensor] = None,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
) -> tuple[Optional[Tensor], ...]:
    """The reference's backward: (dx, dphi, dalpha, dbias, dgamma), dgamma None without gamma.

    `bias` and `norm_eps` are not needed: what forward made of them stands in its outputs.
    """
    return pre_backward(x, phi, alpha, gamma, (inv_rms, h_mix, h_pre), h_post, dh_in, dh_post, dh_res, hc_eps=hc_eps)
