"""The files beside the Python sources: the library and the tool."""

from __future__ import annotations

import os
from pathlib import Path


def find(name: str, variable: str) -> str:
    """The path of a file that the package carries, or the one that an environment variable names in its place."""
    path = Path(os.environ.get(variable) or Path(__file__).with_name("_native") / name)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: install the mhcjit wheel, or set {variable} to a built {name}")
    return str(path)
