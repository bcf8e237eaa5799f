"""Coming from TransformerEngine: x is [s, b, D, n], streams innermost, and so are phi's columns.

Their names for what is here: beta [1, M] = bias, C = D, ms = mean(x^2). norm_eps is inside the root and the machine
epsilon of fp32, nothing is added to h_pre, post_mult is 2. The matrix is used transposed, out = x @ H_res: with
`mhcjit.torch.post` or `MHCBlock` that is res_order="by_input".

What the conversion costs: x is read and written once to have the streams outermost, and dx once more on its way back,
4*n*D elements a token for forward and backward, when the operator itself moves 3*n*D + 2*D. Convert at the model's
ends, with `streams`, and keep [s, b, n, D] between. With D = n a wrong layout cannot be seen from the shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mhcjit.torch.functional import pre

TENSORS = {"phi": "phi", "alpha": "alpha", "beta": "beta"}
OPTIONAL_TENSORS = ()

NORM_EPS = torch.finfo(torch.float32).eps


def streams(x: Tensor) -> Tensor:
    """[..., D, n] as [..., n, D], a copy; the same function is the way back."""
    return x.transpose(-1, -2).contiguous()


def parameters(phi: Tensor, alpha: Tensor, beta: Tensor) -> dict[str, Any]:
    """phi with columns (stream, d) from one with columns (d, stream), alpha, and bias [M], in fp32; no gamma."""
    n = int(beta.numel() ** 0.5)
    columns = phi.float().unflatten(1, (-1, n)).transpose(1, 2).flatten(1)
    return {"phi": columns, "alpha": alpha.float(), "bias": beta.float().flatten(), "gamma": None}


def mhc_pre(
    x: Tensor, phi: Tensor, alpha: Tensor, beta: Tensor, *, norm_eps: float = NORM_EPS
) -> tuple[Tensor, Tensor, Tensor]:
    """mhc_fused_projection, mhc_fused_scale and mhc_fused_aggregate in one: (out [s, b, D], H_post, H_res).

    H_post is [s, b, n], H_res [s, b, n, n] the logits that mhc_fused_sinkhorn takes, both fp32. Differentiable.
    """
    return pre(streams(x), **parameters(phi, alpha, beta), norm_eps=norm_eps, hc_eps=0.0)
