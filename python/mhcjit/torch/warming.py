"""Compiling for every module of a model, before it is used."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional

import torch
from torch import nn

from mhcjit import _library, _operator
from mhcjit.torch.direct import DTYPES, prepare
from mhcjit.torch.modules import MHCPre


def warmup(
    model: nn.Module,
    archs: Optional[Sequence[str]] = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    backward: bool = True,
    fp32_dx: bool = False,
    progress: bool = True,
) -> int:
    """Compiles what every `MHCPre` of a model needs, blocks' among them, and returns how many tasks that were.

    Without `archs`, for the device that each module's parameters are on: no later call compiles, and a CUDA graph can
    be captured. With `archs` (["sm_90a", "sm_100a"]) into the cache alone, for named architectures; it needs no GPU.
    `dtype` is that of x; `fp32_dx` is for a dx buffer that is fp32. Where there is more than one task, tqdm shows a bar
    if it is installed and `progress` is true.

    Raises mhcjit.Error: no compiler is found, an architecture is not known, or a kernel may not be compiled.
    """
    if dtype not in DTYPES:
        raise _library.argument_error(f"warmup: dtype is {dtype}, allowed: bfloat16, float16, float32")
    tasks: dict[tuple[Any, ...], Callable[[], object]] = {}
    for module in model.modules():
        if not isinstance(module, MHCPre):
            continue
        key = (module.n, module.D, module.gamma is not None, module.batch_invariant, module.phi.device)
        if archs is None:
            tasks[key] = functools.partial(
                prepare,
                module.n,
                module.D,
                dtype,
                gamma=module.gamma is not None,
                backward=backward,
                batch_invariant=module.batch_invariant,
                fp32_dx=fp32_dx,
                device=module.phi.device,
            )
            continue
        n, d, has_gamma, batch_invariant, _ = key
        problems = [_operator.Problem("pre_forward", n, d, DTYPES[dtype], has_gamma, batch_invariant)]
        if backward:
            problems.append(_operator.Problem("pre_backward", n, d, DTYPES[dtype], has_gamma, batch_invariant, fp32_dx))
        for problem in problems:
            for arch in archs:
                tasks[problem, arch] = functools.partial(_operator.compile_for, problem, arch)
    for task in _with_bar(list(tasks.values()), progress):
        task()
    return len(tasks)


def _with_bar(tasks: list[Callable[[], object]], progress: bool) -> Iterable[Callable[[], object]]:
    if progress and len(tasks) > 1:
        try:
            bar = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            return tasks
        shown: Iterable[Callable[[], object]] = bar(tasks, desc="mhcjit warmup")
        return shown
    return tasks
