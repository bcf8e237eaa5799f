"""Coming from Liger: phi is [n*D, M], the transpose; alpha is three scalars; nothing is added to h_pre.

Their names for what is here: b = bias, HC = n, C = D, rms_eps = norm_eps, pre_eps = hc_eps (0 where ours is 1e-6),
tmax = iterations of Sinkhorn. The matrix is used as here, x'[r] = sum_c h_res[r, c] * x[c].

The functions below transpose and cast phi in every call, which costs a copy of it; `parameters` once, or
`mhcjit.torch.convert_state_dict`, does not. LigerMHC keeps phi in fp16: what it has rounded away does not come back.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
from torch import Tensor

from mhcjit.torch import mixing
from mhcjit.torch.functional import pre

TENSORS = {name: name for name in ("phi", "b", "alpha_pre", "alpha_post", "alpha_res")}
OPTIONAL_TENSORS = ()


def parameters(phi: Tensor, b: Tensor, alpha_pre: Tensor, alpha_post: Tensor, alpha_res: Tensor) -> dict[str, Any]:
    """phi [M, n*D], alpha [3] and bias, in fp32; there is no gamma."""
    if phi.shape[-1] != b.numel():
        raise ValueError(f"phi has the shape {list(phi.shape)}, allowed: [n*D, {b.numel()}]")
    alpha = torch.stack([scale.reshape(()) for scale in (alpha_pre, alpha_post, alpha_res)])
    return {"phi": phi.float().T.contiguous(), "alpha": alpha.float(), "bias": b.float(), "gamma": None}


def liger_mhc_forward(
    x: Tensor,
    layer: Callable[[Tensor], Tensor],
    phi: Tensor,
    b: Tensor,
    alpha_pre: Tensor,
    alpha_post: Tensor,
    alpha_res: Tensor,
    *,
    tmax: int = 20,
    rms_eps: float = 1e-6,
    pre_eps: float = 0.0,
    sinkhorn_eps: float = 1e-6,
    post_mult: float = 2.0,
) -> Tensor:
    """Liger's function: x [..., n, D] through pre, the layer, and the update of the streams. Differentiable."""
    h_in, h_post, h_res = pre(
        x,
        **parameters(phi, b, alpha_pre, alpha_post, alpha_res),
        norm_eps=rms_eps,
        hc_eps=pre_eps,
        post_mult=post_mult,
    )
    return mixing.mix(x, layer(h_in), h_post, h_res, iterations=tmax, eps=sinkhorn_eps)
