"""The operators as plain functions on tensors: no autograd, no dispatcher, the least time per call.

They run on x's device, on its current stream, and may be captured into a CUDA graph once `prepare` has been called.
Inputs that are not contiguous or not aligned are copied; what is written into must be both.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

import torch
from torch import Tensor

from mhcjit import _library, _operator

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
GRADIENTS = ("dx", "dphi", "dalpha", "dbias", "dgamma")

# The address of the current stream of a device; the public torch.cuda.current_stream makes two objects for it.
_current_stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 0)


class _Spec(NamedTuple):
    """What a tensor of a call must be."""

    dtype: Optional[torch.dtype]  # None: there must be no such tensor
    shape: torch.Size
    strides: tuple[int, ...]
    misaligned_bits: int  # those of its address that must be 0


class _Prepared:
    """A prepared operator on one device."""

    def __init__(self, operator: _operator.Operator, device: torch.device) -> None:
        self.operator = operator
        self.device = device
        self.index = device.index if device.type == "cuda" else -1  # as Tensor.get_device has it
        self.launch = operator.call if self.index < 0 else operator.make_call(self._launch_in_context)

    def _launch_in_context(
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


class _Call:
    """What is the same for all calls with an x of one shape, dtype and device, and one set of options."""

    def __init__(self, prepared: _Prepared, leading: Sequence[int]) -> None:
        problem = prepared.operator.problem
        x_dtype = next(dtype for dtype, name in DTYPES.items() if name == problem.dtype)
        self.problem = problem
        self.tensors = prepared.operator.tensors
        self.device = prepared.device
        self.index = prepared.index
        self.launch = prepared.launch
        self.leading = tuple(leading)
        self.T = _operator.tokens(leading)
        self.workspace_bytes = prepared.operator.workspace_bytes(self.T)
        self.specs = {}
        for name, tensor in self.tensors.items():
            dtype = torch.float32 if tensor.dtype == "fp32" else x_dtype
            shape = torch.Size(tensor.shape(leading))
            strides = tuple(math.prod(max(1, extent) for extent in shape[i + 1 :]) for i in range(len(shape)))
            self.specs[name] = _Spec(dtype if tensor.exists else None, shape, strides, tensor.alignment - 1)
        # `saved` is inv_rms, h_mix and h_pre of all tokens, one after the other: where the latter two begin, in bytes.
        n = problem.n
        self.h_mix_at = 4 * self.T
        self.h_pre_at = self.h_mix_at + 4 * self.T * (n * n + 2 * n)
        saved = torch.Size([self.h_pre_at // 4 + self.T * n])
        self.specs["saved"] = _Spec(torch.float32, saved, (1,), 3)

    def input(self, name: str, tensor: Tensor, copies: list[Tensor]) -> int:
        """The address of the tensor, or of a copy whose memory is as the library wants it."""
        dtype, shape, _, misaligned_bits = self.specs[name]
        if tensor.dtype is not dtype or tensor.shape != shape or tensor.get_device() != self.index:
            raise self._mismatch(name, tensor)
        address = tensor.data_ptr()
        if tensor.is_contiguous() and not address & misaligned_bits:
            return address
        copies.append(tensor.detach().clone(memory_format=torch.contiguous_format))
        return copies[-1].data_ptr()

    def output(self, name: str, tensor: Tensor) -> int:
        """The address of a tensor that is written into."""
        dtype, shape, _, _ = self.specs[name]
        if tensor.dtype is not dtype or tensor.shape != shape or tensor.get_device() != self.index:
            raise self._mismatch(name, tensor)
        if not tensor.is_contiguous():
            raise _library.argument_error(f"{self.problem.op}: {name} is written into and must be contiguous")
        return tensor.data_ptr()

    def empty(self, name: str) -> Tensor:
        dtype, shape, strides, _ = self.specs[name]
        return torch.empty_strided(shape, strides, dtype=dtype, device=self.device)

    def saved_addresses(self, saved: Tensor) -> tuple[int, int, int]:
        """Those of inv_rms, h_mix and h_pre."""
        address = self.output("saved", saved)
        return address, address + self.h_mix_at, address + self.h_pre_at

    def workspace(self) -> Optional[Tensor]:
        """From torch's caching allocator, which gives it to no other stream's work before the launch is done."""
        count = self.workspace_bytes
        return torch.empty(count, dtype=torch.uint8, device=self.device) if count else None

    def stream(self) -> Optional[int]:
        """The address of the current stream."""
        return None if self.index < 0 else _current_stream(self.index)

    def _mismatch(self, name: str, tensor: Tensor) -> _library.Error:
        if tensor.device != self.device:
            return _library.argument_error(
                f"{self.problem.op}: {name} is on {tensor.device}, but x is on {self.device}"
            )
        dtype = DTYPES.get(tensor.dtype, str(tensor.dtype))
        if name == "saved":
            return _library.argument_error(
                f"{self.problem.op}: saved is {dtype} of shape {list(tensor.shape)}, allowed: fp32 of shape "
                f"{list(self.specs[name].shape)}, which pre_forward makes with save=True"
            )
        return self.tensors[name].mismatch(self.problem.op, self.leading, tensor.shape, dtype)


_NEEDS_CONTEXT = (_library.Status.WRONG_DEVICE, _library.Status.NO_DEVICE)


@contextlib.contextmanager
def _context(index: int) -> Iterator[None]:
    """Makes a CUDA device's context current, which torch.cuda.device leaves to the first call that needs it."""
    with torch.cuda.device(index):
        torch.cuda.mem_get_info(index)
        yield


