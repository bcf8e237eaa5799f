"""mhcjit for PyTorch.

pre                           differentiable: autograd, torch.compile, autocast, checkpointing, CUDA graphs
pre_forward, pre_backward     not differentiable, the least time per call; write into given tensors, accumulate
prepare                       compiles and loads a shape before the first call or the capture of a CUDA graph
mhc_forward_pre, mhc_backward the functions of the reference implementation
reference                     the formulas in plain PyTorch
"""

from mhcjit.torch.direct import pre_backward, pre_forward, prepare, split_saved
from mhcjit.torch.functional import mhc_backward, mhc_forward_pre, pre

__all__ = [
    "mhc_backward",
    "mhc_forward_pre",
    "pre",
    "pre_backward",
    "pre_forward",
    "prepare",
    "split_saved",
]
