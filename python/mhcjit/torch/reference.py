"""The formulas in plain PyTorch, one operation after the other: what tests, benchmarks and comparisons hold ours to.

In float64 it is the oracle. Its gradients are autograd's, so that they share nothing with the formulas of backward.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor


class Reference(NamedTuple):
    """What forward makes, in the dtype that it was computed in."""

    h_in: Tensor
    h_post: Tensor
    h_res: Tensor
    inv_rms: Tensor
    h_mix: Tensor
    h_pre: Tensor


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
    dtype: torch.dtype = torch.float64,
) -> Reference:
    """Forward (arXiv 2512.24880, equations 14-16), computed in `dtype`. Differentiable."""
    x, phi, alpha, bias = (tensor.to(dtype) for tensor in (x, phi, alpha, bias))
    n = x.shape[-2]
    flat = x.flatten(-2)
    h_mix = (flat if gamma is None else flat * gamma.to(dtype).flatten()) @ phi.T
    inv_rms = torch.rsqrt(flat.square().mean(-1) + norm_eps)
    u = h_mix * inv_rms[..., None]
    h_pre = torch.sigmoid(alpha[0] * u[..., :n] + bias[:n]) + hc_eps
    h_post = post_mult * torch.sigmoid(alpha[1] * u[..., n : 2 * n] + bias[n : 2 * n])
    h_res = (alpha[2] * u[..., 2 * n :] + bias[2 * n :]).unflatten(-1, (n, n))
    h_in = (h_pre[..., None] * x).sum(-2)
    return Reference(h_in, h_post, h_res, inv_rms, h_mix, h_pre)


def random_inputs(
    leading: tuple[int, ...],
    n: int,
    d: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
    gamma: bool = False,
    std: float = 1.0,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Optional[Tensor]]:
    """Inputs as models have them: x of a standard deviation, phi ~ N(0, 1/(n*D)), bias ~ 0.1 * N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    rows = n * n + 2 * n
    inputs: dict[str, Optional[Tensor]] = {
        "x": (std * normal(*leading, n, d)).to(dtype),
        "phi": normal(rows, n * d) / (n * d) ** 0.5,
        "alpha": torch.tensor([1.1, 0.9, 1.05]),
        "bias": 0.1 * normal(rows),
        "gamma": 1 + 0.1 * normal(n, d) if gamma else None,
    }
    return {name: None if tensor is None else tensor.to(device) for name, tensor in inputs.items()}


def error(out: Tensor, reference: Tensor) -> float:
    """||out - reference|| / ||reference||, infinite where anything is not finite; ||out|| where reference is 0."""
    difference = out.double() - reference.double().to(out.device)
    norm = reference.double().norm().item()
    value = difference.norm().item() / (norm if norm > 0 else 1.0)
    return value if value == value else float("inf")


def worst_row_error(out: Tensor, reference: Tensor) -> float:
    """The largest error of a row (the last dimension), relative to the row or to the rms of all rows."""
    if out.numel() == 0:
        return 0.0
    want = reference.double().to(out.device).reshape(-1, reference.shape[-1])
    difference = (out.double().reshape_as(want) - want).norm(dim=1)
    norms = want.norm(dim=1)
    floor = norms.square().mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    value = (difference / torch.maximum(norms, floor)).max().item()
    return value if value == value else float("inf")
