"""What every output is held to: its normalised error against the formulas in float64, of the whole and of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from mhcjit.torch import reference

COEFFICIENTS = 2e-5
# For many elements. A few may all be rounded by up to half a unit.
ROUNDING = {torch.bfloat16: 2.5e-3, torch.float16: 4e-4, torch.float32: 2e-5}
MANY = 256
PARAMETER_GRADIENTS = 5e-5
WORST_ROW = 3  # times the bound


class Check(NamedTuple):
    """An error of an output, and what it may be."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound


def rounding(out: Tensor) -> float:
    """The bound of h_in or dx, by its dtype."""
    if out.numel() >= MANY or out.dtype is torch.float32:
        return ROUNDING[out.dtype]
    return torch.finfo(out.dtype).eps / 2 + ROUNDING[torch.float32]


def per_token(name: str, out: Tensor, want: Tensor, bound: float) -> Iterator[Check]:
    """The errors of the whole and of the worst row."""
    if out.shape != want.shape:
        raise ValueError(f"{name} has the shape {list(out.shape)}, not {list(want.shape)}")
    yield Check(name, reference.error(out, want), bound)
    yield Check(f"{name}, worst row", reference.worst_row_error(out, want), WORST_ROW * bound)


def forward(outputs: Sequence[Tensor], want: reference.Forward) -> Iterator[Check]:
    """Outputs are as many of Forward's members as there are."""
    for name, out, expected in zip(want._fields, outputs, want):
        bound = rounding(out) if name == "h_in" else COEFFICIENTS
        if name == "inv_rms":
            out, expected = out[..., None], expected[..., None]
        yield from per_token(name, out, expected, bound)


def gradients(outputs: Sequence[Optional[Tensor]], want: reference.Gradients) -> Iterator[Check]:
    """Outputs are (dx, dphi, dalpha, dbias, dgamma)."""
    dx, dphi, dalpha, dbias, dgamma = outputs
    if dx is None or dalpha is None or (dgamma is None) != (want.dgamma is None):
        raise ValueError("there are not the gradients that are wanted")
    yield from per_token("dx", dx, want.dx, rounding(dx))
    for name, out in (("dphi", dphi), ("dbias", dbias), ("dgamma", dgamma)):
        if out is not None:
            yield Check(name, reference.error(out, getattr(want, name)), PARAMETER_GRADIENTS)
    tiny = torch.finfo(torch.float64).tiny  # where all terms are 0, so must dalpha be
    scale = max(want.dalpha.norm().item(), 1e-3 * want.sum_of_dalpha_terms.sum().item(), tiny)
    yield Check("dalpha", (dalpha.double() - want.dalpha).norm().item() / scale, PARAMETER_GRADIENTS)
