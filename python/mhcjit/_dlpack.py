"""DLPack (https://dmlc.github.io/dlpack) in both directions: arrays of others as addresses, our memory as arrays."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
from collections.abc import Iterator
from ctypes import POINTER, c_int, c_int32, c_int64, c_uint, c_uint8, c_uint16, c_uint64, c_void_p
from typing import Any, Optional, Union

from mhcjit import _library

CPU, CUDA = 1, 2  # DLDeviceType
LEGACY_DEFAULT_STREAM = 1  # how DLPack and the driver call the stream that is not named
_NO_SYNCHRONISATION = -1

_DTYPES = {(2, 16): "fp16", (2, 32): "fp32", (4, 16): "bf16"}  # (DLDataTypeCode, bits)
_ELEMENT_BYTES = {"fp16": 2, "fp32": 4, "bf16": 2}


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


class _DLManagedTensor(ctypes.Structure):
    _fields_ = [("dl_tensor", _DLTensor), ("manager_ctx", c_void_p), ("deleter", c_void_p)]


_CAPSULE_NAME = b"dltensor"
_get_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, ctypes.c_char_p, c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
# For a capsule that is being destroyed, which must not become a Python object again.
_is_unused = ctypes.PYFUNCTYPE(c_int, c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer_of_dying = ctypes.PYFUNCTYPE(c_void_p, c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


class View:
    """An array of somebody else, readable on a stream while this lives; its capsule gives it back."""

    def __init__(self, name: str, array: Any, stream: Optional[int]) -> None:
        if not hasattr(array, "__dlpack__"):
            raise _library.argument_error(f"{name} is a {type(array).__name__}, allowed: an array that has __dlpack__")
        device_type, device_id = array.__dlpack_device__()
        if device_type not in (CPU, CUDA):
            raise _library.argument_error(
                f"{name} is on DLPack's device type {device_type}, allowed: CPU (1), CUDA (2)"
            )
        # The producer makes the stream wait for what it has enqueued on its own.
        self._capsule = array.__dlpack__(stream=stream) if device_type == CUDA else array.__dlpack__()
        tensor = ctypes.cast(_get_pointer(self._capsule, _CAPSULE_NAME), POINTER(_DLManagedTensor)).contents.dl_tensor
        self.device = (int(device_type), int(device_id))
        self.shape = tuple(tensor.shape[: tensor.ndim])
        self.dtype = _DTYPES.get((tensor.code, tensor.bits), f"type {tensor.code} of {tensor.bits} bits")
        if tensor.strides and not _is_contiguous(self.shape, tensor.strides[: tensor.ndim]):
            raise _library.argument_error(f"{name} is not contiguous, allowed: row-major; pass a copy")
        self.address = (tensor.data or 0) + tensor.byte_offset


def _is_contiguous(shape: tuple[int, ...], strides: list[int]) -> bool:
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent > 1 and stride != expected:
            return False
        expected *= extent
    return True


class Array:
    """An output: memory that others take over by `from_dlpack`, freed when nobody has it any more."""

    def __init__(self, shape: tuple[int, ...], dtype: str, device: tuple[int, int], stream: Optional[int]) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self._stream = stream
        count = math.prod(shape) * _ELEMENT_BYTES[dtype]
        self._memory: Union[_HostMemory, _DeviceMemory] = (
            _HostMemory(count) if device[0] == CPU else _DeviceMemory(count)
        )
        self.address = self._memory.address

    def keep(self, other: Array) -> None:
        """Frees another array's memory only with that of this one."""
        self._memory.kept.append(other)

    def __repr__(self) -> str:
        place = "cpu" if self.device[0] == CPU else f"cuda:{self.device[1]}"
        return f"mhcjit.Array(shape={self.shape}, dtype={self.dtype}, device={place})"

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(
        self,
        *,
        stream: Optional[int] = None,
        max_version: Optional[tuple[int, int]] = None,
        dl_device: Optional[tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        """A capsule for a consumer that reads on `stream`, which waits for the launch that writes this array."""
        if copy or dl_device not in (None, self.device):
            raise BufferError("mhcjit arrays are shared as they are: neither copied nor moved to another device")
        if self.device[0] == CUDA and stream != _NO_SYNCHRONISATION:
            with current(self.device):
                _wait(self._stream, LEGACY_DEFAULT_STREAM if stream is None else stream)
        code, bits = next(key for key, dtype in _DTYPES.items() if dtype == self.dtype)
        managed = _DLManagedTensor(deleter=ctypes.cast(_release, c_void_p))
        managed.dl_tensor = _DLTensor(
            data=self.address,
            device_type=self.device[0],
            device_id=self.device[1],
            ndim=len(self.shape),
            code=code,
            bits=bits,
            lanes=1,
            shape=(c_int64 * len(self.shape))(*self.shape),
        )
        address = ctypes.addressof(managed)
        _exported[address] = (managed, self._memory)
        return _new_capsule(address, _CAPSULE_NAME, ctypes.cast(_release_unused, c_void_p))


# What consumers hold, by the address that they were given.
_exported: dict[int, tuple[_DLManagedTensor, Any]] = {}


@ctypes.CFUNCTYPE(None, c_void_p)
def _release(address: int) -> None:
    _exported.pop(address, None)


@ctypes.PYFUNCTYPE(None, c_void_p)
def _release_unused(capsule: int) -> None:
    if _is_unused(capsule, _CAPSULE_NAME):
        _exported.pop(_pointer_of_dying(capsule, _CAPSULE_NAME), None)


_HOST_ALIGNMENT = 64


class _HostMemory:
    def __init__(self, count: int) -> None:
        self.kept: list[Array] = []
        self._buffer = ctypes.create_string_buffer(count + _HOST_ALIGNMENT)
        self.address = -(-ctypes.addressof(self._buffer) // _HOST_ALIGNMENT) * _HOST_ALIGNMENT


class _DeviceMemory:
    """Memory of the device whose context is current. Freeing it waits for what the device is doing."""

    def __init__(self, count: int) -> None:
        self.kept: list[Array] = []
        memory = c_void_p()
        _library.check(_library.library().mhcjit_memory_allocate(count, ctypes.byref(memory)))
        self.address = memory.value or 0

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            _library.library().mhcjit_memory_free(self.address)


@functools.cache
def _driver() -> ctypes.CDLL:
    driver = ctypes.CDLL("libcuda.so.1")
    for name, arguments in {
        "cuCtxGetCurrent": [POINTER(c_void_p)],
        "cuCtxSetCurrent": [c_void_p],
        "cuEventCreate": [POINTER(c_void_p), c_uint],
        "cuEventRecord": [c_void_p, c_void_p],
        "cuStreamWaitEvent": [c_void_p, c_void_p, c_uint],
        "cuEventDestroy_v2": [c_void_p],
    }.items():
        getattr(driver, name).restype, getattr(driver, name).argtypes = c_int, arguments
    return driver


def _check(result: int, what: str) -> None:
    if result != 0:
        raise _library.error_of(_library.Status.LAUNCH_FAILED, f"{what} failed: the driver says CUresult {result}")


@contextlib.contextmanager
def current(device: tuple[int, int]) -> Iterator[None]:
    """The primary context of a CUDA device is the calling thread's within; nothing for the CPU."""
    if device[0] == CPU:
        yield
        return
    before = c_void_p()
    _check(_driver().cuCtxGetCurrent(ctypes.byref(before)), "cuCtxGetCurrent")
    _library.check(_library.library().mhcjit_device_open(device[1]))
    try:
        yield
    finally:
        if before:
            _check(_driver().cuCtxSetCurrent(before), "cuCtxSetCurrent")


_DISABLE_TIMING = 2


def _wait(producer: Optional[int], consumer: int) -> None:
    """Lets a stream wait for what stands in another."""
    if producer == consumer:
        return
    event = c_void_p()
    _check(_driver().cuEventCreate(ctypes.byref(event), _DISABLE_TIMING), "cuEventCreate")
    try:
        _check(_driver().cuEventRecord(event, producer), "cuEventRecord")
        _check(_driver().cuStreamWaitEvent(consumer, event, 0), "cuStreamWaitEvent")
    finally:
        _driver().cuEventDestroy_v2(event)
