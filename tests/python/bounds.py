"""What every output is held to: the normalised error against the formulas in float64, of the whole and of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from mhcjit.torch import reference

COEFFICIENTS = 2e-5
# Of many elements. A few may all be rounded by up to half a unit.
ROUNDING = {torch.bfloat16: 2.5e-3, torch.float16: 4e-4, torch.float32: 2e-5}
MANY = 256
PARAMETER_GRADIENTS = 5e-5
WORST_ROW = 3  # times the bound


def rounding(out: Tensor) -> float:
    if out.numel() >= MANY or out.dtype is torch.float32:
        return ROUNDING[out.dtype]
    return torch.finfo(out.dtype).eps / 2 + ROUNDING[torch.float32]


def check_per_token(name: str, out: Tensor, want: Tensor, bound: float) -> None:
    assert out.shape == want.shape, name
    assert reference.error(out, want) <= bound, name
    assert reference.worst_row_error(out, want) <= WORST_ROW * bound, f"{name}, worst row"


def check_forward(outputs: Sequence[Tensor], want: reference.Forward) -> None:
    """Outputs are as many of Forward's members as there are."""
    for name, out, expected in zip(want._fields, outputs, want):
        bound = rounding(out) if name == "h_in" else COEFFICIENTS
        if name == "inv_rms":
            out, expected = out[..., None], expected[..., None]
        check_per_token(name, out, expected, bound)


def check_gradients(outputs: Sequence[Optional[Tensor]], want: reference.Gradients) -> None:
    """Outputs are (dx, dphi, dalpha, dbias, dgamma)."""
    dx, dphi, dalpha, dbias, dgamma = outputs
    check_per_token("dx", dx, want.dx, rounding(dx))
    assert (dgamma is None) == (want.dgamma is None)
    for name, out in (("dphi", dphi), ("dbias", dbias), ("dgamma", dgamma)):
        if out is not None:
            assert reference.error(out, getattr(want, name)) <= PARAMETER_GRADIENTS, name
    scale = max(want.dalpha.norm().item(), 1e-3 * want.sum_of_dalpha_terms.sum().item())
    assert (dalpha.double() - want.dalpha).norm().item() <= PARAMETER_GRADIENTS * scale, "dalpha"
