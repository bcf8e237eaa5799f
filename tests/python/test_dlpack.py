"""Arrays of other libraries: NumPy's on the CPU, CuPy's on a GPU, JAX's and PyTorch's on both."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

import mhcjit
import mhcjit.dlpack
import mhcjit.numpy
from mhcjit import _dlpack
from mhcjit.torch import reference

from bounds import check_forward, check_gradients


def tensors(outputs) -> list:
    return [None if output is None else torch.from_dlpack(output) for output in outputs]


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_forward_and_backward_are_right(device, dtype, gamma):
    inputs = reference.random_inputs((3, 70), 4, 40, dtype=dtype, gamma=gamma, device=device)
    forward = mhcjit.dlpack.pre_forward(**inputs)
    want = reference.pre(**inputs)
    check_forward(tensors(forward), want)
    dh_in, dh_post, dh_res, *_ = tensors(forward)
    x, phi, alpha, _, gamma_tensor = inputs.values()
    made = mhcjit.dlpack.pre_backward(x, phi, alpha, gamma_tensor, forward, dh_in, dh_post, dh_res)
    check_gradients(tensors(made), reference.gradients(**inputs, dh_in=dh_in, dh_post=dh_post, dh_res=dh_res))


def test_numpy_arrays_come_and_go_without_a_copy():
    inputs = reference.random_inputs((5,), 2, 16, dtype=torch.float32)
    given = {name: None if tensor is None else tensor.numpy() for name, tensor in inputs.items()}
    out = mhcjit.dlpack.pre_forward(**given)
    h_in = np.from_dlpack(out.h_in)
    assert h_in.ctypes.data == out.h_in.address
    assert np.array_equal(h_in, mhcjit.numpy.pre_forward(**given).h_in)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_jax_arrays_come_and_go_without_a_copy(device, dtype):
    jax = pytest.importorskip("jax", reason="JAX is not installed: this shows nothing of it")
    place = jax.devices(device)[0]
    inputs = reference.random_inputs((3, 70), 4, 40, dtype=getattr(torch, dtype), gamma=True, device=device)
    given = {name: jax.dlpack.from_dlpack(tensor) for name, tensor in inputs.items()}
    # Results that JAX may still be computing when it is asked for them.
    with jax.default_device(place):
        given = jax.jit(lambda arrays: jax.tree.map(lambda array: 2 * array - array, arrays))(given)
    out = mhcjit.dlpack.pre_forward(**given)
    forward = [jax.dlpack.from_dlpack(array) for array in out]
    assert [array.unsafe_buffer_pointer() for array in forward] == [array.address for array in out]
    assert forward[0].dtype == dtype and forward[0].devices() == {place}
    check_forward(tensors(forward), reference.pre(**inputs))
    x, phi, alpha, gamma = (given[name] for name in ("x", "phi", "alpha", "gamma"))
    made = mhcjit.dlpack.pre_backward(x, phi, alpha, gamma, out, *forward[:3])
    want = reference.gradients(*inputs.values(), *tensors(forward[:3]))
    check_gradients(tensors(map(jax.dlpack.from_dlpack, made)), want)


def test_memory_lives_while_somebody_has_it_and_no_longer():
    gc.collect()  # what other tests left
    inputs = reference.random_inputs((5,), 2, 16)
    out = mhcjit.dlpack.pre_forward(**inputs)
    exported = len(_dlpack._exported)
    tensor = torch.from_dlpack(out.h_in)
    want = tensor.clone()
    unused = out.h_in.__dlpack__()
    assert len(_dlpack._exported) == exported + 2
    del out, unused
    gc.collect()
    assert len(_dlpack._exported) == exported + 1
    assert torch.equal(tensor, want)
    del tensor
    gc.collect()
    assert len(_dlpack._exported) == exported


def test_inputs_are_given_back():
    deleted = []

    class Producer:
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

        def __dlpack__(self, **options):
            assert options == {}
            return self.tensor.__dlpack__()

        def __del__(self):
            deleted.append(self)

    inputs = reference.random_inputs((5,), 2, 16)
    references = inputs["phi"].untyped_storage()._use_count() if hasattr(torch.UntypedStorage, "_use_count") else None
    mhcjit.dlpack.pre_forward(**{**inputs, "phi": Producer(inputs["phi"])})
    gc.collect()
    assert len(deleted) == 1
    if references is not None:
        assert inputs["phi"].untyped_storage()._use_count() == references


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda i: {"phi": i["phi"].T}, "phi is not contiguous, allowed: row-major; pass a copy"),
        (lambda i: {"phi": i["phi"].T.contiguous()}, r"phi has the shape \[32, 8\], allowed: \[8, 32\]"),
        (lambda i: {"phi": i["phi"].double()}, "phi is type 2 of 64 bits, allowed: fp32"),
        (lambda i: {"x": [1.0, 2.0]}, "x is a list, allowed: an array that has __dlpack__"),
        (lambda i: {"x": i["x"][0, 0]}, r"x has the shape \[16\], allowed: \[..., n, D\]"),
    ],
)
def test_what_is_wrong_is_named(device, change, text):
    inputs = reference.random_inputs((5,), 2, 16, device=device)
    with pytest.raises(mhcjit.ArgumentError, match=text):
        mhcjit.dlpack.pre_forward(**{**inputs, **change(inputs)})


def test_no_tokens(device):
    inputs = reference.random_inputs((0,), 2, 16, device=device)
    assert torch.from_dlpack(mhcjit.dlpack.pre_forward(**inputs).h_res).shape == (0, 2, 2)


def test_an_array_is_neither_copied_nor_moved():
    out = mhcjit.dlpack.pre_forward(**reference.random_inputs((5,), 2, 16))
    for options in ({"copy": True}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match="neither copied nor moved"):
            out.h_in.__dlpack__(**options)
    assert repr(out.h_in) == "mhcjit.Array(shape=(5, 16), dtype=bf16, device=cpu)"


@pytest.mark.gpu
def test_streams_wait_for_each_other():
    """The inputs are still being written when the call is made, and the outputs when they are read."""
    inputs = reference.random_inputs((4096,), 4, 256, device="cuda")
    want = tensors(mhcjit.dlpack.pre_forward(**inputs))
    torch.cuda.synchronize()
    producer, worker, consumer = (torch.cuda.Stream() for _ in range(3))
    x, inputs["x"] = inputs["x"], torch.zeros_like(inputs["x"])
    with torch.cuda.stream(producer):
        torch.cuda._sleep(50_000_000)
        inputs["x"].copy_(x)
        out = mhcjit.dlpack.pre_forward(**inputs, stream=worker.cuda_stream)
    with torch.cuda.stream(consumer):
        copies = [tensor.clone() for tensor in tensors(out)]
    consumer.synchronize()
    for copy, expected in zip(copies, want):
        assert torch.equal(copy, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_cupy_arrays_come_and_go_without_a_copy(dtype):
    """On a stream of CuPy's, whose work on the inputs is under way when the call is made."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: this shows nothing of it")
    inputs = reference.random_inputs((512,), 4, 40, dtype=getattr(torch, dtype), gamma=True, device="cuda")
    torch.cuda.synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        given = {name: 2 * array - array for name, array in ((k, cupy.from_dlpack(v)) for k, v in inputs.items())}
        out = mhcjit.dlpack.pre_forward(**given, stream=stream.ptr)
        forward = [cupy.from_dlpack(array) for array in out]
        x, phi, alpha, gamma = (given[name] for name in ("x", "phi", "alpha", "gamma"))
        made = mhcjit.dlpack.pre_backward(x, phi, alpha, gamma, out, *forward[:3], stream=stream.ptr)
        gradients = [cupy.from_dlpack(array) for array in made]
    assert [array.data.ptr for array in (*forward, *gradients)] == [array.address for array in (*out, *made)]
    assert forward[0].dtype == dtype
    stream.synchronize()
    check_forward(tensors(forward), reference.pre(**inputs))
    check_gradients(tensors(gradients), reference.gradients(*inputs.values(), *tensors(forward[:3])))


