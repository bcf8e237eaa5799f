"""mhcjit: the mHC "pre" operator (arXiv 2512.24880, equations 14-18), specialised and compiled at run time.

    mhcjit.torch    operators of PyTorch: autograd, torch.compile, CUDA graphs
    mhcjit.numpy    NumPy arrays, on the CPU
    mhcjit.dlpack   any other arrays that have __dlpack__, on the CPU or a GPU
    mhcjit.compat   the names of other implementations

Importing this package loads neither PyTorch nor the library and touches no GPU: each part is loaded when it is used.
Every failure is a `mhcjit.Error`, or a subclass, that carries the library's status and text.
"""

from __future__ import annotations

# As typing has it, which takes longer to import than all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mhcjit._engine import configure, counters
    from mhcjit._library import ArgumentError, Error, Status

    __version__: str

_MODULE_OF = {
    "ArgumentError": "mhcjit._library",
    "Error": "mhcjit._library",
    "Status": "mhcjit._library",
    "configure": "mhcjit._engine",
    "counters": "mhcjit._engine",
}
_SUBMODULES = ("compat", "dlpack", "numpy", "torch")

__all__ = ["ArgumentError", "Error", "Status", "__version__", "configure", "counters"]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _SUBMODULES:
        return importlib.import_module("mhcjit." + name)
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name == "__version__":  # that of the library it carries
        return importlib.import_module("mhcjit._library").library().mhcjit_version().decode()
    raise AttributeError(f"module 'mhcjit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
