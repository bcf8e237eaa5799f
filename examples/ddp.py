"""Trains the GPT of train_text.py on several GPUs, one process each: DDP or FSDP2 over NCCL, or over gloo on the CPU.

    torchrun --standalone --nproc-per-node 2 examples/ddp.py --text kjv.txt

Each rank has batches of its own. Rank 0 fills the cache of kernels before the others look there, so that each kernel
is compiled once. The script fails when the gradients of two ranks differ in a bit, when another rank has had to
compile, or when the loss curves of mhcjit and plain PyTorch leave the band of train_text.py.

Exit code: 0 all of this holds, 1 it does not, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import gpt
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from train_text import BAND, DTYPES, differences_of, parse, parser_of

import mhcjit
from mhcjit.torch import measuring, warmup


def equal_on_all_ranks(tensors: list[torch.Tensor]) -> bool:
    """Bit for bit: the smallest and the largest of every word, read as an integer, are the same."""
    least = torch.cat([tensor.flatten() for tensor in tensors]).view(torch.int32)
    most = least.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return torch.equal(least, most)


def shard(model: gpt.GPT, dtype: torch.dtype) -> gpt.GPT:
    """FSDP2 that gathers in `dtype`, but what mhcjit reads in fp32; x goes to it as it is."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    exact = MixedPrecisionPolicy(torch.float32, torch.float32, cast_forward_inputs=False)
    lower = MixedPrecisionPolicy(dtype, torch.float32)
    for block in model.blocks:
        fully_shard(block.pre, mp_policy=exact)
        fully_shard(block, mp_policy=lower)
    fully_shard(model, mp_policy=lower)
    return model


def load_behind_rank_0(model: nn.Module, dtype: torch.dtype, device: torch.device) -> int:
    """Compiles on rank 0, then loads on the others from the cache; returns how many kernels those have compiled."""
    if dist.get_rank() == 0:
        warmup(model, dtype=dtype, progress=False)
    dist.barrier()
    before = mhcjit.counters()["misses"]
    if dist.get_rank() != 0:
        warmup(model, dtype=dtype, progress=False)
    compiled = torch.tensor(mhcjit.counters()["misses"] - before, device=device)
    dist.all_reduce(compiled)
    return int(compiled)


def train(options: argparse.Namespace, device: torch.device) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What rank 0 prints, and the mean losses of every step; every rank has the same."""
    ranks, dtype = dist.get_world_size(), DTYPES[options.dtype]
    config = gpt.SIZES[options.size]
    text = gpt.Text(options.text, config, device, options.seed * ranks + dist.get_rank())

    def wrap(model: gpt.GPT) -> nn.Module:
        if options.fsdp:
            return shard(model, dtype)
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None)

    trainings = [
        gpt.Training(implementation, config, device, dtype, options.seed, wrap)
        for implementation in gpt.IMPLEMENTATIONS
    ]
    compiled = load_behind_rank_0(trainings[0].model, dtype, device)

    equal = []
    for step in range(options.steps):
        batch = text.batch(step)
        for training in trainings:

            def compare(training: gpt.Training = training) -> None:
                equal.append(equal_on_all_ranks(training.gradients))

            # What takes time is left out of most of the steps that are timed. Of shards each rank has its own.
            is_compared = not options.fsdp and (step % 10 == 0 or step < training.WARMUP_STEPS)
            training.step(batch, compare if is_compared else lambda: None)

    losses = torch.tensor([training.losses for training in trainings], dtype=torch.float64, device=device)
    least, most = losses.clone(), losses.clone()
    dist.all_reduce(losses)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    losses /= ranks
    differences, band = differences_of(losses.tolist(), options.dtype), BAND[options.dtype]
    agree = all(difference <= band for difference in differences)  # NaN is within no band
    own_batches = ranks == 1 or bool((least < most).all())
    steps = [
        {"step": step, **dict(zip(gpt.IMPLEMENTATIONS, of_step))} for step, of_step in enumerate(losses.T.tolist(), 1)
    ]
    result = {
        "ranks": ranks,
        "gradients compared": len(equal),
        "gradients are equal": all(equal),
        "ranks have their own batches": own_batches,
        "compiled behind rank 0": compiled,
        "curves differ by": max(differences),
        "band": band,
        "losses": losses[:, [0, -1]].tolist(),
        "tokens per second": {one.implementation: ranks * one.tokens_per_second for one in trainings},
        "passed": all(equal) and own_batches and compiled == 0 and agree,
    }
    return result, steps


def main() -> int:
    parser = parser_of(__doc__, steps=100)
    parser.add_argument("--fsdp", action="store_true", help="FSDP2 in the place of DDP: needs torch 2.6")
    options = parse(parser)
    if "RANK" not in os.environ:
        parser.error("start it with torchrun --standalone --nproc-per-node 2 examples/ddp.py --text FILE")
    gpt.make_reproducible()
    device = options.device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    result, steps = train(options, device)
    if dist.get_rank() == 0:
        measuring.write_results(options, device, {"way": "FSDP2" if options.fsdp else "DDP", **result}, steps)
    if dist.get_rank() == 0 and options.json:
        print(json.dumps(result))
    elif dist.get_rank() == 0:
        for name, value in result.items():
            print(f"{name:30} {value}")
    status = int(not result["passed"])
    if device.type == "cpu":
        # Gloo's threads need the interpreter to let go of the last tensors: its end can hang or abort beside them.
        dist.barrier()
        sys.stdout.flush()
        os._exit(status)
    dist.destroy_process_group()
    return status


if __name__ == "__main__":
    sys.exit(main())
