"""The engine of this process: compiler, caches and prepared operators."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from typing import Any, Optional, Union

from mhcjit import _library

_Path = Union[str, "os.PathLike[str]"]

_LOGGER = logging.getLogger("mhcjit")
_LEVELS = {1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}

# What configure() was given, and the engine made of it, which no thread destroys: others may be using its operators.
_options: dict[str, Any] = {}
_engine: Optional[ctypes.c_void_p] = None
_lock = threading.Lock()


@_library.LogCallback
def _log(level: int, line: bytes, _user: Any) -> None:
    _LOGGER.log(_LEVELS.get(level, logging.DEBUG), "%s", line.decode(errors="replace"))


def configure(
    *,
    cache_dir: Optional[_Path] = None,
    read_only_cache_dirs: Optional[list[_Path]] = None,
    nvrtc_path: Optional[_Path] = None,
    driver_path: Optional[_Path] = None,
    no_compile: bool = False,
    record_path: Optional[_Path] = None,
    cpu_threads: int = 0,
    log_level: int = logging.WARNING,
    remote_url: Optional[str] = None,
    remote_read_only: bool = False,
    hmac_key_file: Optional[_Path] = None,
    plan: Optional[str] = None,
) -> None:
    """Sets the options of this process's engine, before anything is prepared.

    What is not given comes from the environment: MHCJIT_CACHE_DIR, MHCJIT_CACHE_RO, MHCJIT_NVRTC, MHCJIT_NO_COMPILE,
    MHCJIT_RECORD and the others that include/mhcjit/engine.h explains, option by option. Lines of the library's log go
    to the logger "mhcjit" of `logging`; `log_level` is the most detailed that the library makes.

    Raises RuntimeError when the engine exists already, ArgumentError when an option is not allowed.
    """

    def text(value: Any) -> Optional[bytes]:
        return None if value is None else os.fsencode(value)

    folders = None if read_only_cache_dirs is None else ":".join(os.fspath(folder) for folder in read_only_cache_dirs)
    options = {
        "cache_dir": text(cache_dir),
        "nvrtc_path": text(nvrtc_path),
        "driver_path": text(driver_path),
        "log_level": next((level for level, known in _LEVELS.items() if known <= log_level), 3),
        "cpu_threads": cpu_threads,
        "read_only_cache_dirs": text(folders),
        "no_compile": int(no_compile),
        "record_path": text(record_path),
        "plan": text(plan),
        "remote_url": text(remote_url),
        "remote_read_only": int(remote_read_only),
        "hmac_key_file": text(hmac_key_file),
    }
    global _engine
    with _lock:
        if _engine is not None:
            raise RuntimeError("mhcjit.configure: the engine exists already; call it before anything is prepared")
        _engine = _create(options)
        _options.update(options)


def counters() -> dict[str, Any]:
    """What this process has found, compiled and loaded so far; the names are those of mhcjit_counters."""
    values = _library.Counters()
    _library.check(_library.library().mhcjit_engine_counters(engine(), ctypes.byref(values)))
    return {name: getattr(values, name) for name, *_ in values._fields_ if name != "struct_size"}


def engine() -> ctypes.c_void_p:
    """The handle of the process's engine, which is created by the first call."""
    global _engine
    if _engine is None:
        with _lock:
            if _engine is None:
                _engine = _create(_options)
    return _engine


def _create(options: dict[str, Any]) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    filled = _library.EngineOptions(log=_log, **options)
    _library.check(_library.library().mhcjit_engine_create(ctypes.byref(filled), ctypes.byref(handle)))
    return handle


def _begin_anew_after_fork() -> None:
    """A child has none of the threads of its parent's engine."""
    global _engine, _lock
    _engine, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_begin_anew_after_fork)
