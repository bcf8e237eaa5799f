"""Times and memory of calls, what they are made of, and the files that they are written to."""

from __future__ import annotations

import argparse
import csv
import ctypes
import datetime
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

import torch
from torch import Tensor

import mhcjit
from mhcjit.torch import reference

PARAMETERS = ("x", "phi", "alpha", "bias", "gamma")
# As much as the L2 cache of any device, several times.
_FLUSH_BYTES = 512 << 20

Forward = Callable[..., tuple[Tensor, ...]]


class Shape(NamedTuple):
    """T tokens of n streams of D."""

    T: int
    n: int
    D: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """From "T,n,D"."""
        return cls(*map(int, text.split(",")))


class Times(NamedTuple):
    """Milliseconds of a call, and bytes that it has in use at most beside what was there before."""

    forward_ms: float
    backward_ms: float
    forward_bytes: Optional[int]
    backward_bytes: Optional[int]


def plain(
    x: Tensor, phi: Tensor, alpha: Tensor, bias: Tensor, gamma: Optional[Tensor] = None, **scalars: float
) -> tuple[Tensor, ...]:
    """The formulas in PyTorch, computed in fp32: (h_in, h_post, h_res)."""
    made = reference.pre(x, phi, alpha, bias, gamma, **scalars, dtype=torch.float32)
    return made.h_in.to(x.dtype), made.h_post, made.h_res


def leaves_of(inputs: Mapping[str, Optional[Tensor]]) -> dict[str, Any]:
    """Inputs that want a gradient."""
    return {
        name: None if tensor is None else tensor.detach().clone().requires_grad_() for name, tensor in inputs.items()
    }


def present(inputs: Mapping[str, Optional[Tensor]]) -> list[Tensor]:
    return [tensor for tensor in inputs.values() if tensor is not None]


def upstream_of(outputs: Sequence[Tensor], seed: int = 1) -> list[Tensor]:
    """Random gradients of outputs."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(out.shape, generator=generator).to(out.dtype).to(out.device) for out in outputs]


def times(
    forward: Forward, inputs: Mapping[str, Optional[Tensor]], *, seconds: float = 0.2, upstream: Sequence[Tensor]
) -> Times:
    """Forward without gradients, as inference has it, and backward through autograd, dx and all parameters'."""
    device = present(inputs)[0].device
    leaves = leaves_of(inputs)
    wanted = present(leaves)

    def infer(_: None) -> object:
        with torch.no_grad():
            return forward(**inputs)

    def run() -> tuple[Tensor, ...]:
        return forward(**leaves)

    def backward(outputs: tuple[Tensor, ...]) -> object:
        return torch.autograd.grad(outputs, wanted, upstream)

    return Times(
        milliseconds(infer, device, seconds),
        milliseconds(backward, device, seconds, run),
        peak_bytes(infer, device),
        peak_bytes(backward, device, run),
    )


def milliseconds(
    call: Callable[[Any], object], device: torch.device, seconds: float = 0.2, before: Callable[[], Any] = lambda: None
) -> float:
    """Time of call(before()), without that of `before`, after two that are not counted.

    On a GPU the median, between events, with a cold L2 cache. On a CPU the least, since other work disturbs it.
    """
    for _ in range(2):
        call(before())
    samples: list[float] = []
    end = time.perf_counter() + seconds
    if device.type != "cuda":
        while len(samples) < 3 or (time.perf_counter() < end and len(samples) < 1000):
            given = before()
            begin = time.perf_counter()
            call(given)
            samples.append(1e3 * (time.perf_counter() - begin))
        return min(samples)
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device=device)
    while len(samples) < 5 or (time.perf_counter() < end and len(samples) < 1000):
        given = before()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(3):  # takes longer than the host needs to enqueue most calls
            flush.zero_()
        start.record()
        call(given)
        stop.record()
        stop.synchronize()
        samples.append(start.elapsed_time(stop))
    return statistics.median(samples)


def peak_bytes(
    call: Callable[[Any], object], device: torch.device, before: Callable[[], Any] = lambda: None
) -> Optional[int]:
    """What call(before()) has in use at most beside what was there before it, its results too; None on the CPU."""
    if device.type != "cuda":
        return None
    given = before()
    torch.cuda.synchronize(device)
    present_bytes = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call(given)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - present_bytes


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def place(device: Union[torch.device, str]) -> str:
    """What runs: the GPU's name, or the processor's."""
    if torch.device(device).type == "cuda":
        return f"GPU, {torch.cuda.get_device_name(device)}"
    return f"CPU, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of PyTorch"


def versions() -> str:
    return f"mhcjit {mhcjit.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}"


def add_results_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", metavar="FILE", help="where to write all as TSV; docs/results/README.md says how")
    parser.add_argument("--commit", default="unknown", help="that this was built from, for the results")


def write_results(
    options: argparse.Namespace, device: torch.device, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """To the file of the options, if there is one: comment lines of the run and then of its facts, a line a row."""
    if options.results is None:
        return
    on_gpu = device.type == "cuda"
    driver = ctypes.c_int()
    if on_gpu:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(driver))
    head = {
        "device": torch.cuda.get_device_name(device) if on_gpu else place("cpu"),
        "driver": f"{driver.value // 1000}.{driver.value % 1000 // 10}" if on_gpu else "-",
        "mhcjit": mhcjit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": options.commit,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    comments = "".join(f"# {name}: {value}\n" for name, value in {**head, **facts}.items())
    write_table(options.results, rows, "\t", comments)


def write_table(path: str, rows: Sequence[Mapping[str, Any]], delimiter: str, comments: str = "") -> None:
    """Rows may have different columns: "-" stands where one has none, or None."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        file.write(comments)
        writer = csv.DictWriter(file, columns, restval="-", delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            rounded = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
            writer.writerow({name: "-" if value is None else value for name, value in rounded.items()})
