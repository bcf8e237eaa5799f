"""Every block of Python in the documents runs as it stands, in an interpreter of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks() -> list:
    found = []
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", document.read_text(), re.M | re.S), 1):
            found.append(pytest.param(block, id=f"{document.relative_to(ROOT)} {number}"))
    return found


def test_readme_begins_with_pytorch() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.M)
    assert headings[0] == "PyTorch"


@pytest.mark.parametrize("block", blocks())
def test_block_runs(block: str, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
