"""Tests of the Python package, run by ctest with MHCJIT_LIBRARY and MHCJIT_TOOL set, or by hand:

    PYTHONPATH=python MHCJIT_LIBRARY=build/runtime/libmhcjit.so MHCJIT_TOOL=build/tools/mhcjit pytest tests/python

Tests that use the fixture `device` run on the CPU ("host") and on a GPU ("gpu"); those marked gpu need one. `-m gpu`
and `-m "not gpu"` choose. Without a GPU, those that need one are skipped and say so.
"""

from __future__ import annotations

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device: this shows nothing of GPUs"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)], ids=["host", "gpu"])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> None:
    torch.manual_seed(0)
