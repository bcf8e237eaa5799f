"""mhcjit for PyTorch.

pre                           differentiable: autograd, torch.compile, autocast, checkpointing, CUDA graphs
pre_forward, pre_backward     not differentiable, the least time per call; write into given tensors, accumulate
MHCPre, MHCBlock              modules: the operator with its parameters, a sublayer between residual streams
sinkhorn, post                what follows the operator in a layer, in PyTorch
convert_state_dict            takes checkpoints of other implementations
warmup                        compiles for every module of a model
prepare                       compiles and loads a shape before the first call or the capture of a CUDA graph
mhc_forward_pre, mhc_backward the functions of the reference implementation
reference                     the formulas in plain PyTorch
"""

from mhcjit.torch.checkpoints import convert_state_dict
from mhcjit.torch.direct import pre_backward, pre_forward, prepare, split_saved
from mhcjit.torch.functional import mhc_backward, mhc_forward_pre, pre
from mhcjit.torch.mixing import post, sinkhorn
from mhcjit.torch.modules import MHCBlock, MHCPre
from mhcjit.torch.warming import warmup

__all__ = [
    "MHCBlock",
    "MHCPre",
    "convert_state_dict",
    "mhc_backward",
    "mhc_forward_pre",
    "post",
    "pre",
    "pre_backward",
    "pre_forward",
    "prepare",
    "sinkhorn",
    "split_saved",
    "warmup",
]
