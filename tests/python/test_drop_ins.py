"""The reference's functions, called as its users call them."""

from __future__ import annotations

import pytest
import torch

from mhcjit.compat import mhc_ops
from mhcjit.torch import measuring, reference

from bounds import check_forward, check_gradients

FORWARDS = ["mhc_forward_pre", "mhc_forward_pre_triton", "mhc_forward_pre_triton_optimized"]
BACKWARDS = ["mhc_backward", "mhc_backward_manual", "mhc_backward_triton"]
GAMMA = pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
STD = pytest.mark.parametrize("std", [0.05, 1.0, 20.0])


@GAMMA
@STD
@pytest.mark.parametrize("leading", [(2, 3), (2, 3, 4)])
@pytest.mark.parametrize("name", FORWARDS)
def test_forward(device, name, leading, std, gamma):
    inputs = reference.random_inputs(leading, 4, 40, gamma=gamma, std=std, device=device)
    x, phi, alpha, bias, gamma_tensor = inputs.values()
    want = reference.pre(**inputs, norm_eps=1e-5, hc_eps=1e-3)
    forward = getattr(mhc_ops, name)
    outputs = forward(x, phi, alpha, bias, True, 1e-5, 1e-3, gamma=gamma_tensor)
    assert len(outputs) == 6
    check_forward(outputs, want)
    for out, same in zip(forward(x, phi, alpha, bias, norm_eps=1e-5, hc_eps=1e-3, gamma=gamma_tensor), outputs[:3]):
        assert torch.equal(out, same)


@GAMMA
@STD
@pytest.mark.parametrize("name", BACKWARDS)
def test_backward(device, name, std, gamma):
    inputs = reference.random_inputs((2, 70), 4, 40, gamma=gamma, std=std, device=device)
    x, phi, alpha, bias, gamma_tensor = inputs.values()
    h_in, h_post, h_res, inv_rms, h_mix, h_pre = mhc_ops.mhc_forward_pre(
        *list(inputs.values())[:4], True, gamma=gamma_tensor
    )
    upstream = measuring.upstream_of([h_in, h_post, h_res])
    made = getattr(mhc_ops, name)(
        x, phi, alpha, bias, inv_rms, h_mix, h_pre, h_post, *upstream, gamma_tensor, 1e-6, 1e-6
    )
    check_gradients(made, reference.gradients(*inputs.values(), *upstream))


@pytest.mark.parametrize("outflag", [False, True])
def test_forward_is_differentiable(device, outflag):
    inputs = reference.random_inputs((2, 70), 4, 40, dtype=torch.float32, device=device)
    leaves = [tensor.requires_grad_() for tensor in inputs.values() if tensor is not None]
    outputs = mhc_ops.mhc_forward_pre(*leaves, outflag)
    upstream = measuring.upstream_of(outputs[:3])
    torch.autograd.backward(outputs[:3], upstream)
    check_gradients([*(leaf.grad for leaf in leaves), None], reference.gradients(*inputs.values(), *upstream))
    assert not any(tensor.requires_grad for tensor in outputs[3:])


def test_the_class_serves_any_number_of_tokens():
    inputs = reference.random_inputs((2, 3), 4, 40)
    op = mhc_ops.MHCForwardPreTileLang(2, 3, 4, 40, norm_eps=1e-5)
    del inputs["gamma"]
    for out, want in zip(op(*inputs.values(), outflag=True), mhc_ops.mhc_forward_pre(*inputs.values(), True, 1e-5)):
        assert torch.equal(out, want)
    assert op(torch.zeros(7, 4, 40, dtype=torch.bfloat16), *list(inputs.values())[1:])[0].shape == (7, 40)


def test_the_class_refuses_what_it_was_not_made_for():
    op = mhc_ops.MHCForwardPreTileLang(2, 3, 4, 40)
    inputs = reference.random_inputs((2, 3), 4, 48)
    with pytest.raises(ValueError, match=r"x has the shape \[2, 3, 4, 48\], allowed: \[..., 4, 40\]"):
        op(*list(inputs.values())[:4])
    with pytest.raises(ValueError, match="compute_dtype is torch.float16"):
        mhc_ops.MHCForwardPreTileLang(2, 3, 4, 40, compute_dtype=torch.float16)