# By what decides them. Numbers of tokens are many: when there are too many, all are forgotten.
_calls: dict[tuple[Any, ...], _Call] = {}
_KEPT_CALLS = 4096
os.register_at_fork(after_in_child=_calls.clear)


def _call_of(
    op: str,
    shape: torch.Size,
    dtype: torch.dtype,
    device: torch.device,
    has_gamma: bool,
    batch_invariant: bool,
    fp32_dx: bool,
) -> _Call:
    key = (op, shape, dtype, device, has_gamma, batch_invariant, fp32_dx)
    call = _calls.get(key)
    return _first_call_of(*key) if call is None else call


def _first_call_of(
    op: str,
    shape: torch.Size,
    dtype: torch.dtype,
    device: torch.device,
    has_gamma: bool,
    batch_invariant: bool,
    fp32_dx: bool,
) -> _Call:
    if len(shape) < 2:
        raise _library.argument_error(f"{op}: x has the shape {list(shape)}, allowed: [..., n, D]")
    *leading, n, d = shape
    call = _Call(_prepare(op, n, d, dtype, device, has_gamma, batch_invariant, fp32_dx), leading)
    if len(_calls) >= _KEPT_CALLS:
        _calls.clear()
    _calls[op, shape, dtype, device, has_gamma, batch_invariant, fp32_dx] = call
    return call


@functools.cache
def _prepare(
    op: str,
    n: int,
    d: int,
    dtype: torch.dtype,
    device: torch.device,
    has_gamma: bool,
    batch_invariant: bool,
    fp32_dx: bool,
) -> _Prepared:
    if dtype not in DTYPES:
        raise _library.argument_error(f"{op}: x is {dtype}, allowed: bfloat16, float16, float32")
    problem = _operator.Problem(op, n, d, DTYPES[dtype], has_gamma, batch_invariant, fp32_dx)
    if device.type == "cpu":
        return _Prepared(_operator.prepare(problem), device)
    if device.type != "cuda" or torch.version.cuda is None:
        raise _library.argument_error(f"{op}: x is on {device}, allowed: the CPU and CUDA devices of NVIDIA")
    stream = _current_stream(device.index)
    try:
        with torch.cuda.device(device.index):
            return _Prepared(_operator.prepare(problem, device.index, stream), device)
    except _library.Error as error:
        if error.status != _library.Status.NO_DEVICE:
            raise
    with _context(device.index):
        return _Prepared(_operator.prepare(problem, device.index, stream), device)


