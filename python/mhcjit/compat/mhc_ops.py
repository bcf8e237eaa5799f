"""The entry points of the reference implementation `mhc_ops`: replace its import by this one.

All forward functions are one operator and so are all backward functions; the names only said how they were computed.
Unlike the reference's forward, this one applies gamma where it is given, as the reference's backward assumes.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from mhcjit.torch import mhc_backward, mhc_forward_pre, prepare

mhc_forward_pre_triton = mhc_forward_pre
mhc_forward_pre_triton_optimized = mhc_forward_pre
mhc_backward_manual = mhc_backward
mhc_backward_triton = mhc_backward

__all__ = [
    "MHCForwardPreTileLang",
    "mhc_backward",
    "mhc_backward_manual",
    "mhc_backward_triton",
    "mhc_forward_pre",
    "mhc_forward_pre_triton",
    "mhc_forward_pre_triton_optimized",
]


class MHCForwardPreTileLang:
    """Forward for one n, D and dtype, prepared when it is made. B and S are not held to: any number of tokens will do.

    `compute_dtype` is there for callers that name it: sums are fp32.
    """

    def __init__(
        self,
        B: int,
        S: int,
        n: int,
        D: int,
        dtype: torch.dtype = torch.bfloat16,
        compute_dtype: torch.dtype = torch.float32,
        norm_eps: float = 1e-6,
        hc_eps: float = 1e-6,
    ) -> None:
        if compute_dtype is not torch.float32:
            raise ValueError(f"MHCForwardPreTileLang: compute_dtype is {compute_dtype}, allowed: torch.float32")
        self.B, self.S, self.n, self.D = B, S, n, D
        self.norm_eps, self.hc_eps = norm_eps, hc_eps
        prepare(n, D, dtype, backward=False)

    def __call__(
        self,
        x: Tensor,
        phi: Tensor,
        alpha: Tensor,
        bias: Tensor,
        outflag: bool = False,
        gamma: Optional[Tensor] = None,
    ) -> tuple[Tensor, ...]:
        """What `mhc_forward_pre` returns."""
        if x.shape[-2:] != (self.n, self.D):
            raise ValueError(f"x has the shape {list(x.shape)}, allowed: [..., {self.n}, {self.D}]")
        return mhc_forward_pre(x, phi, alpha, bias, outflag, self.norm_eps, self.hc_eps, gamma)
