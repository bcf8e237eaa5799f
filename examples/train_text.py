"""Trains a small GPT with mHC residual streams on English text, with mhcjit and with plain PyTorch side by side.

    python examples/train_text.py --text kjv.txt

Both models begin with the same bits and see the same batches, so that their loss curves agree but for roundings. The
script fails when they leave a band: BAND, for each dtype that streams have. Ctrl-C writes a checkpoint after the
current step; --resume goes on from it, with the bits of a training that was never interrupted.

Exit code: 0 the curves agree, 1 they do not, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

import gpt
import torch

from mhcjit.torch import measuring

# The largest difference of the two losses, in means of so many steps. In bf16 a rounding is 2^16 times that of fp32, of
# which a step in which the loss jumps makes far more than others.
BAND = {"fp32": 1e-4, "bf16": 0.02}
STEPS_OF_MEAN = {"fp32": 1, "bf16": 20}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
INTERRUPTED = 130


def parser_of(description: Optional[str], steps: int) -> argparse.ArgumentParser:
    """What every training takes."""
    parser = argparse.ArgumentParser(
        description=description, epilog=gpt.GET_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="what to learn; see below")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--size", choices=gpt.SIZES, default="large" if on_gpu else "tiny")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda" if on_gpu else "cpu"))
    parser.add_argument("--dtype", choices=DTYPES, help="of the streams; default: bf16 on a GPU, fp32 on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    measuring.add_results_options(parser)
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Optional[list[str]] = None) -> argparse.Namespace:
    options = parser.parse_args(arguments)
    if not options.text.is_file():
        parser.error(f"--text: there is no file {options.text}.\n{gpt.GET_TEXT}")
    if options.dtype is None:
        options.dtype = "fp32" if options.device.type == "cpu" else "bf16"
    return options


class Interruption:
    """Ctrl-C and SIGTERM within are remembered, so that a step is never cut in two; the second one ends at once."""

    def __enter__(self) -> Interruption:
        self.came = False
        self._before = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _remember(self, number: int, frame: Any) -> None:
        self.came = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What a training that goes on must have in common with the one that wrote the checkpoint."""
    return {
        "config": dataclasses.asdict(gpt.SIZES[options.size]),
        "dtype": options.dtype,
        "seed": options.seed,
        "text_bytes": options.text.stat().st_size,
    }


def save(trainings: list[gpt.Training], options: argparse.Namespace) -> None:
    if options.checkpoint is None:
        return
    state = {"settings": settings(options), **{training.implementation: training.state() for training in trainings}}
    partial = options.checkpoint.with_name(options.checkpoint.name + ".partial")
    torch.save(state, partial)
    os.replace(partial, options.checkpoint)


def load(trainings: list[gpt.Training], options: argparse.Namespace) -> None:
    if not options.resume or not options.checkpoint.exists():
        return
    state = torch.load(options.checkpoint, map_location=options.device, weights_only=True)
    if state["settings"] != settings(options):
        sys.exit(f"{options.checkpoint} is of another training: {state['settings']}, not {settings(options)}")
    for training in trainings:
        training.load(state[training.implementation])


def progress(steps: range) -> Iterable[int]:
    if not sys.stderr.isatty():
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    return tqdm(steps, initial=steps.start, total=steps.stop, unit="step")


def train(options: argparse.Namespace) -> list[gpt.Training]:
    """Both models, step by step in turn: what else the machine does is the same for both."""
    gpt.make_reproducible()
    config = gpt.SIZES[options.size]
    text = gpt.Text(options.text, config, options.device, options.seed)
    trainings = [
        gpt.Training(implementation, config, options.device, DTYPES[options.dtype], options.seed)
        for implementation in gpt.IMPLEMENTATIONS
    ]
    load(trainings, options)
    with Interruption() as interruption:
        steps = progress(range(len(trainings[0].losses), options.steps))
        for step in steps:
            batch = text.batch(step)
            for training in trainings:
                training.step(batch)
            if hasattr(steps, "set_postfix_str"):
                steps.set_postfix_str(", ".join(f"{one.implementation} {one.losses[-1]:.3f}" for one in trainings))
            if interruption.came:
                break
            if (step + 1) % options.every == 0:
                save(trainings, options)
    save(trainings, options)
    return trainings


