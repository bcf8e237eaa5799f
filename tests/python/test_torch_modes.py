"""What PyTorch does with operators: checks of its own, compiling, checkpointing, autocast, transforms."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import mhcjit
import mhcjit.torch as mt
from mhcjit.torch import reference


def leaves(device: str, leading=(3, 5), dtype=torch.float32, gamma=True, n=4, d=24) -> dict:
    inputs = reference.random_inputs(leading, n, d, dtype=dtype, gamma=gamma, device=device)
    return {name: None if tensor is None else tensor.requires_grad_() for name, tensor in inputs.items()}


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
@pytest.mark.parametrize("name", ["pre_inference", "pre_forward"])
def test_opcheck_of_forward(device, name, gamma):
    inputs = leaves(device, gamma=gamma)
    if name == "pre_inference":
        inputs = {name: None if tensor is None else tensor.detach() for name, tensor in inputs.items()}
    operator = getattr(torch.ops.mhcjit, name).default
    results = torch.library.opcheck(operator, (*inputs.values(), 1e-6, 1e-6, 2.0, False))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("wanted", [[True] * 5, [True, False, True, False, False]], ids=["all", "some"])
@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
def test_opcheck_of_backward(device, gamma, wanted):
    x, phi, alpha, bias, gamma_tensor = (
        None if tensor is None else tensor.detach() for tensor in leaves(device, gamma=gamma).values()
    )
    h_in, h_post, h_res, saved = mt.pre_forward(x, phi, alpha, bias, gamma_tensor, save=True)
    arguments = (x, phi, alpha, gamma_tensor, saved, h_post, h_in, None, h_res, 1e-6, 2.0, False, wanted)
    results = torch.library.opcheck(torch.ops.mhcjit.pre_backward.default, arguments)
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
def test_gradcheck(device, gamma):
    """In fp32, which is all that parameters may be: the step is 1e-2, where differences have errors of about 1e-4."""
    inputs = leaves(device, leading=(2,), n=2, d=5, gamma=gamma)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input #. requires gradient and is not a double")
        assert torch.autograd.gradcheck(mt.pre, tuple(inputs.values()), eps=1e-2, atol=1e-3, rtol=1e-3)


def test_compile_takes_one_graph_for_every_number_of_tokens(device):
    rest = list(leaves(device).values())[1:]
    frames = []

    def backend(graph, example_inputs):
        frames.append(graph)
        return graph.forward

    compiled = torch.compile(lambda x: mt.pre(x, *rest), fullgraph=True, dynamic=True, backend=backend)
    for T in (7, 3, 64, 137):  # the first is no other tensor's extent, for torch.compile takes such to be the same
        x = torch.randn(T, 4, 24, device=device)
        for out, want in zip(compiled(x), mt.pre(x, *rest)):
            assert torch.equal(out, want)
    assert len(frames) == 1
    torch._dynamo.reset()


def test_a_compiled_step_gives_the_gradients_of_an_eager_one(device):
    """With Inductor, which compiles what stands around the operators, forward and backward."""
    inputs = leaves(device)
    names = [name for name, tensor in inputs.items() if tensor is not None]

    def loss(x, phi, alpha, bias, gamma):
        h_in, h_post, h_res = mt.pre(2 * x, phi, alpha, bias, gamma)
        return (h_in.sin() * h_post.sum(-1, keepdim=True)).sum() + h_res.square().sum()

    want = torch.autograd.grad(loss(**inputs), [inputs[name] for name in names])
    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for out, expected in zip(torch.autograd.grad(compiled(**inputs), [inputs[name] for name in names]), want):
        torch.testing.assert_close(out, expected)
    torch._dynamo.reset()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(device, reentrant):
    inputs = leaves(device)

    def loss(*tensors):
        h_in, h_post, h_res = mt.pre(*tensors)
        return h_in.sum() + h_post.square().sum() + h_res.square().sum()

    want = torch.autograd.grad(loss(*inputs.values()), list(inputs.values()))
    checkpoint(loss, *inputs.values(), use_reentrant=reentrant).backward()
    for leaf, expected in zip(inputs.values(), want):
        assert torch.equal(leaf.grad, expected)


def test_autocast_takes_x_in_its_dtype_and_parameters_in_fp32(device):
    inputs = leaves(device)
    stored = {name: tensor.detach().bfloat16().requires_grad_() for name, tensor in inputs.items()}
    with torch.autocast(device, dtype=torch.bfloat16):
        h_in, h_post, h_res = mt.pre(**{**stored, "x": inputs["x"]})
    assert (h_in.dtype, h_post.dtype, h_res.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    rounded = {name: tensor.detach().float() for name, tensor in stored.items()}
    want = mt.pre(**{**rounded, "x": inputs["x"].detach().bfloat16()})
    for out, expected in zip((h_in, h_post, h_res), want):
        assert torch.equal(out, expected)
    h_in.sum().backward()
    assert inputs["x"].grad.dtype == torch.float32 and stored["phi"].grad.dtype == torch.bfloat16


def test_without_autocast_parameters_that_are_not_fp32_are_refused(device):
    inputs = leaves(device)
    with pytest.raises(mhcjit.ArgumentError, match="phi is bf16, allowed: fp32"):
        mt.pre(**{**inputs, "phi": inputs["phi"].bfloat16()})


@pytest.mark.parametrize("dims", [(0, None), (0, 0)])
def test_vmap_is_refused(device, dims):
    inputs = {name: tensor.detach() for name, tensor in leaves(device).items()}
    phi = inputs["phi"] if dims[1] is None else inputs["phi"].expand(3, -1, -1)
    with pytest.raises(NotImplementedError, match=r"no rule for torch.vmap: pass x of shape \[..., n, D\]"):
        torch.vmap(lambda x, phi: mt.pre(x, phi, inputs["alpha"], inputs["bias"]), dims)(inputs["x"], phi)


def test_a_second_derivative_is_an_error(device):
    inputs = leaves(device)
    (dx,) = torch.autograd.grad(mt.pre(**inputs)[0].square().sum(), inputs["x"], create_graph=True)
    with pytest.raises(NotImplementedError, match="gradients of gradients"):
        dx.sum().backward()


def test_inference_refuses_inputs_that_require_a_gradient(device):
    inputs = leaves(device)
    with pytest.raises(mhcjit.ArgumentError, match="pre_inference: an input requires a gradient"):
        torch.ops.mhcjit.pre_inference(*inputs.values(), 1e-6, 1e-6, 2.0, False)


def test_functional_gradients_are_refused(device):
    x, *rest = (tensor.detach() for tensor in leaves(device).values())
    with pytest.raises(NotImplementedError, match="no rule for torch.func's transforms: use torch.autograd"):
        torch.func.grad(lambda x: mt.pre(x, *rest)[0].sum())(x)


def test_nothing_is_saved_where_no_gradient_is_wanted(device):
    inputs = leaves(device)
    with torch.no_grad():
        assert mt.pre(**inputs)[0].grad_fn is None
    with torch.inference_mode():
        assert mt.pre(**inputs)[0].is_inference()


@pytest.mark.parametrize("asks_for_dummy", [False, True])
def test_gradients_of_parameters_are_added_to_main_grad(device, asks_for_dummy):
    inputs = leaves(device, dtype=torch.bfloat16)
    mt.pre(**inputs)[0].sum().backward()
    want = {name: tensor.grad.clone() for name, tensor in inputs.items()}
    with_main_grad = ("phi", "gamma")
    for name, tensor in inputs.items():
        tensor.grad = None
        if name in with_main_grad:
            tensor.main_grad = torch.ones_like(tensor, dtype=torch.float32)
            if asks_for_dummy:
                tensor.grad_added_to_main_grad = False
    for _ in range(2):
        mt.pre(**inputs)[0].sum().backward()
    for name, tensor in inputs.items():
        if name in with_main_grad:
            torch.testing.assert_close(tensor.main_grad, 1 + 2 * want[name])
            assert (tensor.grad is None) != asks_for_dummy
            assert not asks_for_dummy or tensor.grad_added_to_main_grad
        else:
            assert torch.equal(tensor.grad, 2 * want[name])


def test_dx_is_added_to_an_fp32_buffer(device):
    x, phi, alpha, bias, gamma = (tensor.detach() for tensor in leaves(device, dtype=torch.bfloat16).values())
    h_in, h_post, h_res, saved = mt.pre_forward(x, phi, alpha, bias, gamma, save=True)
    want = reference.gradients(
        x, phi, alpha, bias, gamma, torch.ones_like(h_in), torch.zeros_like(h_post), torch.zeros_like(h_res)
    ).dx
    buffer = torch.full(x.shape, 3.0, device=device)
    made = mt.pre_backward(
        x,
        phi,
        alpha,
        gamma,
        saved,
        h_post,
        torch.ones_like(h_in),
        wanted=["dx"],
        out={"dx": buffer},
        accumulate_dx=True,
    )
    assert made[0] is buffer and made[1:] == (None,) * 4
    assert reference.error(buffer, 3 + want) <= 2e-5


def test_outputs_are_written_where_they_are_wanted(device):
    inputs = {name: tensor.detach() for name, tensor in leaves(device).items()}
    want = mt.pre_forward(**inputs, save=True)
    out = tuple(torch.full_like(tensor, float("nan")) for tensor in want)
    assert all(one is other for one, other in zip(mt.pre_forward(**inputs, save=True, out=out), out))
    for tensor, expected in zip(out, want):
        assert torch.equal(tensor, expected)
