"""Decodes many sequences at a time, each number of them padded to a bucket and each bucket a CUDA graph.

    python examples/train_text.py --text kjv.txt --checkpoint gpt.pt
    python examples/serve.py --text kjv.txt --checkpoint gpt.pt

Sequences end one after the other, so that the number of rows falls. Rows are independent: padded ones are full of NaN,
and the script fails where that changes a bit of another row. It also fails where a second decoding with the same
padding has other bits, for then nothing is shown of padding. It prints what a decoding step takes, with mhcjit and with
plain PyTorch. On the CPU there are buckets but no graphs.

Exit code: 0 padding changes nothing, 1 it does or bits differ without it, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Optional

import gpt
import torch
from torch import Tensor, nn

from mhcjit.torch import measuring, warmup

PADDING = gpt.VOCABULARY  # the token of a row that nobody asked for


def parse(arguments: Optional[list[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=gpt.GET_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="where prompts are taken from")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="of train_text.py; default: random parameters")
    parser.add_argument("--size", choices=gpt.SIZES, default="large" if on_gpu else "tiny", help="without a checkpoint")
    parser.add_argument("--sequences", type=int, default=13, help="that are decoded at the same time, at first")
    parser.add_argument("--tokens", type=int, default=200, help="of the longest sequence, the prompt among them")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda" if on_gpu else "cpu"))
    parser.add_argument("--json", action="store_true")
    measuring.add_results_options(parser)
    options = parser.parse_args(arguments)
    if not options.text.is_file():
        parser.error(f"--text: there is no file {options.text}.\n{gpt.GET_TEXT}")
    return options


def load(implementation: str, options: argparse.Namespace) -> gpt.GPT:
    """In bf16, but for what mhcjit reads, which stays fp32; the embedding has a row more, for padding."""
    torch.manual_seed(0)
    config, parameters = gpt.SIZES[options.size], None
    if options.checkpoint is not None:
        state = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
        config, parameters = gpt.Config(**state["settings"]["config"]), state["mhcjit"]["model"]
    model = gpt.GPT(config, gpt.IMPLEMENTATIONS[implementation])
    if parameters is not None:
        model.load_state_dict(parameters)
    rows = torch.cat([model.embedding.weight.detach(), torch.zeros(1, config.D)])
    model.embedding = nn.Embedding.from_pretrained(rows)
    model = model.to(options.device, torch.bfloat16).eval()
    warmup(model, backward=False, progress=not options.json)
    return model


class Decoder:
    """One token of each sequence per step."""

    def __init__(self, model: gpt.GPT, sequences: int, length: int) -> None:
        self.model = model
        config, weight = model.config, model.embedding.weight
        self.device, self.buckets = weight.device, [1]
        while self.buckets[-1] < sequences:
            self.buckets.append(2 * self.buckets[-1])
        most = self.buckets[-1]
        shape = (most, config.heads, length, config.D // config.heads)
        self.caches = [
            gpt.Cache(*(torch.zeros(shape, dtype=weight.dtype, device=self.device) for _ in range(2)))
            for _ in range(config.layers)
        ]
        # A graph reads and writes where it did when it was captured.
        self.tokens, self.positions = (torch.zeros(most, 1, dtype=torch.long, device=self.device) for _ in range(2))
        self.graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    @torch.no_grad()
    def eager(self, bucket: int) -> Tensor:
        return self.model(self.tokens[:bucket], self.positions[:bucket], self.caches)[:, 0]

    def run(self, bucket: int) -> Tensor:
        """Logits [bucket, vocabulary]. The next run of the bucket writes over them where it is a graph."""
        if bucket not in self.graphs:
            return self.eager(bucket)
        graph, logits = self.graphs[bucket]
        graph.replay()
        return logits

    def capture(self) -> None:
        """The largest first, whose memory the others share: no two run at the same time."""
        pool = torch.cuda.graph_pool_handle()
        for bucket in reversed(self.buckets):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):  # what is made in the first call is made before the capture
                    self.eager(bucket)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                logits = self.eager(bucket)
            self.graphs[bucket] = graph, logits

    def step(self, tokens: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Logits of the sequences and of the rows that pad them to a bucket."""
        count = len(tokens)
        bucket = next(bucket for bucket in self.buckets if bucket >= count)
        self.tokens[:count, 0] = tokens
        self.tokens[count:bucket] = PADDING
        self.positions[:bucket] = position
        logits = self.run(bucket).clone()
        return logits[:count], logits[count:]

    def decode(self, prompts: Tensor, lengths: list[int], padding: float) -> tuple[list[Tensor], Tensor, bool]:
        """The logits of every step, the sequences, and whether any row was padded; `padding` fills those.

        Lengths fall from row to row, so that the sequences that have not ended are the first rows.
        """
        self.model.embedding.weight[PADDING] = padding
        for cache in self.caches:
            cache.keys.zero_()
            cache.values.zero_()
        sequences = torch.zeros(len(lengths), lengths[0], dtype=torch.long, device=self.device)
        sequences[:, : prompts.shape[1]] = prompts
        steps, padded = [], False
        for position in range(lengths[0] - 1):
            count = sum(length > position + 1 for length in lengths)
            logits, rest = self.step(sequences[:count, position], position)
            padded |= len(rest) > 0
            if bool(rest.isnan().all()) != (padding != padding) and len(rest) > 0:
                raise AssertionError("padded rows are not what they were filled with")
            if position + 1 >= prompts.shape[1]:
                sequences[:count, position + 1] = logits.argmax(-1)
            steps.append(logits)
        return steps, sequences, padded


