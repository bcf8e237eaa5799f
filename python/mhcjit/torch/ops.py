"""The operators as torch.ops.mhcjit.*: what autograd, torch.compile and autocast see.

    pre_inference   forward where no gradient is wanted: half the time per call, since autograd does not see it
    pre_forward     forward that also returns what backward needs; differentiable
    pre_backward    the derivative of pre_forward; it has none itself

Each has a schema, an implementation for CPU and CUDA (direct.py) and shapes for tracing ("fake"). Only what PyTorch 2.4
had is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn, Optional

import torch
from torch import Tensor

from mhcjit import _library
from mhcjit.torch import direct

_library_of_torch = torch.library.Library("mhcjit", "DEF")

_FORWARD_INPUTS = (
    "Tensor x, Tensor phi, Tensor alpha, Tensor bias, Tensor? gamma, float norm_eps, float hc_eps, float post_mult, "
    "bool batch_invariant"
)
_library_of_torch.define(
    f"pre_inference({_FORWARD_INPUTS}) -> (Tensor h_in, Tensor h_post, Tensor h_res)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library_of_torch.define(
    f"pre_forward({_FORWARD_INPUTS}) -> (Tensor h_in, Tensor h_post, Tensor h_res, Tensor saved)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library_of_torch.define(
    "pre_backward(Tensor x, Tensor phi, Tensor alpha, Tensor? gamma, Tensor saved, Tensor h_post, Tensor? dh_in, "
    "Tensor? dh_post, Tensor? dh_res, float hc_eps, float post_mult, bool batch_invariant, bool[] wanted) "
    "-> (Tensor dx, Tensor dphi, Tensor dalpha, Tensor dbias, Tensor dgamma)",
    tags=(torch.Tag.pt2_compliant_tag,),
)

# The overloads themselves: looking one up by its name costs as much as checking a tensor.
pre_inference = torch.ops.mhcjit.pre_inference.default
pre_forward = torch.ops.mhcjit.pre_forward.default
pre_backward = torch.ops.mhcjit.pre_backward.default


# ---- CPU and CUDA -----------------------------------------------------------------------------------------------


def wants_gradient(x: Tensor, phi: Tensor, alpha: Tensor, bias: Tensor, gamma: Optional[Tensor]) -> bool:
    """Whether autograd has to know of a forward with these inputs."""
    return torch.is_grad_enabled() and (
        x.requires_grad
        or phi.requires_grad
        or alpha.requires_grad
        or bias.requires_grad
        or (gamma is not None and gamma.requires_grad)
    )


def _pre_inference(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    gamma: Optional[Tensor],
    norm_eps: float,
    hc_eps: float,
    post_mult: float,
    batch_invariant: bool,
) -> tuple[Tensor, ...]:
    if wants_gradient(x, phi, alpha, bias, gamma):
        raise _library.argument_error("pre_inference: an input requires a gradient; call pre_forward, or under no_grad")
    return direct.pre_forward(
        x,
        phi,
        alpha,
        bias,
        gamma,
        norm_eps=norm_eps,
        hc_eps=hc_eps,
        post_mult=post_mult,
        batch_invariant=batch_invariant,
    )


def _pre_forward(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    bias: Tensor,
    gamma: Optional[Tensor],
    norm_eps: float,
    hc_eps: float,
    post_mult: float,
    batch_invariant: bool,
) -> tuple[Tensor, ...]:
    return direct.pre_forward(
        x,
        phi,
        alpha,
        bias,
        gamma,
        norm_eps=norm_eps,
        hc_eps=hc_eps,
        post_mult=post_mult,
        save=True,
        batch_invariant=batch_invariant,
    )


def _pre_backward(
    x: Tensor,
    phi: Tensor,
    alpha: Tensor,
    gamma: Optional[Tensor],
    saved: Tensor,
    h_post: Tensor,
    dh_in: Optional[Tensor],
    dh_post: Optional[Tensor],
    dh_res: Optional[Tensor],
    hc_eps: float,
    post_mult: float,
    batch_invariant: bool,
    wanted: Sequence[bool],
) -> tuple[Tensor, ...]:
    gradients = direct.pre_backward(
        x,
        phi,
        alpha,
        gamma,
        saved,
        h_post,
        dh_in,
        dh_post,
        dh_res,
        hc_eps=hc_eps,
        post_mult=post_mult,
        batch_invariant=batch_invariant,
        wanted=[name for name, is_wanted in zip(direct.GRADIENTS, wanted) if is_wanted],
    )
    return tuple(_nothing(phi) if gradient is None else gradient for gradient in gradients)


def _nothing(like: Tensor) -> Tensor:
    """An operator cannot return None."""
    return like.new_empty(0)


for _key in ("CPU", "CUDA"):
    _library_of_torch.impl("pre_inference", _pre_inference, _key)
    _library_of_torch.impl("pre_forward", _pre_forward, _key)
    _library_of_torch.impl("pre_backward", _pre_backward, _key)


# ---- Tracing ----------------------------------------------------------------------------------------------------


@torch.library.register_fake("mhcjit::pre_inference", lib=_library_of_torch)
def _fake_inference(x: Tensor, phi: Tensor, *_: Any) -> tuple[Tensor, ...]:
    torch._check(x.dim() >= 2, lambda: f"x has the shape {list(x.shape)}, allowed: [..., n, D]")
    *leading, n, d = x.shape
    return x.new_empty((*leading, d)), phi.new_empty((*leading, n)), phi.new_empty((*leading, n, n))


@torch.library.register_fake("mhcjit::pre_forward", lib=_library_of_torch)
def _fake_forward(x: Tensor, phi: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    outputs = _fake_inference(x, phi, *rest)
    *leading, n, _ = x.shape
    return *outputs, phi.new_empty(math.prod(leading) * (1 + n * n + 3 * n))


@torch.library.register_fake("mhcjit::pre_backward", lib=_library_of_torch)
def _fake_backward(x: Tensor, phi: Tensor, alpha: Tensor, gamma: Optional[Tensor], *options: Any) -> tuple[Tensor, ...]:
    n = x.shape[-2]
    like = (x, phi, alpha, phi.new_empty(n * n + 2 * n), gamma)
    return tuple(
        tensor.new_empty(tensor.shape) if is_wanted and tensor is not None else _nothing(phi)
        for tensor, is_wanted in zip(like, options[-1])
    )


# ---- Derivatives ------------------------------------------------------------------------------------------------


class _PreForward(torch.autograd.Function):
    """pre_forward below autograd, and its derivative."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        return _below_autograd(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, phi, alpha, bias, gamma, _, ctx.hc_eps, ctx.post_mult, ctx.batch_invariant = inputs
        _, h_post, _, saved = output
        ctx.set_materialize_grads(False)  # None costs nothing, zeros do
        ctx.mark_non_differentiable(saved)
        ctx.save_for_backward(x, phi, alpha, bias, gamma, saved, h_post)

    @staticmethod
    def backward(ctx: Any, *output_gradients: Optional[Tensor]) -> tuple[Optional[Tensor], ...]:
        return _gradients(ctx, *output_gradients[:3])


