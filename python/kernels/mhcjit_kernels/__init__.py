"""Kernels that were compiled ahead: a cache folder, which the library of mhcjit finds beside its own package."""