os.register_at_fork(after_in_child=_prepare.cache_clear)


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
    _prepare("pre_forward", n, D, dtype, device, gamma, batch_invariant, False)
    if backward:
        _prepare("pre_backward", n, D, dtype, device, gamma, batch_invariant, fp32_dx)


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
    call = _call_of("pre_forward", x.shape, x.dtype, x.device, gamma is not None, batch_invariant, False)
    if out is None:
        out = (call.empty("h_in"), call.empty("h_post"), call.empty("h_res"))
        if save:
            out += (call.empty("saved"),)
    elif len(out) != 3 + save:
        raise _library.argument_error(f"pre_forward: out has {len(out)} tensors, allowed: {3 + save}")
    inv_rms, h_mix, h_pre = call.saved_addresses(out[3]) if save else (0, 0, 0)
    copies: list[Tensor] = []
    workspace = call.workspace()
    call.launch(
        call.stream(),
        x=call.input("x", x, copies),
        phi=call.input("phi", phi, copies),
        alpha=call.input("alpha", alpha, copies),
        bias=call.input("bias", bias, copies),
        gamma=0 if gamma is None else call.input("gamma", gamma, copies),
        T=call.T,
        norm_eps=norm_eps,
        hc_eps=hc_eps,
        post_mult=post_mult,
        h_in=call.output("h_in", out[0]),
        h_post=call.output("h_post", out[1]),
        h_res=call.output("h_res", out[2]),
        inv_rms=inv_rms,
        h_mix=h_mix,
        h_pre=h_pre,
        workspace=0 if workspace is None else workspace.data_ptr(),
        workspace_bytes=call.workspace_bytes,
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

    `saved` is what pre_forward saved, or (inv_rms, h_mix, h_pre). A dh_in, dh_post or dh_res that is None counts as
    zero. `out` names tensors to write into: {"dphi": phi.main_grad}. With `accumulate_parameters` all gradients of
    parameters are added to what is there, with `accumulate_dx` dx is. out["dx"] may be fp32 whatever x is: it is then
    stored unrounded. include/mhcjit/pre_backward.h has the formulas.

    Raises mhcjit.ArgumentError for a tensor of another shape, dtype or device, NOT_PREPARED during a capture.
    """
    out = {} if out is None else out
    fp32_dx = "dx" in out and out["dx"].dtype is torch.float32 and x.dtype is not torch.float32
    call = _call_of("pre_backward", x.shape, x.dtype, x.device, gamma is not None, batch_invariant, fp32_dx)
    accumulates = {"accumulate_dx": accumulate_dx, "accumulate_parameters": accumulate_parameters}
    outputs = {}
    for name in wanted:
        if name in out:
            outputs[name] = out[name]
        elif call.specs[name].dtype is not None:
            made = call.empty(name)
            outputs[name] = made.zero_() if accumulates[call.tensors[name].accumulate_flag or ""] else made
    inputs = {
        "x": x,
        "phi": phi,
        "alpha": alpha,
        "gamma": gamma,
        "h_post": h_post,
        "dh_in": dh_in,
        "dh_post": dh_post,
        "dh_res": dh_res,
    }
    addresses = {}
    if isinstance(saved, Tensor):
        addresses["inv_rms"], addresses["h_mix"], addresses["h_pre"] = call.saved_addresses(saved)
    else:
        inputs["inv_rms"], inputs["h_mix"], inputs["h_pre"] = saved
    copies: list[Tensor] = []
    for name, tensor in inputs.items():
        if tensor is not None:
            addresses[name] = call.input(name, tensor, copies)
    for name, tensor in outputs.items():
        addresses[name] = call.output(name, tensor)
    workspace = call.workspace()
    call.launch(
        call.stream(),
        T=call.T,
        hc_eps=hc_eps,
        post_mult=post_mult,
        workspace=0 if workspace is None else workspace.data_ptr(),
        workspace_bytes=call.workspace_bytes,
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
