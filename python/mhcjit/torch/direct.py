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
from typing import Any, Callable, Optional, Union

import torch
from torch import Tensor

from mhcjit import _library, _operator

DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
DTYPE_OF = {name: dtype for dtype, name in DTYPES.items()}
GRADIENTS = ("dx", "dphi", "dalpha", "dbias", "dgamma")

# The address of the current stream of a device; the public torch.cuda.current_stream makes two objects for it.
_current_stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 0)

# How code that torch.compile has generated allocates: on the current CUDA device, in half of torch.empty's time.
_empty_strided_cuda: Callable[..., Tensor] = getattr(
    torch._C._dynamo.guards,
    "_empty_strided_cuda",
    lambda shape, stride, dtype: torch.empty_strided(shape, stride, dtype=dtype, device="cuda"),
)
_current_device: Callable[[], int] = getattr(torch._C, "_cuda_getDevice", lambda: -1)

_SAVED = ("inv_rms", "h_mix", "h_pre")


class _Prepared:
    """A prepared operator on one device.

    `bind(call)` returns `run(**tensors and scalars)` of a call, which checks every tensor that is given and launches:
    its parameters are the members of the argument struct but T and the workspace, and `saved` in the place of the three
    that it holds. With `trusts_outputs` outputs are new, made by `call.makers`.
    """

    def __init__(self, operator: _operator.Operator, device: torch.device) -> None:
        self.operator = operator
        self.device = device
        self.index = device.index if device.type == "cuda" else -1  # as Tensor.get_device has it
        x_dtype = DTYPE_OF[operator.problem.dtype]
        self.dtypes = {
            name: torch.float32 if tensor.dtype == "fp32" else x_dtype for name, tensor in operator.tensors.items()
        }
        self.dtypes["saved"] = torch.float32
        self.bind = self._make_bind()

    def _make_bind(self) -> Callable[[_Call], Callable[..., None]]:
        """From text: one flat function takes a third of the time that a loop over the tensors does."""
        tensors = self.operator.tensors
        given = [name for name in self.operator.members if name not in ("T", "workspace", "workspace_bytes")]
        defaults = [f"{name}={None if name in tensors else 0}" for name in given]
        # What a call has in common with the next one is in variables of the function around it, which are read fastest.
        lines = [
            "def bind(call):",
            f"    {', '.join('shape_' + name for name in tensors)}, shape_saved = call.shapes",
            "    T, workspace_bytes = call.T, call.workspace_bytes",
            "    second_saved_at, third_saved_at = call.second_saved_at, call.third_saved_at",
            f"    def run(saved=None, trusts_outputs=False, {', '.join(defaults)}):",
            f"        {' = '.join('at_' + name for name in tensors)} = at_workspace = 0",
        ]
        for name in ("saved", *tensors):
            tensor = tensors[_SAVED[0] if name == "saved" else name]
            wrong = [
                f"{name}.dtype is not dtype_{name}",
                f"{name}.shape != shape_{name}",
                f"{name}.get_device() != index",
                f"at_{name} & {tensor.alignment - 1}",
                f"not {name}.is_contiguous()",
            ]
            if name == "x":
                wrong = wrong[3:]  # the rest is what `call` was found by
            condition = " or ".join(wrong)
            if tensor.is_output:
                condition = f"not trusts_outputs and ({condition})"
            lines += [
                f"        if {name} is not None:",
                f"            at_{name} = {name}.data_ptr()",
                f"            if {condition}:",
                f"                {name} = call.repaired({name!r}, {name}, {tensor.is_output})",
                f"                at_{name} = {name}.data_ptr()",
            ]
            if name == "saved":
                lines += [
                    f"            at_{_SAVED[0]} = at_saved",
                    f"            at_{_SAVED[1]} = at_saved + second_saved_at",
                    f"            at_{_SAVED[2]} = at_saved + third_saved_at",
                ]
        passed = {name: f"at_{name}" if name in tensors else name for name in given}
        passed.update(T="T", workspace="at_workspace", workspace_bytes="workspace_bytes")
        lines += [
            "        if workspace_bytes:",
            "            workspace = call.makers()['workspace']()",
            "            at_workspace = workspace.data_ptr()",
            f"        launch(stream(index), {', '.join(passed[name] for name in self.operator.members)})",
            "    return run",
        ]
        on_gpu = self.index >= 0
        scope: dict[str, Any] = {
            "launch": self.operator.make_call(self._launch_in_context) if on_gpu else self.operator.call,
            "stream": _current_stream if on_gpu else lambda index: None,
            "index": self.index,
        }
        scope.update(("dtype_" + name, dtype) for name, dtype in self.dtypes.items())
        exec("\n".join(lines), scope)
        bind: Callable[[_Call], Callable[..., None]] = scope["bind"]
        return bind

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
        self.problem = prepared.operator.problem
        self.tensors = prepared.operator.tensors
        self.device = prepared.device
        self.leading = tuple(leading)
        self.T = _operator.tokens(leading)
        self.workspace_bytes = prepared.operator.workspace_bytes(self.T)
        # `saved` is inv_rms, h_mix and h_pre of all tokens, one after the other: where they begin, in bytes.
        counts = [self.T * math.prod(self.tensors[name].row) for name in _SAVED]
        self.second_saved_at = 4 * counts[0]
        self.third_saved_at = 4 * (counts[0] + counts[1])
        shapes = {name: torch.Size(tensor.shape(leading)) for name, tensor in self.tensors.items()}
        shapes["saved"] = torch.Size([sum(counts)])
        self.shapes = tuple(shapes.values())
        # The caching allocator gives a workspace to no other stream's work before the launch is done.
        self._shape_of = {**shapes, "workspace": torch.Size([self.workspace_bytes])}
        self._dtypes = {**prepared.dtypes, "workspace": torch.uint8}
        self._index = prepared.index
        self._makers = _Makers(self._maker)
        self._makers_on_current_device = _Makers(self._maker_on_current_device)
        self.run = prepared.bind(self)

    def makers(self) -> _Makers:
        if self._index >= 0 and self._index == _current_device():
            return self._makers_on_current_device
        return self._makers

    def _maker(self, name: str) -> Callable[[], Tensor]:
        """torch.empty_like reads no shape and dtype and takes two thirds of torch.empty's time."""
        like = torch.empty(self._shape_of[name], dtype=self._dtypes[name], device=self.device)
        like.untyped_storage().resize_(0)
        return functools.partial(torch.empty_like, like)

    def _maker_on_current_device(self, name: str) -> Callable[[], Tensor]:
        shape, dtype = self._shape_of[name], self._dtypes[name]
        stride = torch.empty(shape, dtype=dtype, device="meta").stride()
        return functools.partial(_empty_strided_cuda, tuple(shape), stride, dtype)

    def repaired(self, name: str, tensor: Tensor, is_output: bool) -> Tensor:
        """A copy whose memory is as the library wants it; an error where a copy is not enough."""
        op, shape = self.problem.op, self._shape_of[name]
        dtype = DTYPES.get(tensor.dtype, str(tensor.dtype))
        if tensor.device != self.device:
            raise _library.argument_error(f"{op}: {name} is on {tensor.device}, but x is on {self.device}")
        if tensor.dtype is not self._dtypes[name] or tensor.shape != shape:
            if name == "saved":
                raise _library.argument_error(
                    f"{op}: saved is {dtype} of shape {list(tensor.shape)}, allowed: fp32 of shape {list(shape)}, "
                    "which pre_forward makes with save=True"
                )
            raise self.tensors[name].mismatch(op, self.leading, tensor.shape, dtype)
        if not is_output:
            return tensor.detach().clone(memory_format=torch.contiguous_format)
        if not tensor.is_contiguous():
            raise _library.argument_error(f"{op}: {name} is written into and must be contiguous")
        return tensor  # which the library refuses, since it is not aligned


