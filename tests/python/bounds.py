"""Asserts what mhcjit.torch.accuracy says of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from torch import Tensor

from mhcjit.torch import accuracy, reference


def check_per_token(name: str, out: Tensor, want: Tensor, bound: float) -> None:
    for check in accuracy.per_token(name, out, want, bound):
        assert check.passed, check


def check_forward(outputs: Sequence[Tensor], want: reference.Forward) -> None:
    for check in accuracy.forward(outputs, want):
        assert check.passed, check


def check_gradients(outputs: Sequence[Optional[Tensor]], want: reference.Gradients) -> None:
    for check in accuracy.gradients(outputs, want):
        assert check.passed, check
