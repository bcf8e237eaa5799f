"""A first look: is it right here, and how fast is it beside plain PyTorch?

    python -m mhcjit.quick_test [--device cpu] [--t 4096] [--n 4] [--d 1280] [--dtype bf16] [--gamma]

Prints the configuration, the times of a plain PyTorch statement of the formulas and of mhcjit, and every output's error
against the formulas in float64. Exit code: 0 where all are within their bounds, else 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Optional

from mhcjit._first_look import has_torch, parser_of


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = parser_of("quick_test", __doc__)
    parser.add_argument("--t", type=int, help="tokens; 4096 on a GPU, 512 on the CPU")
    parser.add_argument("--n", type=int, default=4, help="residual streams")
    parser.add_argument("--d", type=int, help="hidden size; 4096 on a GPU, 256 on the CPU")
    options = parser.parse_args(arguments)
    if not has_torch("quick_test"):
        return 1

    import torch

    import mhcjit.torch as mt
    from mhcjit.torch import accuracy, direct, measuring, reference

    device = options.device or measuring.default_device()
    on_gpu = torch.device(device).type == "cuda"
    T = (4096 if on_gpu else 512) if options.t is None else options.t
    D = (4096 if on_gpu else 256) if options.d is None else options.d
    dtype = direct.DTYPE_OF[options.dtype]
    print(f"{measuring.versions()}\n{measuring.place(device)}")
    print(f"T {T}, n {options.n}, D {D}, x in {options.dtype}, {'with' if options.gamma else 'without'} gamma\n")

    inputs: dict[str, Any] = reference.random_inputs(
        (T,), options.n, D, dtype=dtype, gamma=options.gamma, device=device
    )
    mt.prepare(options.n, D, dtype, gamma=options.gamma, device=device)
    leaves = measuring.leaves_of(inputs)
    outputs = mt.pre(**leaves)
    upstream = measuring.upstream_of(outputs)
    made = iter(torch.autograd.grad(outputs, measuring.present(leaves), upstream))
    gradients = [None if tensor is None else next(made) for tensor in leaves.values()]
    checks = [
        *accuracy.forward(outputs, reference.pre(**inputs)),
        *accuracy.gradients(gradients, reference.gradients(*inputs.values(), *upstream)),
    ]

    plain = measuring.times(measuring.plain, inputs, upstream=upstream)
    ours = measuring.times(mt.pre, inputs, upstream=upstream)
    print(f"{'':10}{'plain PyTorch':>16}{'mhcjit':>14}{'speed-up':>11}")
    for name, before, after in (
        ("forward", plain.forward_ms, ours.forward_ms),
        ("backward", plain.backward_ms, ours.backward_ms),
    ):
        print(f"{name:10}{before:13.3f} ms{after:11.3f} ms{before / after:10.1f}x")

    print(f"\n{'':20}{'error':>10}{'allowed':>11}")
    for check in checks:
        print(f"{check.name:20}{check.error:10.1e}{check.bound:11.1e}{'' if check.passed else '  FAIL'}")
    passed = all(check.passed for check in checks)
    print(f"\n{'PASS' if passed else 'FAIL'}, on the {'GPU' if on_gpu else 'CPU'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
