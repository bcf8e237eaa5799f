"""The operators on NumPy arrays, on the CPU.

x may be float16, float32, or bfloat16 of the package ml_dtypes; every other tensor but those that have x's dtype is
float32. Inputs that are not contiguous are copied. Shapes, with M = n*n + 2n and "..." any dimensions (T tokens):

    x      [..., n, D]   phi    [M, n*D]   alpha [3]           bias  [M]           gamma [n, D]
    h_in   [..., D]      h_post [..., n]   h_res [..., n, n]
    inv_rms [...]        h_mix  [..., M]   h_pre [..., n]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import numpy as np

from mhcjit import _library, _operator

_DTYPE_NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class PreForward(NamedTuple):
    """What pre_forward returns."""

    h_in: np.ndarray
    h_post: np.ndarray
    h_res: np.ndarray
    inv_rms: np.ndarray
    h_mix: np.ndarray
    h_pre: np.ndarray


class PreBackward(NamedTuple):
    """What pre_backward returns."""

    dx: np.ndarray
    dphi: np.ndarray
    dalpha: np.ndarray
    dbias: np.ndarray
    dgamma: Optional[np.ndarray]


def pre_forward(
    x: np.ndarray,
    phi: np.ndarray,
    alpha: np.ndarray,
    bias: np.ndarray,
    gamma: Optional[np.ndarray] = None,
    *,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
) -> PreForward:
    """Forward (arXiv 2512.24880, equations 14-16). With X = x[t] as n*D numbers, in fp32:

        h_mix = (X * gamma) . phi^T          inv_rms = 1 / sqrt(mean(X^2) + norm_eps)        u = h_mix * inv_rms
        h_pre  = sigmoid(alpha[0] * u[0:n] + bias[0:n]) + hc_eps
        h_post = post_mult * sigmoid(alpha[1] * u[n:2n] + bias[n:2n])
        h_res  = alpha[2] * u[2n:] + bias[2n:]     raw logits
        h_in   = sum_i h_pre[i] * x[t, i, :]

    Raises mhcjit.ArgumentError for a wrong shape, dtype or scalar.
    """
    given = {"x": x, "phi": phi, "alpha": alpha, "bias": bias, "gamma": gamma}
    scalars = {"norm_eps": norm_eps, "hc_eps": hc_eps, "post_mult": post_mult}
    return PreForward(**_run("pre_forward", given, scalars, PreForward._fields))


def pre_backward(
    x: np.ndarray,
    phi: np.ndarray,
    alpha: np.ndarray,
    gamma: Optional[np.ndarray],
    forward: PreForward,
    dh_in: Optional[np.ndarray] = None,
    dh_post: Optional[np.ndarray] = None,
    dh_res: Optional[np.ndarray] = None,
    *,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
) -> PreBackward:
    """Gradients of pre_forward, whose result and scalars are handed on; a gradient that is None counts as zero.

    dx has x's dtype; dgamma is None where there is no gamma. include/mhcjit/pre_backward.h has the formulas.
    Raises mhcjit.ArgumentError for a wrong shape, dtype or scalar.
    """
    given = {"x": x, "phi": phi, "alpha": alpha, "gamma": gamma, "dh_in": dh_in, "dh_post": dh_post, "dh_res": dh_res}
    saved = {name: getattr(forward, name) for name in ("inv_rms", "h_mix", "h_pre", "h_post")}
    scalars = {"hc_eps": hc_eps, "post_mult": post_mult}
    made = _run("pre_backward", {**given, **saved}, scalars, PreBackward._fields)
    return PreBackward(**made)


def _run(op: str, given: Mapping[str, Any], scalars: Mapping[str, float], outputs: tuple[str, ...]) -> dict[str, Any]:
    arrays = {name: np.ascontiguousarray(array) for name, array in given.items() if array is not None}
    x = arrays["x"]
    if x.ndim < 2:
        raise _library.argument_error(f"{op}: x has the shape {list(x.shape)}, allowed: [..., n, D]")
    if _dtype_name(x) not in _operator.DTYPES:
        raise _library.argument_error(f"{op}: x is {x.dtype}, allowed: bfloat16, float16, float32")
    *leading, n, d = x.shape
    prepared = _operator.prepare(_operator.Problem(op, n, d, _dtype_name(x), "gamma" in arrays))
    for name, array in arrays.items():
        tensor = prepared.tensors[name]
        if not tensor.exists or array.shape != tensor.shape(leading) or _dtype_name(array) != tensor.dtype:
            raise tensor.mismatch(op, leading, array.shape, _dtype_name(array))
    made = {name: _empty(prepared.tensors[name], leading, x.dtype) for name in outputs}
    T = _operator.tokens(leading)
    workspace = np.empty(prepared.workspace_bytes(T) // 16 + 1, np.complex128)
    addresses = {name: array.ctypes.data for name, array in {**arrays, **made}.items() if array is not None}
    prepared.call(None, T=T, workspace=workspace.ctypes.data, workspace_bytes=workspace.nbytes, **addresses, **scalars)
    return made


def _dtype_name(array: np.ndarray) -> str:
    return _DTYPE_NAMES.get(array.dtype.name, str(array.dtype))


def _empty(tensor: _operator.Tensor, leading: list[int], x_dtype: np.dtype) -> Optional[np.ndarray]:
    if not tensor.exists:
        return None
    return np.empty(tensor.shape(leading), np.float32 if tensor.dtype == "fp32" else x_dtype)
