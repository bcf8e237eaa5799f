"""Argument structs as the library describes them."""

from __future__ import annotations

import pytest
import torch

import mhcjit
from mhcjit import _operator
from mhcjit.torch import direct, functional  # noqa: F401  registers the operators


def problem(op: str, gamma: bool = True) -> _operator.Problem:
    return _operator.Problem(op, 4, 24, "bf16", has_gamma=gamma)


@pytest.mark.parametrize("op", _operator.OPS)
def test_every_argument_but_the_size_can_be_passed(op: str):
    arguments, _ = _operator._arguments(problem(op))
    prepared = _operator.prepare(problem(op))
    assert ["struct_size", *prepared.members] == [argument.name for argument in arguments]
    call = prepared.call
    assert call.__code__.co_varnames[: call.__code__.co_argcount] == ("stream", *prepared.members)
    with pytest.raises(TypeError, match="no_such_tensor"):
        call(None, no_such_tensor=1)


def test_shapes_are_those_of_the_header():
    tensors = _operator.prepare(problem("pre_forward")).tensors
    shapes = {name: tensor.shape((2, 3)) for name, tensor in tensors.items()}
    assert shapes == {
        "x": (2, 3, 4, 24),
        "phi": (24, 96),
        "alpha": (3,),
        "bias": (24,),
        "gamma": (4, 24),
        "h_in": (2, 3, 24),
        "h_post": (2, 3, 4),
        "h_res": (2, 3, 4, 4),
        "inv_rms": (2, 3),
        "h_mix": (2, 3, 24),
        "h_pre": (2, 3, 4),
    }
    assert not _operator.prepare(problem("pre_forward", gamma=False)).tensors["gamma"].exists


@pytest.mark.parametrize("op", _operator.OPS)
def test_torch_schemas_take_the_tensors_in_the_order_of_the_struct(op: str):
    tensors = _operator.prepare(problem(op)).tensors.values()
    saved = ["inv_rms", "h_mix", "h_pre"]  # which `saved` packs
    schema = getattr(torch.ops.mhcjit, op).default._schema
    inputs = [argument.name for argument in schema.arguments if "Tensor" in str(argument.type)]
    assert [name for name in inputs if name != "saved"] == [
        tensor.name for tensor in tensors if not tensor.is_output and tensor.name not in saved
    ]
    outputs = {result.name for result in schema.returns} - {"saved"}
    assert outputs == {tensor.name for tensor in tensors if tensor.is_output} - set(saved)


def test_saved_is_laid_out_as_split_saved_takes_it_apart():
    tensors = _operator.prepare(problem("pre_forward")).tensors
    saved = torch.arange(6.0 * sum(torch.Size(tensors[name].row).numel() for name in ("inv_rms", "h_mix", "h_pre")))
    for name, view in zip(("inv_rms", "h_mix", "h_pre"), direct.split_saved(saved, (2, 3), 4)):
        assert view.shape == tensors[name].shape((2, 3))


def test_an_operator_is_prepared_once():
    assert _operator.prepare(problem("pre_forward")) is _operator.prepare(problem("pre_forward"))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"n": 17}, "n is 17, allowed: 1 to 16"),
        ({"d": 0}, "D"),
        ({"n": 1 << 40}, "n is 1099511627776"),
        ({"d": 1 << 70}, "D is"),
    ],
)
def test_a_problem_out_of_range_is_refused(changed: dict, text: str):
    with pytest.raises(mhcjit.ArgumentError, match=text):
        _operator.prepare(problem("pre_forward")._replace(**changed))


def test_token_counts_out_of_range_are_refused():
    prepared = _operator.prepare(problem("pre_backward"))
    with pytest.raises(mhcjit.ArgumentError, match="T is -1, allowed: 0 to 2147483647"):
        prepared.workspace_bytes(-1)
    assert 0 < prepared.workspace_bytes(7) <= prepared.workspace_bytes(700)


def test_compiling_for_an_architecture_needs_no_gpu(tmp_path):
    with pytest.raises(mhcjit.ArgumentError, match="sm_1"):
        _operator.compile_for(problem("pre_forward"), "sm_1")
