"""Writes pytorch_bf16.safetensors beside this file, the way a PyTorch user saves tensors.

Needs torch and safetensors; made with torch 2.13.0. Run: python make_pytorch_fixture.py
"""

import pathlib

import torch
from safetensors.torch import save_file

B, S, n, D = 2, 3, 4, 16
M = n * n + 2 * n

torch.manual_seed(20251224)
x = torch.randn(B, S, n, D).to(torch.bfloat16)
# Known values that the test reads back.
x[0, 0, 0, :4] = torch.tensor([1.0, -2.0, 0.5, 3.0])
tensors = {
    "x": x,
    "phi": torch.randn(M, n * D) / (n * D) ** 0.5,
    "alpha": torch.tensor([1.1, 0.9, 1.05]),
    "bias": 0.1 * torch.randn(M),
    "gamma": 1 + 0.1 * torch.randn(n, D),
    "dh_in": torch.randn(B, S, D).to(torch.bfloat16),
    "dh_post": torch.randn(B, S, n),
    "dh_res": torch.randn(B, S, n, n),
    # A tensor that the operator does not know and a dtype that it does not take.
    "step": torch.tensor([7], dtype=torch.int64),
}
path = pathlib.Path(__file__).with_name("pytorch_bf16.safetensors")
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
