"""Problems, and what is prepared of them: the argument struct of an operator, filled from the library's own table.

Nothing here knows an operator's tensors. Arrays of any kind are reduced to addresses by the modules above this one.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import struct
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

from mhcjit import _engine, _library

# In the order of mhcjit_op and mhcjit_dtype.
OPS = ("pre_forward", "pre_backward")
DTYPES = ("bf16", "fp16", "fp32")

# mhcjit_argument_kind: how the struct module spells each.
_FORMATS = ("P", "P", "N", "q", "i", "f")
_TENSOR, _ADDRESS, _SIZE, _INT64, _INT32, _FLOAT = range(6)

# mhcjit_role
INPUT, OPTIONAL_INPUT, OUTPUT, OPTIONAL_OUTPUT = range(4)

CPU = "cpu"
Device = Union[str, int]  # CPU, or the ordinal of a CUDA device whose context is current


class Problem(NamedTuple):
    """What is asked; the members are those of mhcjit_problem."""

    op: str
    n: int
    d: int
    dtype: str
    has_gamma: bool = False
    batch_invariant: bool = False
    fp32_dx: bool = False

    def to_struct(self) -> _library.ProblemStruct:
        return _library.ProblemStruct(
            op=OPS.index(self.op),
            n=_within(self.n, 31, "n"),
            d=_within(self.d, 63, "D"),
            dtype=DTYPES.index(self.dtype),
            has_gamma=self.has_gamma,
            batch_invariant=self.batch_invariant,
            fp32_dx=self.fp32_dx,
        )


class Tensor(NamedTuple):
    """One tensor of an operator, for a problem."""

    name: str
    exists: bool
    is_optional: bool
    is_output: bool
    is_per_token: bool
    row: tuple[int, ...]  # the shape, of one token if is_per_token
    dtype: str
    alignment: int
    accumulate_flag: Optional[str]

    def shape(self, leading: Sequence[int]) -> tuple[int, ...]:
        """The shape where x has these dimensions before n and D."""
        return (*leading, *self.row) if self.is_per_token else self.row

    def mismatch(self, op: str, leading: Sequence[int], shape: Any, dtype: str) -> _library.Error:
        """The error for an array that is not this tensor."""
        if not self.exists:
            return _library.argument_error(f"{op}: {self.name} is given, allowed: None, because there is no gamma")
        if dtype != self.dtype:
            return _library.argument_error(f"{op}: {self.name} is {dtype}, allowed: {self.dtype}")
        return _library.argument_error(
            f"{op}: {self.name} has the shape {list(shape)}, allowed: {list(self.shape(leading))}"
        )


# (status, launch, handle, arguments, stream), of which launch(handle, arguments, stream) is the call that failed.
OnFailure = Callable[[int, Callable[[int, bytes, Optional[int]], int], int, bytes, Optional[int]], None]


class Operator:
    """A prepared operator. Threads may share it.

    `call(stream, **arguments)` launches it: its parameters are the members of the operator's argument struct, addresses
    as integers, and what is not given is 0. It raises mhcjit.Error.
    """

    def __init__(self, problem: Problem, handle: int) -> None:
        self.problem = problem
        self.tensors = {tensor.name: tensor for tensor in _tensors(problem)}
        self.members = _struct_of(problem.op)[1]
        self._handle = handle
        self.call = self.make_call(_fail)

    def workspace_bytes(self, T: int) -> int:
        """Bytes of workspace that a call with T tokens needs."""
        value = ctypes.c_size_t()
        _library.check(_library.library().mhcjit_workspace_bytes(self._handle, T, ctypes.byref(value)))
        return value.value

    def make_call(self, on_failure: OnFailure) -> Callable[..., None]:
        """A function like `call` that hands a failing status to `on_failure`, with what the launch was called with.

        It is made from text, as a named tuple is, so that a launch costs one call of `pack` and no look-up by name. The
        struct is a new `bytes` each time: threads share nothing.
        """
        packed, names = _struct_of(self.problem.op)
        parameters = ", ".join(f"{name}=0" for name in names)
        text = (
            f"def call(stream, {parameters}):\n"
            f"    arguments = pack({packed.size}, {', '.join(names)})\n"
            f"    status = launch(handle, arguments, stream)\n"
            f"    if status:\n"
            f"        on_failure(status, launch, handle, arguments, stream)\n"
        )
        launch = getattr(_library.library(), "mhcjit_" + self.problem.op)
        scope: dict[str, Any] = {
            "launch": launch,
            "handle": self._handle,
            "pack": packed.pack,
            "on_failure": on_failure,
        }
        exec(text, scope)
        call: Callable[..., None] = scope["call"]
        return call


def _fail(status: int, *_: Any) -> None:
    raise _library.error_of(status)


_prepared: dict[tuple[Problem, Device], Operator] = {}
os.register_at_fork(after_in_child=_prepared.clear)


def prepare(problem: Problem, device: Device = CPU, stream: Optional[int] = None) -> Operator:
    """Makes a problem ready to launch: finds its kernels in the cache or compiles them, and loads them.

    For a CUDA device its context must be current. While `stream` is being captured, what is not ready raises an Error
    whose status is NOT_PREPARED, and the capture stays valid.
    """
    operator = _prepared.get((problem, device))
    if operator is None:
        handle = ctypes.c_void_p()
        asked = problem.to_struct()
        _library.check(
            _library.library().mhcjit_prepare(
                _engine.engine(), ctypes.byref(asked), int(device != CPU), stream, ctypes.byref(handle)
            )
        )
        operator = _prepared.setdefault((problem, device), Operator(problem, handle.value or 0))
    return operator


def tokens(leading: Sequence[int]) -> int:
    """T, where x has these dimensions before n and D."""
    return math.prod(leading)


class Compiled(NamedTuple):
    """What a compile found or made; the members are those of mhcjit_compile_result."""

    cache_hit: bool
    milliseconds: float
    cubin_bytes: int
    digest: str


def compile_for(problem: Problem, architecture: str) -> Compiled:
    """Compiles a problem for a named architecture ("sm_90a") into the cache. Needs no GPU."""
    result, asked = _library.CompileResult(), problem.to_struct()
    _library.check(
        _library.library().mhcjit_compile(
            _engine.engine(), ctypes.byref(asked), architecture.encode(), ctypes.byref(result)
        )
    )
    return Compiled(bool(result.cache_hit), result.milliseconds, result.cubin_bytes, result.digest.decode())


class _Argument(NamedTuple):
    name: str
    offset: int
    kind: int
    described: _library.ArgumentStruct


def _arguments(problem: Problem) -> tuple[list[_Argument], int]:
    """The argument struct of the problem's operator, member by member, and its size."""
    library, asked = _library.library(), problem.to_struct()
    count, struct_bytes = ctypes.c_size_t(), ctypes.c_size_t()
    _library.check(
        library.mhcjit_operator_arguments(ctypes.byref(asked), ctypes.byref(count), ctypes.byref(struct_bytes))
    )
    arguments = []
    for index in range(count.value):
        described = _library.ArgumentStruct()
        _library.check(library.mhcjit_operator_argument(ctypes.byref(asked), index, ctypes.byref(described)))
        arguments.append(_Argument(described.name.decode(), described.offset, described.kind, described))
    return arguments, struct_bytes.value


