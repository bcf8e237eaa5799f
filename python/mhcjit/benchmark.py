"""Times of forward and backward beside plain PyTorch, over shapes.

    python -m mhcjit.benchmark [--device cpu] [--dtype bf16] [--gamma] [--json] [--csv FILE] [T,n,D ...]

On a GPU times are medians with a cold L2 cache; on the CPU they are the least.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any, Optional

from mhcjit._first_look import has_torch, parser_of

GPU_SHAPES = ("64,4,4096", "4096,4,1280", "4096,4,2560", "8192,4,4096", "8192,4,7168", "8192,8,2048")
CPU_SHAPES = ("128,4,128", "512,4,256", "2048,4,512")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = parser_of("benchmark", __doc__)
    parser.add_argument("shapes", nargs="*", metavar="T,n,D", help="those of public models if none is given")
    parser.add_argument("--seconds", type=float, default=0.2, help="to measure each time for")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--csv", metavar="FILE", help="a line for each shape as well")
    options = parser.parse_args(arguments)
    if not has_torch("benchmark"):
        return 1

    import torch

    import mhcjit.torch as mt
    from mhcjit.torch import direct, measuring, reference

    device = options.device or measuring.default_device()
    on_gpu = torch.device(device).type == "cuda"
    dtype = direct.DTYPE_OF[options.dtype]
    if not options.json:
        print(f"{measuring.versions()}\n{measuring.place(device)}; x in {options.dtype}; times in ms\n")
        print(f"{'T':>6}{'n':>4}{'D':>6} |{'forward: plain':>15}{'mhcjit':>9}{'x':>7} |", end="")
        print(f"{'backward: plain':>16}{'mhcjit':>9}{'x':>7}")
    rows = []
    for shape in map(measuring.Shape.parse, options.shapes or (GPU_SHAPES if on_gpu else CPU_SHAPES)):
        inputs: dict[str, Any] = reference.random_inputs(
            (shape.T,), shape.n, shape.D, dtype=dtype, gamma=options.gamma, device=device
        )
        mt.prepare(shape.n, shape.D, dtype, gamma=options.gamma, device=device)
        upstream = measuring.upstream_of(mt.pre(**inputs))
        plain = measuring.times(measuring.plain, inputs, seconds=options.seconds, upstream=upstream)
        ours = measuring.times(mt.pre, inputs, seconds=options.seconds, upstream=upstream)
        rows.append(
            {
                **shape._asdict(),
                "plain_forward_ms": plain.forward_ms,
                "mhcjit_forward_ms": ours.forward_ms,
                "plain_backward_ms": plain.backward_ms,
                "mhcjit_backward_ms": ours.backward_ms,
            }
        )
        if not options.json:
            print(
                f"{shape.T:6}{shape.n:4}{shape.D:6} |"
                f"{plain.forward_ms:15.3f}{ours.forward_ms:9.3f}{plain.forward_ms / ours.forward_ms:6.1f}x |"
                f"{plain.backward_ms:16.3f}{ours.backward_ms:9.3f}{plain.backward_ms / ours.backward_ms:6.1f}x",
                flush=True,
            )
    if options.json:
        place = {"versions": measuring.versions(), "device": measuring.place(device)}
        print(json.dumps({**place, "dtype": options.dtype, "gamma": options.gamma, "rows": rows}))
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
