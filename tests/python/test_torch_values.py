"""PyTorch's operators against the formulas in float64, on the CPU and on a GPU."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mhcjit.torch as mt
from mhcjit.torch import reference

from bounds import check_forward, check_gradients

OPTIONS = {"norm_eps": 1e-5, "hc_eps": 1e-3, "post_mult": 1.5}
DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=["bf16", "fp16", "fp32"])
GAMMA = pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])


def upstream_of(want: reference.Forward, dtype: torch.dtype, device: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    dtypes = (dtype, torch.float32, torch.float32)
    return [torch.randn(value.shape, generator=generator).to(device, wanted) for value, wanted in zip(want[:3], dtypes)]


def gradients_of(inputs: dict, upstream: list[torch.Tensor], **options: float) -> reference.Gradients:
    return reference.gradients(**inputs, **dict(zip(("dh_in", "dh_post", "dh_res"), upstream)), **options)


def through_autograd(inputs: dict, upstream: list[torch.Tensor], **options: float) -> list:
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items() if tensor is not None}
    outputs = mt.pre(**leaves, **options)
    torch.autograd.backward(outputs, upstream)
    return [outputs, [leaves[name].grad if name in leaves else None for name in inputs]]


@DTYPES
@GAMMA
@pytest.mark.parametrize("std", [0.05, 1.0, 20.0])
def test_pre_and_its_gradients_are_right(device, dtype, std, gamma):
    inputs = reference.random_inputs((3, 7), 4, 48, dtype=dtype, gamma=gamma, std=std, device=device)
    want = reference.pre(**inputs, **OPTIONS)
    upstream = upstream_of(want, dtype, device)
    outputs, gradients = through_autograd(inputs, upstream, **OPTIONS)
    check_forward(outputs, want)
    check_gradients(gradients, gradients_of(inputs, upstream, **OPTIONS))


@GAMMA
def test_direct_functions_give_the_bits_of_the_operator(device, gamma):
    inputs = reference.random_inputs((9,), 4, 48, gamma=gamma, device=device)
    upstream = upstream_of(reference.pre(**inputs), torch.bfloat16, device)
    outputs, gradients = through_autograd(inputs, upstream, **OPTIONS)
    x, phi, alpha, _, gamma_tensor = inputs.values()
    *direct, saved = mt.pre_forward(**inputs, **OPTIONS, save=True)
    made = mt.pre_backward(x, phi, alpha, gamma_tensor, saved, direct[1], *upstream, hc_eps=1e-3, post_mult=1.5)
    for one, other in zip((*outputs, *gradients), (*direct, *made)):
        assert one is other is None or torch.equal(one, other)


@DTYPES
def test_saved_values_are_right(device, dtype):
    inputs = reference.random_inputs((3, 7), 4, 48, dtype=dtype, std=20.0, device=device)
    *outputs, saved = mt.pre_forward(**inputs, **OPTIONS, save=True)
    check_forward([*outputs, *mt.split_saved(saved, (3, 7), 4)], reference.pre(**inputs, **OPTIONS))


def test_a_gradient_that_nobody_wants_is_not_made(device):
    inputs = reference.random_inputs((9,), 4, 48, gamma=True, device=device)
    want = gradients_of(inputs, upstream := upstream_of(reference.pre(**inputs), torch.bfloat16, device))
    for name in inputs:
        leaf = inputs[name].clone().requires_grad_()
        torch.autograd.backward(mt.pre(**{**inputs, name: leaf}), upstream)
        assert reference.error(leaf.grad, getattr(want, "d" + name)) <= 3e-3


def test_an_output_that_is_not_used_counts_as_zero(device):
    inputs = reference.random_inputs((9,), 4, 48, dtype=torch.float32, device=device)
    upstream = upstream_of(reference.pre(**inputs), torch.float32, device)
    for used in range(3):
        alone = [gradient if i == used else torch.zeros_like(gradient) for i, gradient in enumerate(upstream)]
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items() if tensor is not None}
        mt.pre(**leaves)[used].backward(upstream[used])
        check_gradients([*(leaf.grad for leaf in leaves.values()), None], gradients_of(inputs, alone))


def test_the_same_call_gives_the_same_bits(device):
    inputs = reference.random_inputs((257,), 4, 64, gamma=True, device=device)
    upstream = upstream_of(reference.pre(**inputs), torch.bfloat16, device)
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (through_autograd(inputs, upstream) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for one, other in zip((*first[0], *first[1]), (*again[0], *again[1])):
        assert torch.equal(one, other)


def test_a_row_of_nan_spoils_no_other_row(device):
    inputs = reference.random_inputs((9,), 4, 48, device=device)
    want = mt.pre(**inputs)
    inputs["x"][4] = float("nan")
    rest = [0, 1, 2, 3, 5, 6, 7, 8]
    for out, expected in zip(mt.pre(**inputs), want):
        assert torch.equal(out[rest], expected[rest])


def test_batch_invariant_rows_do_not_depend_on_the_batch(device):
    inputs = reference.random_inputs((300,), 4, 64, device=device)
    want = mt.pre(**inputs, batch_invariant=True)
    inputs["x"] = inputs["x"][123:124]
    for out, expected in zip(mt.pre(**inputs, batch_invariant=True), want):
        assert torch.equal(out, expected[123:124])


def test_threads_share_operators(device):
    """Eight at the same time, on what some of them are the first to ask for."""
    problems = [(n, T) for n in (1, 2, 3) for T in (1, 9, 40)]
    inputs = {problem: reference.random_inputs((problem[1],), problem[0], 16, device=device) for problem in problems}
    barrier = threading.Barrier(8)

    def run(index: int) -> list:
        barrier.wait()
        rotated = problems[index:] + problems[:index]
        return [(problem, through_autograd(inputs[problem], upstreams[problem])) for problem in rotated]

    upstreams = {key: upstream_of(reference.pre(**value), torch.bfloat16, device) for key, value in inputs.items()}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    alone = {problem: through_autograd(inputs[problem], upstreams[problem]) for problem in problems}
    for problem, (outputs, gradients) in itertools.chain(*results):
        for one, same in zip((*outputs, *gradients), itertools.chain(*alone[problem])):
            assert one is same is None or torch.equal(one, same)


@settings(max_examples=40)
@given(
    leading=st.lists(st.integers(0, 5), max_size=3),
    n=st.integers(1, 8),
    d=st.sampled_from([1, 2, 7, 8, 24, 65]),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    gamma=st.booleans(),
    std=st.sampled_from([0.05, 1.0, 20.0]),
    layout=st.sampled_from(["contiguous", "permuted", "strided", "expanded", "misaligned"]),
)
def test_any_shape_and_layout_on_the_cpu(leading, n, d, dtype, gamma, std, layout):
    inputs = reference.random_inputs(tuple(leading), n, d, dtype=dtype, gamma=gamma, std=std)
    inputs = {name: None if tensor is None else laid_out(tensor, layout) for name, tensor in inputs.items()}
    want = reference.pre(**inputs)
    upstream = [laid_out(gradient, layout) for gradient in upstream_of(want, dtype, "cpu")]
    outputs, gradients = through_autograd(inputs, upstream)
    check_forward(outputs, want)
    check_gradients(gradients, gradients_of(inputs, upstream))


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """A tensor of the same shape whose memory is not as the library wants it."""
    if layout == "permuted":
        return tensor.movedim(-1, 0).contiguous().movedim(0, -1)
    if layout == "strided":
        return torch.stack([tensor, tensor], -1)[..., 0]
    if layout == "expanded":
        return tensor[..., :1].expand(tensor.shape)
    if layout == "misaligned":
        return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)
    return tensor