def _tensors(problem: Problem) -> list[Tensor]:
    sizes = {"n": problem.n, "D": problem.d, "M": problem.n * problem.n + 2 * problem.n}
    tensors = []
    for name, _, kind, described in _arguments(problem)[0]:
        if kind != _TENSOR:
            continue
        extents = described.shape.decode().split()
        row = tuple(sizes[extent] if extent in sizes else int(extent) for extent in extents if extent != "T")
        if extents == ["M", "n", "D"]:  # what projects n*D numbers: users have it as a matrix
            row = (row[0], math.prod(row[1:]))
        flag = described.accumulate_flag
        tensors.append(
            Tensor(
                name=name,
                exists=bool(described.exists),
                is_optional=described.role in (OPTIONAL_INPUT, OPTIONAL_OUTPUT) or not described.exists,
                is_output=described.role in (OUTPUT, OPTIONAL_OUTPUT),
                is_per_token="T" in extents,
                row=row,
                dtype=DTYPES[described.dtype],
                alignment=described.alignment,
                accumulate_flag=None if flag is None else flag.decode(),
            )
        )
    return tensors


@functools.cache
def _struct_of(op: str) -> tuple[struct.Struct, tuple[str, ...]]:
    """How the argument struct is packed, and the names of its members after struct_size.

    All problems of an operator have the same.
    """
    arguments, struct_bytes = _arguments(Problem(op, 1, 1, "fp32"))
    layout = "@"
    for argument in arguments:
        layout += _FORMATS[argument.kind]
        end = argument.offset + struct.calcsize(_FORMATS[argument.kind])
        if struct.calcsize(layout) != end:
            raise AssertionError(f"{op}: {argument.name} ends at {struct.calcsize(layout)}, the library says {end}")
    layout += "0P"
    if struct.calcsize(layout) != struct_bytes:
        raise AssertionError(f"{op}: {struct.calcsize(layout)} bytes, the library says {struct_bytes}")
    names = tuple(argument.name for argument in arguments[1:])
    return struct.Struct(layout), names


def _within(value: int, bits: int, name: str) -> int:
    """ctypes would cut off what does not fit, and the library could not tell."""
    if not -(1 << bits) <= value < 1 << bits:
        raise _library.argument_error(f"{name} is {value}, which has more than {bits} bits")
    return value
