"""What follows a sublayer: Sinkhorn on the logits and the update of the streams, in PyTorch.

Native operators are to take the place of what stands behind `mix`, whose arguments are already theirs.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import Any, Callable, Optional

import torch
from torch import Tensor

BY_OUTPUT = "by_output"
BY_INPUT = "by_input"


def checked_res_order(res_order: str) -> str:
    if res_order not in (BY_OUTPUT, BY_INPUT):
        raise ValueError(f"res_order is {res_order!r}, allowed: {BY_OUTPUT!r}, {BY_INPUT!r}")
    return res_order


@torch.library.custom_op(
    "mhcjit::sinkhorn", mutates_args=(), schema="(Tensor logits, int iterations, float eps) -> Tensor"
)
def _sinkhorn(logits: Tensor, iterations: int, eps: float) -> Tensor:
    """An operator, so that torch.compile does not unroll the iterations: that takes a minute and 100 kernels."""
    *_, (matrix, _, _) = _divisions(logits.softmax(-1), iterations, eps)
    return matrix


@torch.library.custom_op(
    "mhcjit::sinkhorn_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor logits, int iterations, float eps) -> Tensor",
)
def _sinkhorn_backward(gradient: Tensor, logits: Tensor, iterations: int, eps: float) -> Tensor:
    softmax = logits.softmax(-1)
    for matrix, divisor, dim in reversed(list(_divisions(softmax, iterations, eps))):
        gradient = (gradient - (gradient * matrix).sum(dim, keepdim=True)) / divisor
    return softmax * (gradient - (gradient * softmax).sum(-1, keepdim=True))


def _divisions(softmax: Tensor, iterations: int, eps: float) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Each step's result, what it divided by, and the dimension of the sums."""
    matrix = softmax + eps
    for step in range(2 * iterations - 1):
        dim = -2 if step % 2 == 0 else -1
        divisor = matrix.sum(dim, keepdim=True) + eps
        matrix = matrix / divisor
        yield matrix, divisor, dim


@_sinkhorn.register_fake
def _(logits: Tensor, iterations: int, eps: float) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


@_sinkhorn_backward.register_fake
def _(gradient: Tensor, logits: Tensor, iterations: int, eps: float) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _save_logits(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    logits, ctx.iterations, ctx.eps = inputs
    ctx.save_for_backward(logits)


def _derive(ctx: Any, gradient: Tensor) -> tuple[Optional[Tensor], ...]:
    (logits,) = ctx.saved_tensors
    return torch.ops.mhcjit.sinkhorn_backward(gradient, logits, ctx.iterations, ctx.eps), None, None


_sinkhorn.register_autograd(_derive, setup_context=_save_logits)


def sinkhorn(logits: Tensor, iterations: int = 20, eps: float = 1e-6) -> Tensor:
    """Matrices whose rows and columns sum to about 1, from exp(logits) [..., n, n] (arXiv 2512.24880, equation 9).

    P = softmax(logits, along each row) + eps;  P = P / (column sums + eps);  then (iterations - 1) times
    P = P / (row sums + eps);  P = P / (column sums + eps).  Columns come last: only their sums are 1 within about eps.
    Differentiable; backward makes the steps anew from the logits.
    """
    if iterations < 1:
        raise ValueError(f"sinkhorn: iterations is {iterations}, allowed: 1 or more")
    return torch.ops.mhcjit.sinkhorn(logits, iterations, eps)


def post(x: Tensor, f: Tensor, h_post: Tensor, h_res: Tensor, *, res_order: str = BY_OUTPUT) -> Tensor:
    """The streams behind a sublayer that made f [..., D] of them: in fp32, rounded once to x's dtype.

    by_output: x'[r] = h_post[r] * f + sum_c h_res[r, c] * x[c]    the paper's order
    by_input:  x'[r] = h_post[r] * f + sum_c h_res[c, r] * x[c]    the transpose

    x and x' are [..., n, D], h_post [..., n], h_res [..., n, n]. A square matrix does not show its order: see
    docs/coming-from.md for who has which.
    """
    checked_res_order(res_order)
    # Sums in the order of the streams. A matrix product would be one operation, but autocast rounds what goes into it.
    streams = h_post[..., None] * f[..., None, :].float()
    for c in range(x.shape[-2]):
        weights = h_res[..., :, c] if res_order == BY_OUTPUT else h_res[..., c, :]
        streams = streams + weights[..., None] * x[..., c : c + 1, :].float()
    return streams.to(x.dtype)


def mix(
    x: Tensor,
    f: Tensor,
    h_post: Tensor,
    logits: Tensor,
    *,
    iterations: int = 20,
    eps: float = 1e-6,
    res_order: str = BY_OUTPUT,
) -> Tensor:
    """`post` with `sinkhorn` of the logits that "pre" made."""
    return post(x, f, h_post, sinkhorn(logits, iterations, eps), res_order=res_order)


@functools.cache
def compiled_mix() -> Callable[..., Any]:
    """`mix` as one region of torch.compile, which all modules of the process share."""
    return torch.compile(mix, fullgraph=True)


def can_compile(x: Tensor) -> bool:
    """Whether x is on a GPU and torch.compile has what it needs there: Triton, and the C compiler that Triton calls."""
    return x.is_cuda and _has_triton()


@functools.cache
def _has_triton() -> bool:
    has_compiler = "CC" in os.environ or any(map(shutil.which, ("gcc", "clang", "cc")))
    return has_compiler and importlib.util.find_spec("triton") is not None