def differences_of(losses: Sequence[Sequence[float]], dtype: str) -> list[float]:
    """The differences of two curves' means, one behind each step from the first that has enough before it."""
    apart = [one - other for one, other in zip(*losses)]
    count = min(STEPS_OF_MEAN[dtype], len(apart))
    return [abs(sum(apart[end - count : end])) / count for end in range(count, len(apart) + 1)]


def draw(trainings: list[gpt.Training], differences: list[float], options: argparse.Namespace) -> None:
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(2, sharex=True, height_ratios=(3, 1), layout="constrained")
    for training, style in zip(trainings, ("-", "--")):
        label = f"{training.implementation}, {training.tokens_per_second:,.0f} tokens/s"
        upper.plot(training.losses, style, label=label)
    upper.set(ylabel="loss, nats a byte", title=f"{options.size} GPT with mHC streams, {options.dtype}")
    upper.legend()
    steps = range(options.steps - len(differences), options.steps)
    lower.semilogy(steps, [max(difference, 1e-8) for difference in differences], color="tab:gray", label="difference")
    lower.axhline(BAND[options.dtype], color="tab:red", linestyle=":", label="band")
    lower.set(xlabel="step")
    lower.legend()
    figure.savefig(options.plot, dpi=120)


def main(arguments: Optional[list[str]] = None) -> int:
    parser = parser_of(__doc__, steps=300)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="written at the end, at Ctrl-C and --every")
    parser.add_argument("--every", type=int, default=100, metavar="STEPS", help="between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if it is there")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="where to draw both curves; needs matplotlib")
    options = parse(parser, arguments)
    if options.resume and options.checkpoint is None:
        parser.error("--resume: which --checkpoint?")
    trainings = train(options)
    ours, plain = trainings
    if len(ours.losses) < options.steps:
        where = f"{options.checkpoint}; --resume goes on" if options.checkpoint else "no --checkpoint: all is lost"
        print(f"interrupted after step {len(ours.losses)}: {where}", file=sys.stderr)
        return INTERRUPTED

    band = BAND[options.dtype]
    differences = differences_of((ours.losses, plain.losses), options.dtype)
    # NaN is within no band.
    agree = all(difference <= band for difference in differences)
    worst = max(differences)
    if options.plot:
        draw(trainings, differences, options)
    facts = {
        **settings(options),
        **{f"tokens_per_second, {one.implementation}": f"{one.tokens_per_second:.0f}" for one in trainings},
        "band": band,
        "worst": f"{worst:.3g}",
        "agree": agree,
    }
    losses = [
        {"step": step, "mhcjit": one, "torch": other}
        for step, (one, other) in enumerate(zip(ours.losses, plain.losses), 1)
    ]
    measuring.write_results(options, options.device, facts, losses)
    if options.json:
        of_each = {
            one.implementation: {
                "losses": one.losses,
                "tokens_per_second": one.tokens_per_second,
                "digest": one.digest(),
            }
            for one in trainings
        }
        print(json.dumps({**settings(options), **of_each, "band": band, "worst": worst, "agree": agree}))
        return int(not agree)

    place = torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else "CPU"
    count = sum(parameter.numel() for parameter in ours.model.parameters()) / 1e6
    print(f"{place}, torch {torch.__version__}; {count:.1f} million parameters, {options.dtype}, {ours.model.config}")
    for one in trainings:
        print(
            f"{one.implementation:8} loss {one.losses[0]:.4f} -> {one.losses[-1]:.4f}, "
            f"{one.tokens_per_second:,.0f} tokens/s"
        )
    print(
        f"{'PASS' if agree else 'FAIL'}: the curves differ by at most {worst:.2g}, allowed {band}, in means of "
        f"{STEPS_OF_MEAN[options.dtype]} steps; {ours.tokens_per_second / plain.tokens_per_second:.2f} times the "
        "tokens a second"
    )
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())
