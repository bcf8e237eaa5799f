"""Coming from TileKernels, vLLM or SGLang: their names, defaults and order of h_res.

Their names for what is here: fn = phi, scale = alpha, base = bias, norm_weight = gamma, residual = x,
layer_input = h_in, post_layer_mix = h_post, comb_res_mix = h_res after Sinkhorn, pre_eps = hc_eps, mhc_mult = n,
hidden_size = D.

The matrix is used transposed, x'[j] = sum_i comb_res_mix[i, j] * x[i]: with `mhcjit.torch.post` or `MHCBlock` that is
res_order="by_input". `mhc_pre` of TileKernels has a post_mult_value of 1, models and the engines have 2.
"""

from __future__ import annotations

from typing import Any, Optional

from torch import Tensor

from mhcjit.torch import mixing
from mhcjit.torch.functional import pre

TENSORS = {"fn": "fn", "scale": "scale", "base": "base", "norm_weight": "norm_weight"}
OPTIONAL_TENSORS = ("norm_weight",)


def parameters(fn: Tensor, scale: Tensor, base: Tensor, norm_weight: Optional[Tensor] = None) -> dict[str, Any]:
    """phi, alpha, bias and gamma. fn [M, n*D], which may also be [M, n, D], is phi as it is; norm_weight is [n*D]."""
    n = int(base.numel() ** 0.5)
    gamma = None if norm_weight is None else norm_weight.reshape(n, -1)
    return {"phi": fn.flatten(1), "alpha": scale, "bias": base, "gamma": gamma}


def mhc_pre(
    residual: Tensor,
    fn: Tensor,
    scale: Tensor,
    base: Tensor,
    *,
    norm_weight: Optional[Tensor] = None,
    norm_eps: float = 1e-6,
    mhc_mult: int = 4,
    post_mult_value: float = 1.0,
    pre_eps: float = 1e-6,
    sinkhorn_eps: float = 1e-6,
    sinkhorn_repeat: int = 10,
    n_splits: int = 16,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """TileKernels' function: (layer_input [..., D], (post_layer_mix [..., n, 1], comb_res_mix [..., n, n])).

    Differentiable. `n_splits` has no meaning here: results do not depend on a split.
    """
    if residual.shape[-2] != mhc_mult:
        raise ValueError(f"mhc_pre: mhc_mult is {mhc_mult}, allowed: {residual.shape[-2]}, as residual has it")
    h_in, h_post, h_res = pre(
        residual,
        **parameters(fn, scale, base, norm_weight),
        norm_eps=norm_eps,
        hc_eps=pre_eps,
        post_mult=post_mult_value,
    )
    return h_in, (h_post[..., None], mixing.sinkhorn(h_res, sinkhorn_repeat, sinkhorn_eps))


def mhc_pre_big_fuse(
    residual: Tensor,
    fn: Tensor,
    mhc_scale: Tensor,
    mhc_base: Tensor,
    rms_eps: float,
    mhc_pre_eps: float,
    mhc_sinkhorn_eps: float,
    mhc_post_mult_value: float,
    sinkhorn_repeat: int,
    n_splits: int = 16,
) -> tuple[Tensor, Tensor, Tensor]:
    """The engines' function, arguments in their order: (post_mix [..., n, 1], comb_mix [..., n, n], layer_input)."""
    layer_input, (post_mix, comb_mix) = mhc_pre(
        residual,
        fn,
        mhc_scale,
        mhc_base,
        norm_eps=rms_eps,
        mhc_mult=residual.shape[-2],
        post_mult_value=mhc_post_mult_value,
        pre_eps=mhc_pre_eps,
        sinkhorn_eps=mhc_sinkhorn_eps,
        sinkhorn_repeat=sinkhorn_repeat,
    )
    return post_mix, comb_mix, layer_input


def mhc_post(x: Tensor, residual: Tensor, post_layer_mix: Tensor, comb_res_mix: Tensor) -> Tensor:
    """The streams behind a sublayer that made x [..., D]; the mixes are those of `mhc_pre`."""
    return mixing.post(residual, x, post_layer_mix[..., 0], comb_res_mix, res_order=mixing.BY_INPUT)
