"""What quick_test and benchmark share. They take their arguments, and --help, where there is no torch."""

from __future__ import annotations

import argparse
import sys
from typing import Optional


def parser_of(module: str, description: Optional[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m mhcjit.{module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", help="cpu or cuda; a GPU where there is one")
    parser.add_argument("--dtype", choices=["bf16", "fp16", "fp32"], default="bf16", help="of x")
    parser.add_argument("--gamma", action="store_true", help="with a scale inside the projection")
    return parser


def has_torch(module: str) -> bool:
    """Says what is missing where it is."""
    try:
        import torch  # noqa: F401
    except ImportError:
        print(f"{module} needs PyTorch: pip install torch", file=sys.stderr)
        return False
    return True
