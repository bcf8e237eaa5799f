"""The operators as plain functions on tensors: no autograd, no dispatcher, the least time per call.

They run on x's device, on its current stream, and may be captured into a CUDA graph once `prepare` has been called.
Inputs that are not contiguous or not aligned are copied; what is written into must be both.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Union

import torch
from torch import Tensor

from mhcjit import _library, _operator

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
GRADIENTS = ("dx", "dphi", "dalpha", "dbias", "dgamma")

# The address of the current stream of a device; the public torch.cuda.current_stream makes two objects for it.
_current_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)


class _Bound:
    """A prepared operator, for tensors of one device."""

    def __init__(self, prepared: _operator.Operator, device: torch.device) -> None:
        problem = prepared.problem
        x_dtype = next(dtype for dtype, name in DTYPES.items() if name == problem.dtype)
        self.name = problem.op
        self.device = device
        self.index = device.index if device.type == "cuda" else -1
        self.workspace_bytes = prepared.workspace_bytes
        self.call = prepared.call if self.index < 0 else prepared.make_call(self._in_context)
        self.tensors = prepared.tensors
        # What a call looks at: dtype, None if there must be no such tensor; whether per token; shape, or that of a token;
        # the bits of an address that must be 0.
        self._specs = {
            tensor.name: (
                (torch.float32 if tensor.dtype == "fp32" else x_dtype) if tensor.exists else None,
                tensor.is_per_token,
                tensor.row,
                tensor.alignment - 1,
            )
            for tensor in prepared.tensors.values()
        }
        # `saved` is inv_rms, h_mix and h_pre of all tokens, one after the other: these many bytes a token before each.
        self.h_mix_at = 4
        self.h_pre_at = self.h_mix_at + 4 * (problem.n * problem.n + 2 * problem.n)
        self.saved_floats = self.h_pre_at // 4 + problem.n

    def input(self, name: str, tensor: Tensor, leading: torch.Size) -> Tensor:
        """The tensor, or a copy whose memory can be handed on."""
        dtype, is_per_token, row, misaligned_bits = self._specs[name]
        if (
            tensor.dtype is not dtype
            or tensor.shape != (leading + row if is_per_token else row)
            or tensor.get_device() != self.index
        ):
            raise self._mismatch(name, tensor, leading)
        if tensor.is_contiguous() and not tensor.data_ptr() & misaligned_bits:
            return tensor
        return tensor.detach().clone(memory_format=torch.contiguous_format)

    def output(self, name: str, tensor: Tensor, leading: torch.Size) -> Tensor:
        """The tensor, which is written into."""
        dtype, is_per_token, row, _ = self._specs[name]
        if (
            tensor.dtype is not dtype
            or tensor.shape != (leading + row if is_per_token else row)
            or tensor.get_device() != self.index
        ):
            raise self._mismatch(name, tensor, leading)
        if not tensor.is_contiguous():
            raise _library.argument_error(f"{self.name}: {name} is written into and must be contiguous")
        return tensor

    def empty(self, name: str, leading: torch.Size) -> Tensor:
        dtype, is_per_token, row, _ = self._specs[name]
        return torch.empty(leading + row if is_per_token else row, dtype=dtype, device=self.device)

    def workspace(self, count: int) -> Optional[Tensor]:
        """From torch's caching allocator, which gives the memory to no other stream's work before the launch has used it."""
        return torch.empty(count, dtype=torch.uint8, device=self.device) if count else None

    def stream(self) -> Optional[int]:
        """The address of the current stream, on which the next launch is."""
        return None if self.index < 0 else _current_stream(self.index)

    def _in_context(
        self, status: int, launch: Callable[..., int], handle: int, arguments: bytes, stream: Optional[int]
    ) -> None:
        """Makes a call again that has found another device's context, or none, as in a thread that is new to CUDA."""
        if status in _NEEDS_CONTEXT:
            with _context(self.index):
                status = launch(handle, arguments, stream)
                if status:
                    raise _library.error_of(status)
        else:
            raise _library.error_of(status)

    def _mismatch(self, name: str, tensor: Tensor, leading: torch.Size) -> _library.Error:
        if tensor.device != self.device:
            return _library.argument_error(f"{self.name}: {name} is on {tensor.device}, but x is on {self.device}")
        dtype = DTYPES.get(tensor.dtype, str(tensor.dtype))
        return self.tensors[name].mismatch(self.name, tuple(leading), tensor.shape, dtype)


_NEEDS_CONTEXT = (_library.Status.WRONG_DEVICE, _library.Status.NO_DEVICE)


@contextlib.contextmanager
def _context(index: int) -> Iterator[None]:
    """Makes the context of a CUDA device current, which torch.cuda.device alone leaves to the first call that needs it."""
    with torch.cuda.device(index):
        torch.cuda.mem_get_info(index)
        yield


_bound: dict[tuple[Any, ...], _Bound] = {}
os.register_at_fork(after_in_child=_bound.clear)


