"""mhcjit beside other implementations of the operator, in one run, on the same inputs.

    PYTHONPATH=python python bench/compare.py [--results FILE] [--csv FILE] [--png FILE] [T,n,D ...]

Each implementation that is installed is first compared with the formulas in float64, forward and backward; one that is
off by more than another precision explains is not timed. Times are medians of calls with a cold L2 cache, backward's
through autograd with all gradients. Bytes are what a call has in use at most beside what was there before. A time in
floors is a multiple of this run's plain copy of the x, h_in and gradients that must move. What an implementation keeps
in another layout or dtype is converted before it is timed. Liger's and TileKernels' h_res come out of one iteration of
Sinkhorn, which is timed with them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

import mhcjit
import mhcjit.torch as mt
from mhcjit.compat import transformer_engine
from mhcjit.torch import direct, measuring, reference
from mhcjit.torch.measuring import Shape

GPU_SHAPES = ("64,4,4096", "8192,4,1280", "8192,4,2560", "8192,4,4096", "8192,4,7168", "16384,4,4096", "8192,8,2048")
CPU_SHAPES = ("128,4,128", "512,4,256")
# TF32 and bf16 products of unit terms are off by about 1e-3.
ANOTHER_FUNCTION = 2e-2

Tensors = dict[str, Any]
COMPARED = ("h_in", "h_post", "h_res", "dx", "dphi")


class Implementation:
    """One that takes our tensors and returns (h_in, h_post, h_res); the others override what differs."""

    name = "mhcjit"
    package: Optional[str] = None
    iterations_of_sinkhorn = 0

    def version(self) -> str:
        return mhcjit.__version__ if self.package is None else importlib.metadata.version(self.package)

    def why_not(self, shape: Shape, device: str) -> Optional[str]:
        """Why it cannot run the shape."""
        return None

    def inputs(self, inputs: Tensors) -> Tensors:
        """As it wants them."""
        return inputs

    def forward(self, **inputs: Any) -> tuple[Tensor, ...]:
        return mt.pre(**inputs)

    def gradients(self, made: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """dx and dphi as ours, from gradients of `inputs`."""
        return made["x"], made["phi"]


class Eager(Implementation):
    name = "torch eager"
    package = "torch"

    def forward(self, **inputs: Any) -> tuple[Tensor, ...]:
        return measuring.plain(**inputs)


class Compiled(Implementation):
    name = "torch.compile"
    package = "torch"

    def __init__(self) -> None:
        self.compiled = torch.compile(measuring.plain)

    def inputs(self, inputs: Tensors) -> Tensors:
        torch._dynamo.reset()  # each shape compiled for itself, as few as they are
        return inputs

    def forward(self, **inputs: Any) -> tuple[Tensor, ...]:
        return self.compiled(**inputs)


class Liger(Implementation):
    name = "liger-kernel"
    package = "liger-kernel"
    iterations_of_sinkhorn = 1

    def why_not(self, shape: Shape, device: str) -> Optional[str]:
        return "needs a GPU" if device == "cpu" else None

    def inputs(self, inputs: Tensors) -> Tensors:
        x, phi, alpha, bias = inputs.values()
        alphas = dict(zip(("alpha_pre", "alpha_post", "alpha_res"), alpha.unbind()))
        return {"x": x, "phi": phi.T.contiguous().to(x.dtype), "b": bias, **alphas}

    def forward(self, **inputs: Any) -> tuple[Tensor, ...]:
        from liger_kernel.transformers.functional import liger_mhc_coeffs, liger_mhc_pre

        x = inputs["x"]
        h_pre, h_post, h_res = liger_mhc_coeffs(
            **inputs, allow_fp32=True, tmax=1, rms_eps=1e-6, pre_eps=1e-6, sinkhorn_eps=1e-6, post_mult=2.0
        )
        return liger_mhc_pre(x, h_pre), h_post, h_res

    def gradients(self, made: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return made["x"], made["phi"].T


class TileKernels(Implementation):
    name = "tile-kernels"
    package = "tile-kernels"
    iterations_of_sinkhorn = 1

    def why_not(self, shape: Shape, device: str) -> Optional[str]:
        return "needs a GPU" if device == "cpu" else "is for n = 4" if shape.n != 4 else None

    def inputs(self, inputs: Tensors) -> Tensors:
        x, phi, alpha, bias = inputs.values()
        return {"residual": x[None], "fn": phi, "scale": alpha, "base": bias}

    def forward(self, **inputs: Any) -> tuple[Tensor, ...]:
        from tile_kernels.modeling.mhc.functional import mhc_pre

        h_in, (h_post, h_res) = mhc_pre(**inputs, post_mult_value=2.0, pre_eps=1e-6, sinkhorn_repeat=1)
        return h_in[0], h_post[0, ..., 0], h_res[0]

    def gradients(self, made: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return made["residual"][0], made["fn"]


class TransformerEngine(Implementation):
    name = "transformer-engine"
    package = "transformer_engine"

    def why_not(self, shape: Shape, device: str) -> Optional[str]:
        return "needs a GPU" if device == "cpu" else "is for n = 4" if shape.n != 4 else None

    def inputs(self, inputs: Tensors) -> Tensors:
        x, phi, alpha, bias = inputs.values()
        columns = transformer_engine.streams(phi.unflatten(1, x.shape[-2:])).flatten(1)
        return {"x": transformer_engine.streams(x)[:, None], "phi": columns, "alpha": alpha, "beta": bias[None]}

    def forward(self, **inputs: Any) -> tuple[Tensor, ...]:
        from transformer_engine.pytorch.triton import mhc

        x, phi, alpha, beta = inputs.values()
        T, _, D, n = x.shape
        mixed, mean_square = mhc.mhc_fused_projection(x.view(T, -1), phi)
        h_pre, h_post, h_res = mhc.mhc_fused_scale(mixed, alpha, beta, mean_square, n)
        h_in = mhc.mhc_fused_aggregate(x, h_pre.view(T, 1, n), n)
        return h_in[:, 0], h_post, h_res.unflatten(-1, (n, n))

    def gradients(self, made: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        dx = transformer_engine.streams(made["x"][:, 0])
        return dx, transformer_engine.streams(made["phi"].unflatten(1, dx.shape[:0:-1])).flatten(1)


IMPLEMENTATIONS = (Implementation, Eager, Compiled, Liger, TileKernels, TransformerEngine)


def installed() -> list[Implementation]:
    found = []
    for kind in IMPLEMENTATIONS:
        try:
            implementation = kind()
            implementation.version()
            found.append(implementation)
        except importlib.metadata.PackageNotFoundError:
            print(f"{kind.name}: not installed", file=sys.stderr)
    return found


def expected(inputs: Tensors, upstream: Sequence[Tensor], iterations: int) -> dict[str, Tensor]:
    """What is compared, in float64, with Sinkhorn where the implementation has it."""
    leaves = measuring.leaves_of({name: tensor.double() for name, tensor in inputs.items()})
    h_in, h_post, h_res, *_ = reference.pre(**leaves)
    if iterations:
        h_res = mt.sinkhorn(h_res, iterations)
    dx, dphi = torch.autograd.grad(
        (h_in, h_post, h_res), [leaves["x"], leaves["phi"]], [gradient.double() for gradient in upstream]
    )
    return dict(zip(COMPARED, (h_in.detach(), h_post.detach(), h_res.detach(), dx, dphi)))


def errors(implementation: Implementation, inputs: Tensors, upstream: Sequence[Tensor]) -> dict[str, float]:
    leaves = measuring.leaves_of(implementation.inputs(inputs))
    outputs = implementation.forward(**leaves)
    dx, dphi = implementation.gradients(
        dict(zip(leaves, torch.autograd.grad(outputs, list(leaves.values()), upstream)))
    )
    want = expected(inputs, upstream, implementation.iterations_of_sinkhorn)
    return {name: reference.error(out, want[name]) for name, out in zip(COMPARED, (*outputs, dx, dphi))}


def copy_ms(elements: int, like: Tensor, seconds: float) -> float:
    """Of a plain copy that reads and writes so many elements together."""
    source = torch.empty(elements // 2, dtype=like.dtype, device=like.device)
    target = torch.empty_like(source)
    return measuring.milliseconds(lambda _: target.copy_(source), like.device, seconds)


def row_of(
    implementation: Implementation, shape: Shape, inputs: Tensors, options: argparse.Namespace
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "implementation": implementation.name,
        "version": implementation.version(),
        **shape._asdict(),
        "dtype": options.dtype,
    }
    upstream = measuring.upstream_of(mt.pre(**inputs))
    row.update(errors(implementation, inputs, upstream))
    wrong = [name for name in COMPARED if not row[name] <= ANOTHER_FUNCTION]
    if wrong:
        print(f"{implementation.name} at {tuple(shape)}: wrong, so not timed: {', '.join(wrong)}", file=sys.stderr)
        return row
    times = measuring.times(
        implementation.forward, implementation.inputs(inputs), seconds=options.seconds, upstream=upstream
    )
    x = inputs["x"]
    T, n, D = shape
    row.update(times._asdict())
    row["forward_floors"] = times.forward_ms / copy_ms(T * (n + 1) * D, x, options.seconds)
    row["backward_floors"] = times.backward_ms / copy_ms(T * (2 * n + 1) * D, x, options.seconds)
    return row


def print_row(row: Mapping[str, Any]) -> None:
    if "forward_ms" not in row:
        return

    def megabytes(name: str) -> str:
        return "-" if row[name] is None else f"{row[name] / 1e6:.1f}"

    print(
        f"{row['T']:>6}{row['n']:>3}{row['D']:>6} {row['implementation']:20}"
        f"{row['forward_ms']:10.3f}{row['forward_floors']:7.2f}{megabytes('forward_bytes'):>9}"
        f"{row['backward_ms']:11.3f}{row['backward_floors']:7.2f}{megabytes('backward_bytes'):>9}"
        f"{row['h_in']:10.0e}{row['h_post']:8.0e}{row['h_res']:8.0e}{row['dx']:8.0e}{row['dphi']:8.0e}",
        flush=True,
    )


def draw(rows: Sequence[Mapping[str, Any]], title: str, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed = [row for row in rows if "forward_ms" in row]
    shapes = list(dict.fromkeys((row["T"], row["n"], row["D"]) for row in timed))
    names = list(dict.fromkeys(row["implementation"] for row in timed))
    figure, panels = pyplot.subplots(2, 1, figsize=(1.5 + 1.4 * len(shapes), 7), sharex=True, constrained_layout=True)
    for panel, direction in zip(panels, ("forward", "backward")):
        for i, name in enumerate(names):
            mine = {
                (row["T"], row["n"], row["D"]): row[direction + "_floors"]
                for row in timed
                if row["implementation"] == name
            }
            at = [j + 0.8 * ((i + 0.5) / len(names) - 0.5) for j in range(len(shapes))]
            panel.bar(at, [mine.get(shape, 0) for shape in shapes], 0.8 / len(names), label=name)
        panel.set_yscale("log")
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_ylabel(f"{direction}, times a plain copy")
        panel.grid(axis="y", alpha=0.3)
    panels[1].set_xticks(range(len(shapes)), [f"T {T}\nn {n}\nD {D}" for T, n, D in shapes])
    panels[0].set_title(title, fontsize=9)
    panels[0].legend(fontsize=8, ncols=3)
    figure.savefig(path, dpi=120)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="T,n,D")
    parser.add_argument("--device", default=measuring.default_device())
    parser.add_argument("--dtype", choices=["bf16", "fp16", "fp32"], default="bf16", help="of x")
    parser.add_argument("--only", metavar="NAME,...", help="these implementations alone")
    parser.add_argument("--seconds", type=float, default=0.2, help="to measure each time for")
    for kind in ("csv", "png"):
        parser.add_argument(f"--{kind}", metavar="FILE")
    measuring.add_results_options(parser)
    options = parser.parse_args(arguments)
    dtype = direct.DTYPE_OF[options.dtype]
    shapes = [Shape.parse(text) for text in options.shapes or (CPU_SHAPES if options.device == "cpu" else GPU_SHAPES)]
    implementations = installed()
    if options.only:
        implementations = [each for each in implementations if each.name in options.only.split(",")]

    title = f"{measuring.place(options.device)}; {measuring.versions()}; x in {options.dtype}"
    print(title)
    print(
        f"{'T':>6}{'n':>3}{'D':>6} {'':20}{'fwd ms':>10}{'floors':>7}{'MB':>9}{'bwd ms':>11}{'floors':>7}{'MB':>9}"
        f"{'h_in':>10}{'h_post':>8}{'h_res':>8}{'dx':>8}{'dphi':>8}"
    )
    rows = []
    for shape in shapes:
        inputs: Tensors = reference.random_inputs((shape.T,), shape.n, shape.D, dtype=dtype, device=options.device)
        del inputs["gamma"]  # which the others do not have, or have elsewhere
        for implementation in implementations:
            reason = implementation.why_not(shape, options.device)
            if reason is None:
                try:
                    rows.append(row_of(implementation, shape, inputs, options))
                except Exception as error:
                    if type(implementation) is Implementation:
                        raise
                    reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            if reason is not None:
                print(f"{implementation.name} at {tuple(shape)}: {reason}", file=sys.stderr)
                continue
            # Now: somebody may interrupt while the next one is compiled.
            measuring.write_results(options, torch.device(options.device), {}, rows)
            print_row(rows[-1])
    if options.csv:
        measuring.write_table(options.csv, rows, ",")
    if options.png:
        draw(rows, title, options.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
