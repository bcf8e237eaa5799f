"""The wheel of kernels: scripts/build-wheel --kernels builds it, from a copy of this folder with them and VERSION."""

from pathlib import Path

from setuptools import setup

version = Path("VERSION").read_text().strip()
# Kernels of another version's sources would never be looked up.
setup(version=version, install_requires=[f"mhcjit=={version}"])
