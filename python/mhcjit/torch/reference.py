"""The formulas in plain PyTorch, one operation after the other: what tests, benchmarks and comparisons hold ours to.

In float64 it is the oracle. Its gradients are autograd's, so that they share nothing with the formulas of backward.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor


class Forward(NamedTuple):
    """What forward makes, in the dtype that it was computed in."""

    h_in: Tensor
    h_post: Tensor
    h_res: Tensor
    inv_rms: Tensor
    h_mix: Tensor
    h_pre: Tensor


class Gradients(NamedTuple):
    """What backward makes. The terms of dalpha, three sums that may cancel, have its errors measured against them."""

    dx: Tensor
    dphi: Tensor
    dalpha: Tensor
    dbias: Tensor
    dgamma: Optional[Tensor]
    sum_of_dalpha_terms: Tensor


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
) -> Forward:
    """Forward (arXiv 2512.24880, equations 14-16), computed in `dtype`. Differentiable."""
    x, phi, alpha, bias = (tensor.to(dtype) for tensor in (x, phi, alpha, bias))
    gamma = None if gamma is None else gamma.to(dtype)
    return _scaled(x, phi, _scales(alpha, x.shape[-2]), bias, gamma, norm_eps, hc_eps, post_mult)


def _scales(alpha: Tensor, n: int) -> Tensor:
    """alpha [3] as a factor of each row of phi."""
    return torch.cat([alpha[:1].expand(n), alpha[1:2].expand(n), alpha[2:].expand(n * n)])


def _scaled(
    x: Tensor,
    phi: Tensor,
    scales: Tensor,
    bias: Tensor,
    gamma: Optional[Tensor],
    norm_eps: float,
    hc_eps: float,
    post_mult: float,
) -> Forward:
    n = x.shape[-2]
    flat = x.flatten(-2)
    h_mix = (flat if gamma is None else flat * gamma.flatten()) @ phi.T
    inv_rms = torch.rsqrt(flat.square().mean(-1) + norm_eps)
    logits = scales * (h_mix * inv_rms[..., None]) + bias
    h_pre = torch.sigmoid(logits[..., :n]) + hc_eps
    h_post = post_mult * torch.sigmoid(logits[..., n : 2 * n])
    h_res = logits[..., 2 * n :].unflatten(-1, (n, n))
    h_in = (h_pre[..., None] * x).sum(-2)
    return Forward(h_in, h_post, h_res, inv_rms, h_mix, h_pre)


def gradients(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    gamma: Optional[Tensor],
    dh_in: Tensor,
    dh_post: Tensor,
    dh_res: Tensor,
    *,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
) -> Gradients:
    """Backward in float64, through autograd."""
    n = x.shape[-2]
    x, phi, bias = (tensor.detach().double().requires_grad_() for tensor in (x, phi, bias))
    gamma = None if gamma is None else gamma.detach().double().requires_grad_()
    # A scale of its own for every token and row: the gradients of those are the terms of dalpha.
    scales = _scales(alpha.detach().double(), n).expand(*x.shape[:-2], -1).contiguous().requires_grad_()
    forward = _scaled(x, phi, scales, bias, gamma, norm_eps, hc_eps, post_mult)
    leaves = [x, phi, scales, bias] + ([] if gamma is None else [gamma])
    upstream = [gradient.double() for gradient in (dh_in, dh_post, dh_res)]
    dx, dphi, terms, dbias, *dgamma = torch.autograd.grad(forward[:3], leaves, upstream)

    def sums(terms: Tensor) -> Tensor:
        return torch.stack([part.sum() for part in terms.split([n, n, n * n], -1)])

    return Gradients(dx, dphi, sums(terms), dbias, dgamma[0] if dgamma else None, sums(terms.abs()))


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