@pytest.mark.gpu
def test_streams_of_cupy_wait_for_each_other():
    """x is late on one stream when the calls are made on a second, and a third reads; nothing differs from PyTorch."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: this shows nothing of it")
    inputs = reference.random_inputs((4096,), 4, 256, dtype=torch.float16, gamma=True, device="cuda")

    def both(x, phi, alpha, bias, gamma, **options):
        out = mhcjit.dlpack.pre_forward(x, phi, alpha, bias, gamma, **options)
        return *out, *mhcjit.dlpack.pre_backward(x, phi, alpha, gamma, out, *out[:3], **options)

    want = tensors(both(**inputs))
    given = {name: cupy.from_dlpack(tensor) for name, tensor in inputs.items()}
    x, given["x"] = given["x"], cupy.zeros_like(given["x"])
    torch.cuda.synchronize()
    producer, worker, consumer = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))
    with producer:
        with torch.cuda.stream(torch.cuda.ExternalStream(producer.ptr)):
            torch.cuda._sleep(50_000_000)
        cupy.copyto(given["x"], x)
        made = both(**given, stream=worker.ptr)
    with consumer:
        copies = [cupy.from_dlpack(array).copy() for array in made]
    consumer.synchronize()
    for copy, expected in zip(copies, want):
        assert torch.equal(torch.from_dlpack(copy), expected)
