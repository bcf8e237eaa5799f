"""The operators on arrays of any library that has DLPack (CuPy, JAX, PyTorch, NumPy), on the CPU or a CUDA device.

    out = mhcjit.dlpack.pre_forward(x, phi, alpha, bias, stream=cupy.cuda.get_current_stream().ptr)
    h_in = cupy.from_dlpack(out.h_in)

Inputs are contiguous, of one device. Outputs are new arrays that have `__dlpack__` themselves: hand each to
`from_dlpack` of your library. Shapes are those of mhcjit.numpy; x may be bfloat16, float16 or float32.

Streams: on a CUDA device the work is enqueued on `stream`, an address as an integer, or 1 or None for the legacy
default stream, 2 for the per-thread default stream. It waits for what producers of the inputs have enqueued on theirs,
and consumers of the outputs wait for it, as DLPack's `stream` argument asks. Nothing waits on the host, until an output
is freed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from mhcjit import _library, _operator
from mhcjit._dlpack import CPU, LEGACY_DEFAULT_STREAM, Array, View, current


class PreForward(NamedTuple):
    """What pre_forward returns."""

    h_in: Array
    h_post: Array
    h_res: Array
    inv_rms: Array
    h_mix: Array
    h_pre: Array


class PreBackward(NamedTuple):
    """What pre_backward returns."""

    dx: Array
    dphi: Array
    dalpha: Array
    dbias: Array
    dgamma: Optional[Array]


def pre_forward(
    x: Any,
    phi: Any,
    alpha: Any,
    bias: Any,
    gamma: Any = None,
    *,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
    stream: Optional[int] = None,
) -> PreForward:
    """Forward; the formulas stand at mhcjit.numpy.pre_forward.

    Raises mhcjit.ArgumentError for an array of another shape, dtype or device, or that is not contiguous.
    """
    given = {"x": x, "phi": phi, "alpha": alpha, "bias": bias, "gamma": gamma}
    scalars = {"norm_eps": norm_eps, "hc_eps": hc_eps, "post_mult": post_mult}
    return PreForward(**_run("pre_forward", given, scalars, PreForward._fields, stream))


def pre_backward(
    x: Any,
    phi: Any,
    alpha: Any,
    gamma: Any,
    forward: Any,
    dh_in: Any = None,
    dh_post: Any = None,
    dh_res: Any = None,
    *,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
    stream: Optional[int] = None,
) -> PreBackward:
    """Gradients; `forward` is what pre_forward returned, or anything with its inv_rms, h_mix, h_pre and h_post.

    A gradient that is None counts as zero. Raises what pre_forward raises.
    """
    given = {"x": x, "phi": phi, "alpha": alpha, "gamma": gamma, "dh_in": dh_in, "dh_post": dh_post, "dh_res": dh_res}
    saved = {name: getattr(forward, name) for name in ("inv_rms", "h_mix", "h_pre", "h_post")}
    scalars = {"hc_eps": hc_eps, "post_mult": post_mult}
    return PreBackward(**_run("pre_backward", {**given, **saved}, scalars, PreBackward._fields, stream))


def _run(
    op: str, given: Mapping[str, Any], scalars: Mapping[str, float], outputs: tuple[str, ...], stream: Optional[int]
) -> dict[str, Any]:
    stream = stream or LEGACY_DEFAULT_STREAM
    views = {name: View(f"{op}: {name}", array, stream) for name, array in given.items() if array is not None}
    x = views["x"]
    if len(x.shape) < 2:
        raise _library.argument_error(f"{op}: x has the shape {list(x.shape)}, allowed: [..., n, D]")
    if x.dtype not in _operator.DTYPES:
        raise _library.argument_error(f"{op}: x is {x.dtype}, allowed: bf16, fp16, fp32")
    *leading, n, d = x.shape
    problem = _operator.Problem(op, n, d, x.dtype, "gamma" in views)
    with current(x.device):
        prepared = _operator.prepare(problem, _operator.CPU if x.device[0] == CPU else x.device[1], stream)
        for name, view in views.items():
            tensor = prepared.tensors[name]
            if view.device != x.device:
                raise _library.argument_error(f"{op}: {name} is on the device {view.device}, but x is on {x.device}")
            if not tensor.exists or view.shape != tensor.shape(leading) or view.dtype != tensor.dtype:
                raise tensor.mismatch(op, leading, view.shape, view.dtype)
        made = {
            name: Array(tensor.shape(leading), tensor.dtype, x.device, stream)
            for name, tensor in prepared.tensors.items()
            if name in outputs and tensor.exists
        }
        T = _operator.tokens(leading)
        workspace_bytes = prepared.workspace_bytes(T)
        workspace = Array((-(-workspace_bytes // 4),), "fp32", x.device, stream)
        addresses = {name: view.address for name, view in views.items()}
        addresses.update((name, array.address) for name, array in made.items())
        prepared.call(stream, T=T, workspace=workspace.address, workspace_bytes=workspace_bytes, **addresses, **scalars)
        made[outputs[0]].keep(workspace)  # freeing it now would wait for the launch
    return {name: made.get(name) for name in outputs}
