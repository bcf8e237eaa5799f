"""Checkpoints of other implementations, as `MHCPre` names and lays out its tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Optional

import torch
from torch import Tensor

CONVENTIONS = ("tilekernels", "liger", "transformer_engine", "megatron")


def convert_state_dict(
    state_dict: Mapping[str, Tensor], convention: str, prefixes: Optional[Mapping[str, str]] = None
) -> dict[str, Tensor]:
    """A state dict whose tensors of a convention have become phi, alpha, bias and gamma, in fp32; the rest is kept.

    `convention` is the name of a module of mhcjit.compat, whose TENSORS are the names that are looked for. `prefixes`
    says what stands before those, from the last dot that the layers share on, and what stands there here:

        convert_state_dict(state, "tilekernels", {"hc_attn_": "attn.pre.", "hc_ffn_": "ffn.pre."})

    for layers.0.hc_attn_fn and so on. The default, {"": "pre."}, makes a LigerMHC's an `MHCBlock`'s.

    Only a complete set of tensors is taken, so that a bias of something else is not. What is a matter of the layer and
    not of its tensors (order of h_res, eps, post_mult) is for the module's arguments: docs/coming-from.md has them.

    Raises ValueError where the convention is not known or no tensors of it are found.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}, allowed: {', '.join(map(repr, CONVENTIONS))}")
    source = importlib.import_module("mhcjit.compat." + convention)
    prefixes = {"": "pre."} if prefixes is None else prefixes
    sets: dict[tuple[str, str], dict[str, str]] = {}  # (where, prefix): keyword of `parameters` to key
    for key in state_dict:
        for theirs in prefixes:
            for name, keyword in source.TENSORS.items():
                where = key[: len(key) - len(theirs + name)]
                if key.endswith(theirs + name) and (where == "" or where.endswith(".")):
                    sets.setdefault((where, theirs), {})[keyword] = key
    converted = dict(state_dict)
    found = False
    for (where, theirs), keys in sets.items():
        if any(keyword not in keys and keyword not in source.OPTIONAL_TENSORS for keyword in source.TENSORS.values()):
            continue
        found = True
        made = source.parameters(**{keyword: converted.pop(key) for keyword, key in keys.items()})
        for name, tensor in made.items():
            if tensor is not None:
                converted[where + prefixes[theirs] + name] = tensor.to(torch.float32).contiguous()
    if not found:
        names = ", ".join(theirs + name for theirs in prefixes for name in source.TENSORS)
        raise ValueError(f"no tensors of {convention!r} are there, which would be called [...]{names}")
    return converted
