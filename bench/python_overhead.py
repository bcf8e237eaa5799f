"""Host time of a call from Python, beside the launch alone: what the package adds.

    PYTHONPATH=python MHCJIT_LIBRARY=build/runtime/libmhcjit.so python bench/python_overhead.py [--device cpu]

"launch" is the C function called with a struct that is packed already, less what ctypes itself costs for a function
that does nothing. On a GPU calls are enqueued in batches that its queue holds, so that no call waits for it; on the CPU
there are no tokens, so that the call does nothing.

All calls are measured in every one of several passes, on one processor, which other processes and its clock disturb: a
time is the least of the passes' medians, and the spread how much longer the longest is.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import time
from typing import Any, Callable, Optional

import torch

import mhcjit.torch as mt
from mhcjit.torch import direct, measuring, ops, reference

BATCH = 200
BATCHES = 15
PASSES = 9

Call = Callable[[], object]


def median_us(call: Call, synchronize: Call) -> float:
    """The median time of a call, over batches."""
    samples = []
    for _ in range(BATCHES):
        synchronize()
        begin = time.perf_counter()
        for _ in range(BATCH):
            call()
        samples.append((time.perf_counter() - begin) / BATCH * 1e6)
    synchronize()
    return statistics.median(samples)


def measure(calls: dict[str, Call], synchronize: Call) -> dict[str, list[float]]:
    """The medians of all passes; the first pass, in which clocks rise, is not among them."""
    medians: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    for number in range(PASSES + 1):
        for name, call in calls.items():
            median = median_us(call, synchronize)
            if number:
                medians[name].append(median)
        gc.collect()
    gc.enable()
    return medians


def packed_launch(function: Call, op: str, x: torch.Tensor) -> Call:
    """The launch that `function` makes for x, with the struct that it packed."""
    call = direct._calls[op, x.shape, x.dtype, x.device, False, False, False]
    scope = call.run.__globals__["launch"].__globals__
    launch = scope["launch"]
    seen: list[Any] = []
    scope["launch"] = lambda *arguments: seen.append(arguments) or launch(*arguments)
    kept = function()
    scope["launch"] = launch
    return lambda kept=kept: launch(*seen[0])


def main(arguments: Optional[list[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device(measuring.default_device()))
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--t", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    measuring.add_results_options(parser)
    options = parser.parse_args(arguments)
    on_gpu = options.device.type == "cuda"
    T = options.t if on_gpu else 0
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    inputs = reference.random_inputs((T,), options.n, options.d, device=options.device)
    x, phi, alpha, bias, gamma = inputs.values()
    mt.prepare(options.n, options.d, device=options.device)
    out = mt.pre_forward(*inputs.values())
    *_, saved = mt.pre_forward(*inputs.values(), save=True)
    h_post = out[1]
    gradients = dict(zip(direct.GRADIENTS, mt.pre_backward(x, phi, alpha, gamma, saved, h_post, *out)))
    gradients.pop("dgamma")
    wanted = tuple(gradients)
    leaves = [None if tensor is None else tensor.clone().requires_grad_() for tensor in inputs.values()]

    def forward_out() -> object:
        return mt.pre_forward(x, phi, alpha, bias, gamma, out=out)

    def backward_out() -> object:
        return mt.pre_backward(x, phi, alpha, gamma, saved, h_post, *out, wanted=wanted, out=gradients)

    def operator() -> object:
        return ops.pre_inference(x, phi, alpha, bias, gamma, 1e-6, 1e-6, 2.0, False)

    nothing = ctypes.CDLL(None).getpid
    nothing.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    launches = {
        "pre_forward": packed_launch(forward_out, "pre_forward", x),
        "pre_backward": packed_launch(backward_out, "pre_backward", x),
    }
    calls: dict[str, dict[str, Call]] = {
        "pre_forward": {
            "direct, into given outputs": forward_out,
            "direct, new outputs": lambda: mt.pre_forward(x, phi, alpha, bias, gamma),
            "operator": operator,
            "pre": lambda: mt.pre(x, phi, alpha, bias, gamma),
            "pre, with autograd": lambda: mt.pre(*leaves),
        },
        "pre_backward": {"direct, into given outputs": backward_out},
    }
    medians = measure(
        {
            "ctypes": lambda: nothing(1, b"", 1),
            **{f"{op}: launch": launch for op, launch in launches.items()},
            **{f"{op}: {name}": call for op, each in calls.items() for name, call in each.items()},
        },
        torch.cuda.synchronize if on_gpu else lambda: None,
    )
    least = {name: min(values) for name, values in medians.items()}
    ctypes_us = least["ctypes"]
    rows = []
    for op, each in calls.items():
        launch_us = max(0.0, least[f"{op}: launch"] - ctypes_us)
        for name in ("launch", *each):
            of_call = f"{op}: {name}"
            us = launch_us if name == "launch" else least[of_call]
            spread_us = max(medians[of_call]) - least[of_call]
            rows.append({"op": op, "call": name, "us": us, "spread_us": spread_us, "over_launch_us": us - launch_us})
    facts = {"n": options.n, "D": options.d, "T": T, "ctypes_us": f"{ctypes_us:.3g}"}
    measuring.write_results(options, options.device, facts, rows)
    if options.json:
        print(json.dumps({**facts, "rows": rows}))
        return
    print(f"{measuring.place(options.device)}; {measuring.versions()}; {facts}")
    for row in rows:
        print(
            f"{row['op']:13} {row['call']:28} {row['us']:7.2f} us, spread {row['spread_us']:6.2f}"
            f"{row['over_launch_us']:+8.2f} over the launch"
        )


if __name__ == "__main__":
    main()