class _Makers(dict[str, Callable[[], Tensor]]):
    """What makes new outputs and the workspace of a call, by name; `maker_of` is asked once for each."""

    def __init__(self, maker_of: Callable[[str], Callable[[], Tensor]]) -> None:
        super().__init__()
        self._maker_of = maker_of

    def __missing__(self, name: str) -> Callable[[], Tensor]:
        return self.setdefault(name, self._maker_of(name))


_NEEDS_CONTEXT = (_library.Status.WRONG_DEVICE, _library.Status.NO_DEVICE)


@contextlib.contextmanager
def _context(index: int) -> Iterator[None]:
    """Makes a CUDA device's context current, which torch.cuda.device leaves to the first call that needs it."""
    with torch.cuda.device(index):
        torch.cuda.mem_get_info(index)
        yield


# By what decides them. Numbers of tokens are many: when there are too many, all are forgotten.
_calls: dict[tuple[Any, ...], _Call] = {}
_KEPT_CALLS = 1024
os.register_at_fork(after_in_child=_calls.clear)


def _first_call_of(key: tuple[Any, ...]) -> _Call:
    op, shape, *options = key
    if len(shape) < 2:
        raise _library.argument_error(f"{op}: x has the shape {list(shape)}, allowed: [..., n, D]")
    *leading, n, d = shape
    call = _Call(_prepare(op, n, d, *options), leading)
    if len(_calls) >= _KEPT_CALLS:
        _calls.clear()
    _calls[key] = call
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
    key = ("pre_forward", x.shape, x.dtype, x.device, gamma is not None, batch_invariant, False)
    call = _calls.get(key) or _first_call_of(key)
    are_new = out is None
    if out is None:
        make = call.makers()
        out = (make["h_in"](), make["h_post"](), make["h_res"]())
        if save:
            out += (make["saved"](),)
    elif len(out) != 3 + save:
        raise _library.argument_error(f"pre_forward: out has {len(out)} tensors, allowed: {3 + save}")
    call.run(
        saved=out[3] if save else None,
        trusts_outputs=are_new,
        x=x,
        phi=phi,
        alpha=alpha,
        bias=bias,
        gamma=gamma,
        norm_eps=norm_eps,
        hc_eps=hc_eps,
        post_mult=post_mult,
        h_in=out[0],
        h_post=out[1],
        h_res=out[2],
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
    key = ("pre_backward", x.shape, x.dtype, x.device, gamma is not None, batch_invariant, fp32_dx)
    call = _calls.get(key) or _first_call_of(key)
    accumulates = {"accumulate_dx": accumulate_dx, "accumulate_parameters": accumulate_parameters}
    make, outputs = call.makers(), {}
    for name in wanted:
        if name in out:
            outputs[name] = out[name]
        elif call.tensors[name].exists:
            made = make[name]()
            outputs[name] = made.zero_() if accumulates[call.tensors[name].accumulate_flag or ""] else made
    apart = {} if isinstance(saved, Tensor) else dict(zip(_SAVED, saved))
    call.run(
        saved=None if apart else saved,
        trusts_outputs=not out,
        x=x,
        phi=phi,
        alpha=alpha,
        gamma=gamma,
        h_post=h_post,
        dh_in=dh_in,
        dh_post=dh_post,
        dh_res=dh_res,
        hc_eps=hc_eps,
        post_mult=post_mult,
        **accumulates,
        **outputs,
        **apart,
    )
    return tuple(outputs.get(name) for name in GRADIENTS)


def split_saved(saved: Tensor, leading: Sequence[int], n: int) -> tuple[Tensor, Tensor, Tensor]:
    """(inv_rms [...], h_mix [..., M], h_pre [..., n]) as views of `saved`, for x of shape [*leading, n, D]."""
    rows = n * n + 2 * n
    T = saved.numel() // (1 + rows + n)
    inv_rms, h_mix, h_pre = saved.split([T, T * rows, T * n])
    return inv_rms.view(*leading), h_mix.view(*leading, rows), h_pre.view(*leading, n)
