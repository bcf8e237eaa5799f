"""Host time of a call from Python, beside the launch alone: what the package adds.

    PYTHONPATH=python MHCJIT_LIBRARY=build/runtime/libmhcjit.so python bench/python_overhead.py [--device cpu]

"launch" is the C function called with a struct that is packed already, less what ctypes itself costs for a function
that does nothing. On a GPU calls are enqueued in batches that its queue holds, so that no call waits for it; on the CPU
there are no tokens, so that the call does nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from typing import Callable

import torch

import mhcjit.torch as mt
from mhcjit.torch import direct, reference

BATCH = 200
BATCHES = 50


def microseconds(call: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """The time of a call in the quickest of many batches, which other processes of the machine disturb the least."""
    samples = []
    for _ in range(BATCHES):
        synchronize()
        begin = time.perf_counter()
        for _ in range(BATCH):
            call()
        samples.append((time.perf_counter() - begin) / BATCH * 1e6)
    synchronize()
    return min(samples)


def packed_launch(function: Callable[[], object], op: str) -> Callable[[], object]:
    """The launch that `function` makes, with the struct that it packed."""
    call = next(call for call in direct._calls.values() if call.problem.op == op)
    scope = call.run.__globals__["launch"].__globals__
    launch = scope["launch"]
    seen = []
    scope["launch"] = lambda *arguments: seen.append(arguments) or launch(*arguments)
    kept = function()
    scope["launch"] = launch
    return lambda kept=kept: launch(*seen[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--t", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    on_gpu = options.device != "cpu"
    synchronize = torch.cuda.synchronize if on_gpu else (lambda: None)
    T = options.t if on_gpu else 0

    inputs = reference.random_inputs((T,), options.n, options.d, device=options.device)
    arguments = (*inputs.values(), 1e-6, 1e-6, 2.0)
    operator = torch.ops.mhcjit.pre_inference.default
    mt.prepare(options.n, options.d, device=options.device)
    out = mt.pre_forward(**inputs)
    *_, saved = mt.pre_forward(**inputs, save=True)
    x, phi, alpha, _, gamma = inputs.values()
    gradients = dict(zip(direct.GRADIENTS, mt.pre_backward(x, phi, alpha, gamma, saved, out[1], *out)))
    gradients.pop("dgamma")
    leaves = {name: None if tensor is None else tensor.clone().requires_grad_() for name, tensor in inputs.items()}

    def forward_out() -> object:
        return mt.pre_forward(**inputs, out=out)

    def backward_out() -> object:
        return mt.pre_backward(x, phi, alpha, gamma, saved, out[1], *out, wanted=tuple(gradients), out=gradients)

    nothing = ctypes.CDLL(None).getpid
    nothing.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    ctypes_us = microseconds(lambda: nothing(1, b"", 1), lambda: None)
    rows = {}
    for name, direct_call, calls in (
        (
            "pre_forward",
            forward_out,
            {
                "direct, new outputs": lambda: mt.pre_forward(**inputs),
                "operator": lambda: operator(*arguments, False),
                "pre": lambda: mt.pre(**inputs),
                "pre, with autograd": lambda: mt.pre(**leaves),
            },
        ),
        ("pre_backward", backward_out, {}),
    ):
        launch = packed_launch(direct_call, name)
        launch_us = max(0.0, microseconds(launch, synchronize) - ctypes_us)
        rows[name] = {"launch": launch_us, "direct, into given outputs": microseconds(direct_call, synchronize)}
        for row, call in calls.items():
            rows[name][row] = microseconds(call, synchronize)
        if name == "pre_forward":
            with torch.inference_mode():
                rows[name]["operator, inference mode"] = microseconds(calls["operator"], synchronize)

    if options.json:
        print(json.dumps({"device": options.device, "t": T, "microseconds": rows}))
        return
    place = torch.cuda.get_device_name() if on_gpu else "CPU"
    print(f"{place}, torch {torch.__version__}, n {options.n}, D {options.d}, T {T}; ctypes itself {ctypes_us:.2f} us")
    for name, row in rows.items():
        for what, value in row.items():
            print(f"{name:13} {what:28} {value:7.2f} us  {value - row['launch']:+7.2f} over the launch")


if __name__ == "__main__":
    main()
