"""Tensors that are wrong are refused by name; those that merely lie badly are copied."""

from __future__ import annotations

import pytest
import torch

import mhcjit
import mhcjit.torch as mt
from mhcjit.torch import direct, reference


@pytest.fixture
def inputs(device: str) -> dict:
    return reference.random_inputs((5,), 2, 16, device=device)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda i: {"phi": i["phi"].T}, r"phi has the shape \[32, 8\], allowed: \[8, 32\]"),
        (lambda i: {"phi": i["phi"].double()}, "phi is torch.float64, allowed: fp32"),
        (lambda i: {"alpha": i["alpha"][0]}, r"alpha has the shape \[\], allowed: \[3\]"),
        (lambda i: {"bias": i["bias"][:-1]}, r"bias has the shape \[7\], allowed: \[8\]"),
        (lambda i: {"gamma": i["bias"]}, r"gamma has the shape \[8\], allowed: \[2, 16\]"),
        (lambda i: {"x": i["x"].double()}, "x is torch.float64, allowed: bfloat16, float16, float32"),
        (lambda i: {"x": i["x"][0, 0]}, r"x has the shape \[16\], allowed: \[..., n, D\]"),
        (lambda i: {"x": i["x"][..., :0]}, "D"),
        (lambda i: {"x": i["x"].movedim(-1, 1)}, "n is 16|phi has the shape"),
    ],
)
@pytest.mark.parametrize("function", [mt.pre, mt.pre_forward], ids=["operator", "direct"])
def test_what_is_wrong_is_named(inputs, function, change, text):
    with pytest.raises(mhcjit.ArgumentError, match=text):
        function(**{**inputs, **change(inputs)})


def test_what_lies_elsewhere_is_refused(inputs):
    with pytest.raises(mhcjit.ArgumentError, match="alpha is on meta, but x is on|alpha is NULL"):
        mt.pre_forward(**{**inputs, "alpha": inputs["alpha"].to("meta")})
    with pytest.raises(mhcjit.ArgumentError, match="x is on meta, allowed: the CPU and CUDA devices"):
        mt.pre_forward(**{**inputs, "x": inputs["x"].to("meta")})


@pytest.mark.gpu
@pytest.mark.parametrize("function", [mt.pre, mt.pre_forward], ids=["operator", "direct"])
@pytest.mark.parametrize("name", ["x", "phi", "alpha"])
def test_host_and_device_memory_do_not_mix(function, name):
    inputs = reference.random_inputs((5,), 2, 16, device="cuda")
    with pytest.raises(mhcjit.ArgumentError, match="is on (cpu|cuda:0), but x is on (cpu|cuda:0)"):
        function(**{**inputs, name: inputs[name].cpu()})


@pytest.mark.parametrize("options", [{"norm_eps": -1.0}, {"hc_eps": float("inf")}, {"post_mult": float("nan")}])
def test_scalars_that_are_not_allowed_are_refused(inputs, options):
    with pytest.raises(mhcjit.ArgumentError, match=f"{next(iter(options))} is .*allowed: finite"):
        mt.pre(**inputs, **options)


def test_tensors_that_are_written_into_are_not_copied(inputs):
    h_in, h_post, h_res = mt.pre_forward(**inputs)
    for out, text in (
        ((h_in.T.contiguous().T, h_post, h_res), "h_in is written into and must be contiguous"),
        ((h_in, h_post[:-1], h_res), r"h_post has the shape \[4, 2\], allowed: \[5, 2\]"),
        ((h_in.float(), h_post, h_res), "h_in is fp32, allowed: bf16"),
        ((h_in, h_post), "out has 2 tensors, allowed: 3"),
    ):
        with pytest.raises(mhcjit.ArgumentError, match=text):
            mt.pre_forward(**inputs, out=out)
    flat = torch.empty(h_in.numel() + 1, dtype=h_in.dtype, device=h_in.device)
    with pytest.raises(mhcjit.ArgumentError, match="h_in is .* a multiple of 2 bytes; it must be a multiple of 16"):
        mt.pre_forward(**inputs, out=(flat[1:].view_as(h_in), h_post, h_res))
    *outputs, saved = mt.pre_forward(**inputs, save=True)
    with pytest.raises(mhcjit.ArgumentError, match="saved is written into and must be contiguous"):
        mt.pre_forward(**inputs, save=True, out=(*outputs, torch.stack([saved, saved], 1)[:, 0]))


def test_saved_values_of_another_call_are_refused(inputs):
    x, phi, alpha, _, _ = inputs.values()
    *_, saved = mt.pre_forward(**inputs, save=True)
    h_post = torch.zeros(5, 2, device=x.device)
    for wrong in (saved[1:], saved.double(), saved.to("meta")[1:]):
        with pytest.raises(mhcjit.ArgumentError, match="pre_backward: saved is "):
            mt.pre_backward(x, phi, alpha, None, wrong, h_post)


@pytest.mark.parametrize("leading", [(0,), (3, 0)])
def test_no_tokens(device, leading):
    inputs = reference.random_inputs(leading, 2, 16, gamma=True, device=device)
    leaves = [tensor.requires_grad_() for tensor in inputs.values()]
    h_in, h_post, h_res = mt.pre(*leaves)
    assert (h_in.shape, h_post.shape, h_res.shape) == ((*leading, 16), (*leading, 2), (*leading, 2, 2))
    (h_in.sum() + h_res.sum()).backward()
    for leaf in leaves:
        assert leaf.grad.shape == leaf.shape and not leaf.grad.any()


def test_one_token_needs_no_dimension_of_its_own(device):
    inputs = reference.random_inputs((), 2, 16, device=device)
    h_in, h_post, h_res = mt.pre(**inputs)
    assert (h_in.shape, h_post.shape, h_res.shape) == ((16,), (2,), (2, 2))


def test_shapes_that_are_remembered_are_few(device):
    inputs = reference.random_inputs((direct._KEPT_CALLS + 9,), 1, 1, device=device)
    for T in range(len(inputs["x"])):
        mt.pre_forward(**{**inputs, "x": inputs["x"][:T]})
    assert 0 < len(direct._calls) <= direct._KEPT_CALLS


def test_a_tensor_subclass_reaches_the_operator(device):
    class Logged(torch.Tensor):
        seen: list = []

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            cls.seen.append(str(function))
            return super().__torch_function__(function, types, args, kwargs or {})

    inputs = reference.random_inputs((5,), 2, 16, device=device)
    mt.pre(**{**inputs, "x": inputs["x"].as_subclass(Logged)})
    assert any("pre_inference" in function for function in Logged.seen)
