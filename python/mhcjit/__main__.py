"""Runs the command-line tool: `python -m mhcjit doctor`, or `mhcjit doctor`."""

from __future__ import annotations

import os
import sys

from mhcjit._files import find


def main() -> None:
    """Replaces this process with the tool, which gets the arguments of this one."""
    tool = find("mhcjit", "MHCJIT_TOOL")
    os.execv(tool, [tool, *sys.argv[1:]])


if __name__ == "__main__":
    main()