def _below_autograd(*arguments: Any) -> Any:
    with torch._C._AutoDispatchBelowAutograd():
        return pre_forward(*arguments)


def _autograd(
    x: Tensor, phi: Tensor, alpha: Tensor, bias: Tensor, gamma: Optional[Tensor], *options: Any
) -> tuple[Tensor, ...]:
    """What torch.library.register_autograd makes is the same, and takes 20 us more a call."""
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError("mhcjit has no rule for torch.func's transforms: use torch.autograd")
    call = _PreForward.apply if wants_gradient(x, phi, alpha, bias, gamma) else _below_autograd
    outputs: tuple[Tensor, ...] = call(x, phi, alpha, bias, gamma, *options)
    return outputs


_library_of_torch.impl("pre_forward", _autograd, "Autograd")
_library_of_torch.impl("pre_inference", torch.library.fallthrough_kernel, "Autograd")


def _gradients(ctx: Any, *output_gradients: Optional[Tensor]) -> tuple[Optional[Tensor], ...]:
    x, phi, alpha, bias, gamma, saved, h_post = ctx.saved_tensors
    wanted = list(ctx.needs_input_grad[: len(direct.GRADIENTS)])
    parameters = dict(zip(direct.GRADIENTS[1:], (phi, alpha, bias, gamma)))
    main_grads = {
        name: parameter.main_grad
        for (name, parameter), is_wanted in zip(parameters.items(), wanted[1:])
        if is_wanted and _has_main_grad(parameter)
    }
    arguments = (x, phi, alpha, gamma, saved, h_post, *output_gradients)
    if not main_grads:
        gradients = pre_backward(*arguments, ctx.hc_eps, ctx.post_mult, ctx.batch_invariant, wanted)
    else:
        gradients = list(
            direct.pre_backward(
                *arguments,
                hc_eps=ctx.hc_eps,
                post_mult=ctx.post_mult,
                batch_invariant=ctx.batch_invariant,
                wanted=[name for name, is_wanted in zip(direct.GRADIENTS, wanted) if is_wanted],
                out=main_grads,
                accumulate_parameters=True,
            )
        )
        for i, name in enumerate(direct.GRADIENTS):
            if name in main_grads:
                gradients[i] = _after_main_grad(parameters[name])
    made = tuple(gradient if is_wanted else None for gradient, is_wanted in zip(gradients, wanted))
    return (*made, None, None, None, None)