def _bind(
    op: str,
    n: int,
    d: int,
    dtype: torch.dtype,
    has_gamma: bool,
    batch_invariant: bool,
    fp32_dx: bool,
    device: torch.device,
) -> _Bound:
    key = (op, n, d, dtype, has_gamma, batch_invariant, fp32_dx, device)
    bound = _bound.get(key)
    return _first_bind(*key) if bound is None else bound


def _first_bind(
    op: str,
    n: int,
    d: int,
    dtype: torch.dtype,
    has_gamma: bool,
    batch_invariant: bool,
    fp32_dx: bool,
    device: torch.device,
) -> _Bound:
    if dtype not in DTYPES:
        raise _library.argument_error(f"{op}: x is {dtype}, allowed: bfloat16, float16, float32")
    problem = _operator.Problem(op, n, d, DTYPES[dtype], has_gamma, batch_invariant, fp32_dx)
    if device.type == "cpu":
        prepared = _operator.prepare(problem)
    elif device.type == "cuda" and torch.version.cuda is not None:
        stream = _current_stream(device.index)
        try:
            with torch.cuda.device(device.index):
                prepared = _operator.prepare(problem, device.index, stream)
        except _library.Error as error:
            if error.status != _library.Status.NO_DEVICE:
                raise
            with _context(device.index):
                prepared = _operator.prepare(problem, device.index, stream)
    else:
        raise _library.argument_error(f"{op}: x is on {device}, allowed: the CPU and CUDA devices of NVIDIA")
    bound = _Bound(prepared, device)
    _bound[op, n, d, dtype, has_gamma, batch_invariant, fp32_dx, device] = bound
    return bound