def microseconds(call: Any, device: torch.device, repeat: int) -> float:
    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(repeat):
        synchronize()
        begin = time.perf_counter()
        call()
        synchronize()
        times.append(time.perf_counter() - begin)
    return sorted(times)[repeat // 2] * 1e6


def main(arguments: Optional[list[str]] = None) -> int:
    options = parse(arguments)
    models = {name: load(name, options) for name in gpt.IMPLEMENTATIONS}
    length = min(options.tokens, models["mhcjit"].config.context)
    decoders = {name: Decoder(model, options.sequences, length) for name, model in models.items()}
    on_gpu = options.device.type == "cuda"
    times: dict[str, dict[int, float]] = {}
    for name, decoder in decoders.items():
        for way in ("eager", "graph") if on_gpu else ("eager",):
            if way == "graph":
                decoder.capture()
            times[f"{name}, {way}"] = {
                bucket: microseconds(lambda: decoder.run(bucket), options.device, 50 if on_gpu else 3)  # noqa: B023
                for bucket in decoder.buckets
            }

    prompt = min(32, length // 2)
    text = torch.tensor(list(options.text.read_bytes()[: options.sequences * prompt]), device=options.device)
    prompts = text.view(options.sequences, prompt)
    lengths = [length - index * (length - prompt) // (options.sequences + 1) for index in range(options.sequences)]
    decoder = decoders["mhcjit"]
    want, sequences, padded = decoder.decode(prompts, lengths, padding=0.0)

    def differing_steps(padding: float) -> int:
        made, _, _ = decoder.decode(prompts, lengths, padding)
        return sum(not torch.equal(one, other) for one, other in zip(want, made))

    differing = {"zeros again": differing_steps(0.0), "NaN": differing_steps(float("nan"))}
    passed = padded and not any(differing.values())

    rows = [{"rows": bucket, **{f"{way}, us": row[bucket] for way, row in times.items()}} for bucket in decoder.buckets]
    facts = {f"steps that differ, {padding}": count for padding, count in differing.items()}
    facts = {"model": models["mhcjit"].config, "steps": len(want), **facts, "passed": passed}
    measuring.write_results(options, options.device, facts, rows)
    if options.json:
        print(json.dumps({"differing": differing, "microseconds": times, "sequences": sequences.tolist()}))
        return int(not passed)
    written = bytes(sequences[0].tolist()).decode(errors="replace")
    place = torch.cuda.get_device_name(options.device) if on_gpu else "CPU"
    print(f"{place}, torch {torch.__version__}; microseconds of a decoding step, {models['mhcjit'].config}")
    print("rows   " + "".join(f"{way:>16}" for way in times))
    for bucket in decoder.buckets:
        print(f"{bucket:<7}" + "".join(f"{row[bucket]:16.0f}" for row in times.values()))
    print(f"the first of {options.sequences} sequences: {written!r}")
    print(f"steps of {len(want)} that differ in a bit from those with padded rows of zeros: {differing}")
    print("PASS" if passed else "FAIL" if padded else "FAIL: no row was padded")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