def _has_main_grad(parameter: Optional[Tensor]) -> bool:
    """Whether the parameter has an fp32 buffer that a training framework wants its gradient added to."""
    main_grad = getattr(parameter, "main_grad", None)
    return main_grad is not None and main_grad.dtype is torch.float32 and main_grad.is_contiguous()


def _after_main_grad(parameter: Tensor) -> Optional[Tensor]:
    """What autograd gets: nothing, or what a framework with hooks on parameters asks for and drops."""
    if not hasattr(parameter, "grad_added_to_main_grad"):
        return None
    parameter.grad_added_to_main_grad = True
    return torch.empty_like(parameter)


def _no_second_derivative(ctx: Any, *gradients: Optional[Tensor]) -> NoReturn:
    raise NotImplementedError(
        "mhcjit::pre_backward has no derivative: gradients of gradients (create_graph=True) are not supported"
    )


torch.library.register_autograd("mhcjit::pre_backward", _no_second_derivative, lib=_library_of_torch)


# ---- Autocast and vmap ------------------------------------------------------------------------------------------


def _register_autocast(name: str, device_type: str, key: str) -> None:
    """x is computed in autocast's dtype, parameters in fp32, whatever they are stored in."""
    excluded = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    operator = getattr(torch.ops.mhcjit, name).default

    def cast(
        x: Tensor, phi: Tensor, alpha: Tensor, bias: Tensor, gamma: Optional[Tensor], *options: Any
    ) -> tuple[Tensor, ...]:
        parameters = (None if tensor is None else tensor.float() for tensor in (phi, alpha, bias, gamma))
        x = x if x.dtype is torch.float64 else x.to(torch.get_autocast_dtype(device_type))
        with torch._C._ExcludeDispatchKeyGuard(excluded):
            outputs: tuple[Tensor, ...] = operator(x, *parameters, *options)
        return outputs

    _library_of_torch.impl(name, cast, key)


for _name in ("pre_inference", "pre_forward"):
    _register_autocast(_name, "cpu", "AutocastCPU")
    _register_autocast(_name, "cuda", "AutocastCUDA")


def _refuse_vmap(*arguments: Any) -> NoReturn:
    raise NotImplementedError(
        "mhcjit has no rule for torch.vmap: pass x of shape [..., n, D], whose leading dimensions are the batch"
    )


for _name in ("pre_inference", "pre_forward", "pre_backward"):
    _library_of_torch.impl(_name, _refuse_vmap, "FuncTorchBatched")
