"""A small GPT whose sublayers stand between mHC residual streams, and its training: what the examples share.

Tokens are bytes. Each layer is two blocks, attention and MLP, that `mhcjit.torch.MHCBlock` connects to n streams.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mhcjit.torch import MHCBlock, MHCPre, measuring

VOCABULARY = 256
# cuDNN's attention of one query to more than 64 keys gives other bits in every call, whatever the other rows are.
REPEATABLE_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
GET_TEXT = """\
Any text of some hundred kilobytes will do. Debian and Ubuntu serve the King James Bible, 4.4 MB:
    apt-get install bible-kjv && bible -f gen1:1-rev22:21 >kjv.txt
and have the licences of free software: cat /usr/share/common-licenses/* >licences.txt"""


@dataclasses.dataclass(frozen=True)
class Config:
    layers: int
    heads: int
    D: int
    n: int
    context: int
    batch: int


SIZES = {
    "tiny": Config(layers=2, heads=2, D=32, n=4, context=32, batch=4),
    "large": Config(layers=4, heads=16, D=1024, n=4, context=1024, batch=8),
}


class PlainPre(MHCPre):
    """MHCPre by a plain PyTorch statement of its formulas, computed in fp32."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        scalars = {"norm_eps": self.norm_eps, "hc_eps": self.hc_eps, "post_mult": self.post_mult}
        with torch.autocast(x.device.type, enabled=False):
            return measuring.plain(x, self.phi, self.alpha, self.bias, self.gamma, **scalars)


IMPLEMENTATIONS: dict[str, type[MHCPre]] = {"mhcjit": MHCPre, "torch": PlainPre}


@dataclasses.dataclass
class Cache:
    """Keys and values of the tokens that decoding has seen: [rows, heads, context, D / heads]."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.RMSNorm(config.D, elementwise_affine=False)
        self.into = nn.Linear(config.D, 3 * config.D, bias=False)
        self.out = nn.Linear(config.D, config.D, bias=False)

    def forward(self, h: Tensor, positions: Tensor, cache: Optional[Cache]) -> Tensor:
        """h is [rows, tokens, D]. With a cache a row has one token, at its own position."""
        q, k, v = self.into(self.norm(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is None:
            made = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            rows = torch.arange(h.shape[0], device=h.device)
            cache.keys[rows, :, positions[:, 0]] = k[:, :, 0]
            cache.values[rows, :, positions[:, 0]] = v[:, :, 0]
            keys, values = cache.keys[: h.shape[0]], cache.values[: h.shape[0]]
            seen = torch.arange(keys.shape[2], device=h.device) <= positions
            with sdpa_kernel(REPEATABLE_ATTENTION):
                made = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen[:, None, None])
        return self.out(made.transpose(1, 2).flatten(2))


class MLP(nn.Sequential):
    def __init__(self, config: Config) -> None:
        D = config.D
        super().__init__(
            nn.RMSNorm(D, elementwise_affine=False),
            nn.Linear(D, 4 * D, bias=False),
            nn.GELU(),
            nn.Linear(4 * D, D, bias=False),
        )


class GPT(nn.Module):
    """Logits of the next byte, from bytes. Streams have the dtype `streams`, or that of the embedding."""

    def __init__(self, config: Config, pre: type[MHCPre] = MHCPre, streams: Optional[torch.dtype] = None) -> None:
        super().__init__()
        self.config, self.streams = config, streams
        self.embedding = nn.Embedding(VOCABULARY, config.D)
        self.places = nn.Embedding(config.context, config.D)
        sublayers = [layer for _ in range(config.layers) for layer in (Attention(config), MLP(config))]
        self.blocks = nn.ModuleList(MHCBlock(layer, config.n, config.D, gamma=True) for layer in sublayers)
        self.norm = nn.RMSNorm(config.D, elementwise_affine=False)
        self.head = nn.Linear(config.D, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Embedding, nn.Linear)):
                nn.init.normal_(module.weight, std=0.02)
        for block in self.blocks:
            block.pre = pre(config.n, config.D, gamma=True)
            # With the published 0.01 streams stay alike for thousands of steps: all coefficients shall matter at once.
            nn.init.ones_(block.pre.alpha)

    def forward(
        self, tokens: Tensor, positions: Optional[Tensor] = None, caches: Optional[list[Cache]] = None
    ) -> Tensor:
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        embedded = self.embedding(tokens) + self.places(positions)
        x = embedded.to(self.streams).unsqueeze(-2).repeat(1, 1, self.config.n, 1)
        for index, block in enumerate(self.blocks):
            if isinstance(block.layer, Attention):
                x = block(x, positions, None if caches is None else caches[index // 2])
            else:
                x = block(x)
        return self.head(self.norm(x.mean(-2)))


class Text:
    """Batches of a file's bytes. A step's batch depends on the seed and the step alone."""

    def __init__(self, path: Path, config: Config, device: torch.device, seed: int) -> None:
        self._bytes = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        if len(self._bytes) <= 2 * config.context:
            raise ValueError(f"{path} has {len(self._bytes)} bytes, allowed: more than {2 * config.context}")
        self._config, self._device, self._seed = config, device, seed

    def batch(self, step: int) -> Tensor:
        """[batch, context + 1]: each token and the one that follows it."""
        length = self._config.context + 1
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        begin = torch.randint(len(self._bytes) - length + 1, (self._config.batch, 1), generator=generator)
        return self._bytes[begin + torch.arange(length)].long().to(self._device)


def make_reproducible() -> None:
    """Has PyTorch give the same bits in every run; cuBLAS reads its part when it is first used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False


class Training:
    """One model, its optimizer and its losses."""

    LEARNING_RATE = 1e-3
    WARMUP_STEPS = 10

    def __init__(
        self,
        implementation: str,
        config: Config,
        device: torch.device,
        dtype: torch.dtype,
        seed: int,
        wrap: Callable[[GPT], nn.Module] = lambda model: model,
    ) -> None:
        torch.manual_seed(seed)
        self.implementation = implementation
        self.model = wrap(GPT(config, IMPLEMENTATIONS[implementation], streams=dtype).to(device))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self.tokens_per_step = config.batch * config.context
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self._device, self._dtype = device, dtype

    @property
    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

    def step(self, tokens: Tensor, inspect: Callable[[], Any] = lambda: None) -> None:
        """One step of training; `inspect` is called when the gradients are there."""
        begin = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.LEARNING_RATE * min(1.0, (len(self.losses) + 1) / self.WARMUP_STEPS)
        lower = self._dtype is not torch.float32
        with torch.autocast(self._device.type, self._dtype) if lower else contextlib.nullcontext():
            logits = self.model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()
        inspect()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())
        self.seconds.append(time.perf_counter() - begin)

    @property
    def tokens_per_second(self) -> float:
        """In the median step, without the first ones, which compile."""
        seconds = sorted(self.seconds[min(self.WARMUP_STEPS, len(self.seconds) // 2) :])
        return self.tokens_per_step / seconds[len(seconds) // 2]

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses, self.seconds = list(state["losses"]), list(state["seconds"])

    def digest(self) -> str:
        """A digest of the bits of all parameters."""
        digest = hashlib.sha256()
        for parameter in self.model.state_dict().values():
            digest.update(parameter.contiguous().view(torch.uint8).cpu().numpy().tobytes())
        return digest.hexdigest()
