"""NumPy arrays on the CPU against the formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mhcjit
import mhcjit.numpy
from mhcjit.torch import reference

from bounds import check_forward, check_gradients


def arrays(inputs):
    return {name: None if tensor is None else tensor.numpy() for name, tensor in inputs.items()}


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
@pytest.mark.parametrize("std", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=["fp16", "fp32"])
def test_forward_and_backward_are_right(dtype, std, gamma):
    inputs = reference.random_inputs((3, 5), 4, 40, dtype=dtype, gamma=gamma, std=std)
    out = mhcjit.numpy.pre_forward(**arrays(inputs), hc_eps=1e-3, norm_eps=1e-5, post_mult=1.5)
    want = reference.pre(**inputs, hc_eps=1e-3, norm_eps=1e-5, post_mult=1.5)
    check_forward([torch.from_numpy(array) for array in out], want)

    upstream = [torch.randn(value.shape).to(dtype if i == 0 else torch.float32) for i, value in enumerate(want[:3])]
    given = arrays(inputs)
    made = mhcjit.numpy.pre_backward(
        given["x"],
        given["phi"],
        given["alpha"],
        given["gamma"],
        out,
        *(gradient.numpy() for gradient in upstream),
        hc_eps=1e-3,
        post_mult=1.5,
    )
    gradients = reference.gradients(
        **inputs, **dict(zip(("dh_in", "dh_post", "dh_res"), upstream)), hc_eps=1e-3, norm_eps=1e-5, post_mult=1.5
    )
    check_gradients([None if array is None else torch.from_numpy(array) for array in made], gradients)


def test_arrays_of_any_layout_give_the_same():
    given = arrays(reference.random_inputs((6,), 2, 16, dtype=torch.float32))
    want = mhcjit.numpy.pre_forward(**given)
    given["x"] = np.asfortranarray(given["x"])
    given["phi"] = np.repeat(given["phi"], 2, axis=1)[:, ::2]
    for out, expected in zip(mhcjit.numpy.pre_forward(**given), want):
        assert np.array_equal(out, expected)


def test_no_tokens_give_empty_outputs_and_gradients_of_zero():
    given = arrays(reference.random_inputs((0, 3), 2, 16, dtype=torch.float32))
    out = mhcjit.numpy.pre_forward(**given)
    assert out.h_res.shape == (0, 3, 2, 2)
    made = mhcjit.numpy.pre_backward(given["x"], given["phi"], given["alpha"], None, out, out.h_in)
    assert made.dx.shape == (0, 3, 2, 16) and not made.dphi.any() and not made.dbias.any()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"phi": np.zeros((32, 8), np.float32)}, r"phi has the shape \[32, 8\], allowed: \[8, 32\]"),
        ({"alpha": np.zeros(3)}, "alpha is float64, allowed: fp32"),
        ({"x": np.zeros((5, 2, 16))}, "x is float64, allowed: bfloat16, float16, float32"),
        ({"x": np.zeros(16, np.float32)}, r"x has the shape \[16\], allowed: \[..., n, D\]"),
        ({"x": np.zeros((5, 2, 0), np.float32)}, "D is 0"),
        ({"norm_eps": float("nan")}, "norm_eps is nan"),
    ],
)
def test_what_is_wrong_is_named(changed, text):
    given = arrays(reference.random_inputs((5,), 2, 16, dtype=torch.float32))
    with pytest.raises(mhcjit.ArgumentError, match=text):
        mhcjit.numpy.pre_forward(**{**given, **changed})
