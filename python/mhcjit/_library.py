"""The C library, loaded through ctypes: its functions, its structs and its failures.

The structs are those of include/mhcjit/engine.h and arguments.h, whose comments say what each member means. The
argument structs of the operators are not here: the library describes them itself (see _operator.py).
"""

from __future__ import annotations

import ctypes
import enum
import functools
from ctypes import POINTER, c_char, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any, Optional

from mhcjit._files import find

LogCallback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)


class SizedStruct(ctypes.Structure):
    """A struct that begins with struct_size; every other member begins as zero."""

    def __init__(self, **members: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **members)


class EngineOptions(SizedStruct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("cache_dir", c_char_p),
        ("nvrtc_path", c_char_p),
        ("driver_path", c_char_p),
        ("template_dir", c_char_p),
        ("log", LogCallback),
        ("log_user", c_void_p),
        ("log_level", c_int),
        ("cpu_threads", c_int32),
        ("read_only_cache_dirs", c_char_p),
        ("no_compile", c_int32),
        ("record_path", c_char_p),
        ("plan", c_char_p),
        ("remote_url", c_char_p),
        ("remote_read_only", c_int32),
        ("hmac_key_file", c_char_p),
    ]


class ProblemStruct(SizedStruct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("op", c_int),
        ("n", c_int32),
        ("d", c_int64),
        ("dtype", c_int),
        ("has_gamma", c_int32),
        ("batch_invariant", c_int32),
        ("fp32_dx", c_int32),
    ]


class ArgumentStruct(SizedStruct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("offset", c_size_t),
        ("kind", c_int),
        ("exists", c_int32),
        ("shape", c_char_p),
        ("role", c_int),
        ("dtype", c_int),
        ("alignment", c_size_t),
        ("accumulate_flag", c_char_p),
    ]


class CompileResult(SizedStruct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("cache_hit", c_int32),
        ("milliseconds", c_double),
        ("cubin_bytes", c_size_t),
        ("digest", c_char * 65),
    ]


class Counters(SizedStruct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("memory_hits", c_uint64),
        ("disk_hits", c_uint64),
        ("misses", c_uint64),
        ("corrupt_entries", c_uint64),
        ("publish_failures", c_uint64),
        ("compile_ms", c_double),
        ("load_us", c_double),
        ("read_only_hits", c_uint64),
        ("promotions", c_uint64),
        ("lock_timeouts", c_uint64),
        ("remote_hits", c_uint64),
        ("remote_failures", c_uint64),
        ("remote_uploads", c_uint64),
        ("fallbacks", c_uint64),
    ]


_SIGNATURES = {
    "mhcjit_version": (c_char_p, []),
    "mhcjit_status_name": (c_char_p, [c_int]),
    "mhcjit_last_error": (c_char_p, []),
    "mhcjit_engine_create": (c_int, [POINTER(EngineOptions), POINTER(c_void_p)]),
    "mhcjit_engine_counters": (c_int, [c_void_p, POINTER(Counters)]),
    "mhcjit_operator_arguments": (c_int, [POINTER(ProblemStruct), POINTER(c_size_t), POINTER(c_size_t)]),
    "mhcjit_operator_argument": (c_int, [POINTER(ProblemStruct), c_size_t, POINTER(ArgumentStruct)]),
    "mhcjit_prepare": (c_int, [c_void_p, POINTER(ProblemStruct), c_int, c_void_p, POINTER(c_void_p)]),
    "mhcjit_compile": (c_int, [c_void_p, POINTER(ProblemStruct), c_char_p, POINTER(CompileResult)]),
    "mhcjit_workspace_bytes": (c_int, [c_void_p, c_int64, POINTER(c_size_t)]),
    "mhcjit_pre_forward": (c_int, [c_void_p, c_char_p, c_void_p]),
    "mhcjit_pre_backward": (c_int, [c_void_p, c_char_p, c_void_p]),
    "mhcjit_device_count": (c_int, [POINTER(c_int32)]),
    "mhcjit_device_open": (c_int, [c_int32]),
    "mhcjit_memory_allocate": (c_int, [c_size_t, POINTER(c_void_p)]),
    "mhcjit_memory_free": (c_int, [c_void_p]),
}


@functools.cache
def library() -> ctypes.CDLL:
    """The library, from $MHCJIT_LIBRARY or the package's own folder; loaded once. Calls release the GIL."""
    loaded = ctypes.CDLL(find("libmhcjit.so", "MHCJIT_LIBRARY"))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class Status(enum.IntEnum):
    """mhcjit_status, less its prefix; include/mhcjit/status.h says what each means and what to do."""

    SUCCESS = 0
    INVALID_ARGUMENT = 1
    NULL_POINTER = 2
    MISALIGNED_POINTER = 3
    WORKSPACE_TOO_SMALL = 4
    WRONG_DEVICE = 5
    NO_DEVICE = 6
    NO_NVRTC = 7
    COMPILATION_FAILED = 8
    NOT_PREPARED = 9
    LOAD_FAILED = 10
    LAUNCH_FAILED = 11
    OUT_OF_MEMORY = 12
    IO = 13
    BAD_FILE = 14
    FORKED = 15
    NOT_IN_CACHE = 16
    INTERNAL = 99

    @classmethod
    def _missing_(cls, value: object) -> Status:
        """A status that only a newer library has."""
        return cls.INTERNAL


class Error(RuntimeError):
    """A call that failed. It has launched nothing and written nothing (include/mhcjit/status.h has the exceptions).

    `status` is a `mhcjit.Status`, whose names are those of include/mhcjit/status.h, and `str()` of the error says what
    failed, with which inputs, what is allowed and what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = Status(status)

    def __str__(self) -> str:
        return str(self.args[1])


class ArgumentError(Error, ValueError):
    """An argument that is not allowed: its value, shape, dtype, device, alignment or layout."""


class OutOfMemoryError(Error, MemoryError):
    """Memory of the host or of the device ran out."""


def error_of(status: int, text: Optional[str] = None) -> Error:
    """The exception for a status; without a text, that of this thread's most recent failing call."""
    if text is None:
        text = library().mhcjit_last_error().decode(errors="replace")
    if status == Status.OUT_OF_MEMORY:
        return OutOfMemoryError(status, text)
    is_argument = Status.INVALID_ARGUMENT <= status <= Status.WRONG_DEVICE
    return (ArgumentError if is_argument else Error)(status, text)


def check(status: int) -> None:
    """Raises what `error_of` says unless `status` is success."""
    if status:
        raise error_of(status)


def argument_error(text: str) -> Error:
    return error_of(Status.INVALID_ARGUMENT, text)
