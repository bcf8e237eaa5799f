"""Coming from Megatron: streams are flat, [s, b, n*D], and eps is outside the root, which no argument of ours gives.

Megatron divides by sqrt(mean(x^2)) + eps, this library by sqrt(mean(x^2) + eps): another function, whose difference is
small for x of rms 1 and not for small x. So eps outside the root is refused, not approximated. What there is:

- Megatron's single-pass mode has eps inside the root: eps_inside_sqrt=True, and its norm_eps.
- eps = 0 is the same in both.
- norm_eps = 1e-12 here is near Megatron's 1e-6: equal where x is 0, within 1e-6 / rms(x) elsewhere. Choose it yourself.

Their names for what is here: mapping_proj.weight = phi, compute_h_eps = hc_eps, hidden_size = D. Versions differ in the
order of h_res: x' = H_res @ x in the first, H_res.T @ x since; look at native_h_post_bda in yours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mhcjit.torch.functional import pre

TENSORS = {
    "mapping_proj.weight": "weight",
    "alpha_pre": "alpha_pre",
    "alpha_post": "alpha_post",
    "alpha_res": "alpha_res",
    "bias": "bias",
}
OPTIONAL_TENSORS = ()


def parameters(
    weight: Tensor, alpha_pre: Tensor, alpha_post: Tensor, alpha_res: Tensor, bias: Tensor
) -> dict[str, Any]:
    """phi, alpha [3] and bias, in fp32; there is no gamma."""
    alpha = torch.cat([scale.reshape(1) for scale in (alpha_pre, alpha_post, alpha_res)])
    return {"phi": weight.float(), "alpha": alpha.float(), "bias": bias.float(), "gamma": None}


def mhc_pre(
    hidden_states: Tensor,
    weight: Tensor,
    alpha_pre: Tensor,
    alpha_post: Tensor,
    alpha_res: Tensor,
    bias: Tensor,
    n: int,
    norm_eps: float = 1e-6,
    compute_h_eps: float = 1e-6,
    *,
    eps_inside_sqrt: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(aggregated [s, b, D], h_post [s, b, n], h_res [s, b, n, n], logits before Sinkhorn). Differentiable.

    Raises ValueError for a norm_eps outside the root that is not 0.
    """
    if not eps_inside_sqrt and norm_eps != 0:
        raise ValueError(
            f"mhc_pre: norm_eps {norm_eps} is outside the root, sqrt(mean(x^2)) + eps; allowed: 0, or eps_inside_sqrt="
            "True. No norm_eps inside the root is the same function: 1e-12 is within 1e-6 / rms(x) of 1e-6 outside"
        )
    return pre(
        hidden_states.unflatten(-1, (n, -1)),
        **parameters(weight, alpha_pre, alpha_post, alpha_res, bias),
        norm_eps=norm_eps,
        hc_eps=compute_h_eps,
    )