def prepare(
    n: int,
    D: int,
    dtype: torch.dtype = torch.bfloat16,
    *,
    gamma: bool = False,
    backward: bool = True,
    batch_invariant: bool = False,
    fp32_dx: bool = False,
    device: Union[torch.device, str, int, None] = None,
) -> None:
    """Finds or compiles the kernels of a shape and loads them, so that no later call does, whatever T is.

    A CUDA graph can be captured afterwards. `device` is the current CUDA device where there is one, else the CPU. The
    options are those of `pre_forward` and `pre_backward`; `fp32_dx` is for a dx buffer that is fp32.

    Raises mhcjit.Error: no compiler is found, or the kernel is in no cache and may not be compiled.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    _bind("pre_forward", n, D, dtype, gamma, batch_invariant, False, device)
    if backward:
        _bind("pre_backward", n, D, dtype, gamma, batch_invariant, fp32_dx, device)


def pre_forward(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    gamma: Optional[Tensor] = None,
    *,
    norm_eps: float = 1e-6,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
    save: bool = False,
    batch_invariant: bool = False,
    out: Optional[Sequence[Tensor]] = None,
) -> tuple[Tensor, ...]:
    """(h_in, h_post, h_res), and with `save` a fourth tensor, `saved`, which pre_backward takes. Not differentiable.

    Formulas, shapes and dtypes are those of `pre`. `saved` is fp32 and flat: inv_rms [T], h_mix [T, M] and h_pre [T, n]
    one after the other, which `split_saved` takes apart. `out` has the tensors to write into in place of new ones.
    `batch_invariant`: row t has the same bits whatever T is and wherever the row stands.

    Raises mhcjit.ArgumentError for a tensor of another shape, dtype or device, NOT_PREPARED during a capture.
    """
    shape = x.shape
    if len(shape) < 2:
        raise _library.argument_error(f"pre_forward: x has the shape {list(shape)}, allowed: [..., n, D]")
    leading = shape[:-2]
    n, d = shape[-2:]
    bound = _bind("pre_forward", n, d, x.dtype, gamma is not None, batch_invariant, False, x.device)
    x = bound.input("x", x, leading)
    phi = bound.input("phi", phi, leading)
    alpha = bound.input("alpha", alpha, leading)
    bias = bound.input("bias", bias, leading)
    if gamma is not None:
        gamma = bound.input("gamma", gamma, leading)
    T = x.numel() // (n * d)
    if out is None:
        out = (bound.empty("h_in", leading), bound.empty("h_post", leading), bound.empty("h_res", leading))
        if save:
            out += (torch.empty(T * bound.saved_floats, dtype=torch.float32, device=bound.device),)
    else:
        if len(out) != 3 + save:
            raise _library.argument_error(f"pre_forward: out has {len(out)} tensors, allowed: {3 + save}")
        for name, tensor in zip(("h_in", "h_post", "h_res"), out):
            bound.output(name, tensor, leading)
    inv_rms, h_mix, h_pre = _saved_addresses(bound, out[3], T) if save else (0, 0, 0)
    workspace_bytes = bound.workspace_bytes(T)
    workspace = bound.workspace(workspace_bytes)
    bound.call(
        bound.stream(),
        x=x.data_ptr(),
        phi=phi.data_ptr(),
        alpha=alpha.data_ptr(),
        bias=bias.data_ptr(),
        gamma=0 if gamma is None else gamma.data_ptr(),
        T=T,
        norm_eps=norm_eps,
        hc_eps=hc_eps,
        post_mult=post_mult,
        h_in=out[0].data_ptr(),
        h_post=out[1].data_ptr(),
        h_res=out[2].data_ptr(),
        inv_rms=inv_rms,
        h_mix=h_mix,
        h_pre=h_pre,
        workspace=0 if workspace is None else workspace.data_ptr(),
        workspace_bytes=workspace_bytes,
    )
    return tuple(out)


def pre_backward(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    gamma: Optional[Tensor],
    saved: Union[Tensor, Sequence[Tensor]],
    h_post: Tensor,
    dh_in: Optional[Tensor] = None,
    dh_post: Optional[Tensor] = None,
    dh_res: Optional[Tensor] = None,
    *,
    hc_eps: float = 1e-6,
    post_mult: float = 2.0,
    batch_invariant: bool = False,
    wanted: Sequence[str] = GRADIENTS,
    out: Optional[Mapping[str, Tensor]] = None,
    accumulate_dx: bool = False,
    accumulate_parameters: bool = False,
) -> tuple[Optional[Tensor], ...]:
    """(dx, dphi, dalpha, dbias, dgamma); None in the place of what is not `wanted`, and of dgamma without gamma.

    `saved` is what pre_forward saved, or (inv_rms, h_mix, h_pre). A dh_in, dh_post or dh_res that is None counts as zero.
    `out` names tensors to write into: {"dphi": phi.main_grad}. With `accumulate_parameters` all gradients of parameters are
    added to what is there, with `accumulate_dx` dx is. out["dx"] may be fp32 whatever x is: it is then stored unrounded.
    include/mhcjit/pre_backward.h has the formulas.

    Raises mhcjit.ArgumentError for a tensor of another shape, dtype or device, NOT_PREPARED during a capture.
    """
    shape = x.shape
    if len(shape) < 2:
        raise _library.argument_error(f"pre_backward: x has the shape {list(shape)}, allowed: [..., n, D]")
    leading = shape[:-2]
    n, d = shape[-2:]
    out = {} if out is None else out
    dx = out.get("dx")
    fp32_dx = dx is not None and dx.dtype is torch.float32 and x.dtype is not torch.float32
    bound = _bind("pre_backward", n, d, x.dtype, gamma is not None, batch_invariant, fp32_dx, x.device)
    given = {
        "x": x,
        "phi": phi,
        "alpha": alpha,
        "gamma": gamma,
        "h_post": h_post,
        "dh_in": dh_in,
        "dh_post": dh_post,
        "dh_res": dh_res,
    }
    inputs = {name: bound.input(name, tensor, leading) for name, tensor in given.items() if tensor is not None}
    T = x.numel() // (n * d)
    if isinstance(saved, Tensor):
        addresses = dict(zip(("inv_rms", "h_mix", "h_pre"), _saved_addresses(bound, saved, T)))
    else:
        addresses = {}
        for name, tensor in zip(("inv_rms", "h_mix", "h_pre"), saved):
            inputs[name] = bound.input(name, tensor, leading)
    accumulates = {"accumulate_dx": accumulate_dx, "accumulate_parameters": accumulate_parameters}
    outputs = {}
    for name in wanted:
        described = bound.tensors[name]
        if name in out:
            outputs[name] = bound.output(name, out[name], leading)
        elif described.exists:
            made = bound.empty(name, leading)
            outputs[name] = made.zero_() if accumulates[described.accumulate_flag] else made
    workspace_bytes = bound.workspace_bytes(T)
    workspace = bound.workspace(workspace_bytes)
    addresses.update((name, tensor.data_ptr()) for name, tensor in inputs.items())
    addresses.update((name, tensor.data_ptr()) for name, tensor in outputs.items())
    bound.call(
        bound.stream(),
        T=T,
        hc_eps=hc_eps,
        post_mult=post_mult,
        workspace=0 if workspace is None else workspace.data_ptr(),
        workspace_bytes=workspace_bytes,
        **addresses,
        **accumulates,
    )
    return tuple(outputs.get(name) for name in GRADIENTS)


def split_saved(saved: Tensor, leading: Sequence[int], n: int) -> tuple[Tensor, Tensor, Tensor]:
    """(inv_rms [...], h_mix [..., M], h_pre [..., n]) as views of `saved`, for x of shape [*leading, n, D]."""
    rows = n * n + 2 * n
    T = saved.numel() // (1 + rows + n)
    inv_rms, h_mix, h_pre = saved.split([T, T * rows, T * n])
    return inv_rms.view(*leading), h_mix.view(*leading, rows), h_pre.view(*leading, n)


def _saved_addresses(bound: _Bound, saved: Tensor, T: int) -> tuple[int, int, int]:
    count = T * bound.saved_floats
    if (
        saved.dtype is not torch.float32
        or saved.numel() != count
        or saved.get_device() != bound.index
        or not saved.is_contiguous()
    ):
        raise _library.argument_error(
            f"{bound.name}: saved is {saved.dtype} of shape {list(saved.shape)} on {saved.device}, allowed: float32, "
            f"[{count}], contiguous, on {bound.device}: what pre_forward made with save=True for this x"
        )
    address = saved.data_ptr()
    return address, address + T * bound.h_mix_at, address + T * bound.h_pre_at
