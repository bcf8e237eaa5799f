"""What only a GPU shows: graphs, streams, threads, contexts, memory."""

from __future__ import annotations

import threading

import pytest
import torch

import mhcjit
import mhcjit.torch as mt
from mhcjit.torch import measuring, reference

pytestmark = pytest.mark.gpu


def leaves(leading=(512,), n=4, d=256, gamma=True) -> dict:
    inputs = reference.random_inputs(leading, n, d, gamma=gamma, device="cuda")
    return {name: None if tensor is None else tensor.requires_grad_() for name, tensor in inputs.items()}


def detached(inputs: dict) -> dict:
    return {name: None if tensor is None else tensor.detach() for name, tensor in inputs.items()}


def test_a_graph_of_forward_and_backward_gives_what_eager_calls_give():
    inputs = leaves()
    mt.prepare(4, 256, gamma=True)

    def step():
        h_in, h_post, h_res = mt.pre(**inputs)
        loss = h_in.float().square().mean() + h_post.square().mean() + h_res.square().mean()
        return loss, *torch.autograd.grad(loss, list(inputs.values()))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in (1, 2):
        with torch.no_grad():
            inputs["x"].copy_(reference.random_inputs((512,), 4, 256, seed=seed)["x"])
        graph.replay()
        for out, want in zip(captured, step()):
            assert torch.equal(out, want)


@pytest.mark.parametrize("function", [mt.pre, mt.pre_forward], ids=["operator", "direct"])
def test_what_is_not_prepared_cannot_be_captured_and_the_capture_stays_valid(function):
    d = 264 if function is mt.pre else 272  # that nothing else here uses
    inputs = detached(leaves(d=d))
    graph = torch.cuda.CUDAGraph()
    twice = torch.zeros(4, device="cuda")
    with torch.cuda.graph(graph):
        with pytest.raises(mhcjit.Error, match="prepare") as caught:
            function(**inputs)
        twice += 2
    assert caught.value.status == mhcjit.Status.NOT_PREPARED
    graph.replay()
    assert torch.equal(twice.cpu(), torch.full((4,), 2.0))
    mt.prepare(4, d, gamma=True, backward=False)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        function(**inputs)


def test_work_is_on_the_current_stream_in_backward_too():
    inputs = leaves(leading=(4096,))
    upstream = measuring.upstream_of(mt.pre(**inputs))
    want = [*mt.pre(**inputs), *torch.autograd.grad(mt.pre(**inputs), list(inputs.values()), upstream)]
    torch.cuda.synchronize()
    x = inputs["x"].detach().clone()
    with torch.no_grad():
        inputs["x"].zero_()
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)  # whatever is on another stream now reads zeros
        with torch.no_grad():
            inputs["x"].copy_(x)
        outputs = mt.pre(**inputs)
        gradients = torch.autograd.grad(outputs, list(inputs.values()), upstream)
    side.synchronize()
    for out, expected in zip((*outputs, *gradients), want):
        assert torch.equal(out, expected)


def test_streams_at_the_same_time_give_the_same():
    inputs = leaves()
    want = torch.autograd.grad(mt.pre(**inputs)[0].float().sum(), list(inputs.values()))
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(4)]
    results = []
    for _ in range(8):
        for stream in streams:
            with torch.cuda.stream(stream):
                results.append(torch.autograd.grad(mt.pre(**inputs)[0].float().sum(), list(inputs.values())))
    torch.cuda.synchronize()
    for gradients in results:
        for out, expected in zip(gradients, want):
            assert torch.equal(out, expected)


def test_threads_that_have_used_no_cuda_yet():
    inputs = detached(leaves(leading=(37,), d=280))
    out = tuple(torch.empty_like(tensor) for tensor in mt.pre_forward(**detached(leaves(leading=(37,), d=280))))
    want = mt.pre_forward(**inputs)
    failures: list[BaseException] = []

    def run(first: bool):
        try:
            mt.pre_forward(**inputs, out=out) if first else mt.prepare(4, 288, gamma=True, device="cuda:0")
            torch.cuda.synchronize()
        except BaseException as error:
            failures.append(error)

    for first in (True, False):
        thread = threading.Thread(target=run, args=(first,))
        thread.start()
        thread.join()
    assert not failures
    for tensor, expected in zip(out, want):
        assert torch.equal(tensor, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device: this shows nothing of two")
def test_tensors_decide_on_which_device_the_work_is():
    inputs = leaves()
    want = torch.autograd.grad(mt.pre(**inputs)[0].float().sum(), list(inputs.values()))
    other = {name: tensor.detach().to("cuda:1").requires_grad_() for name, tensor in inputs.items()}
    assert torch.cuda.current_device() == 0
    gradients = torch.autograd.grad(mt.pre(**other)[0].float().sum(), list(other.values()))
    for out, expected in zip(gradients, want):
        assert torch.equal(out.cpu(), expected.cpu())
    assert torch.cuda.current_device() == 0
    with pytest.raises(mhcjit.ArgumentError, match="phi is on cuda:0, but x is on cuda:1"):
        mt.pre(**{**other, "phi": inputs["phi"]})


def test_peak_memory_is_that_of_what_is_asked_for():
    """No hidden copy of x: outputs, what is saved, gradients and workspace are all that is added to the inputs."""
    T, n, d = 8192, 4, 1024
    inputs = leaves(leading=(T,), n=n, d=d)
    upstream = measuring.upstream_of(mt.pre(**inputs))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outputs = mt.pre(**inputs)
    saved_bytes = 4 * T * (1 + n * n + 3 * n)
    forward = sum(tensor.nbytes for tensor in outputs) + saved_bytes
    assert torch.cuda.memory_allocated() - before <= forward + 8 * 512
    gradients = torch.autograd.grad(outputs, list(inputs.values()), upstream)
    made = sum(gradient.nbytes for gradient in gradients)
    from mhcjit import _operator

    workspace = sum(
        _operator.prepare(_operator.Problem(op, n, d, "bf16", True), 0).workspace_bytes(T) for op in _operator.OPS
    )
    peak = torch.cuda.max_memory_allocated() - before
    print(
        f"peak {peak / 2**20:.1f} MiB above the inputs: outputs and saved {forward / 2**20:.1f}, gradients "
        f"{made / 2**20:.1f}, workspace at most {workspace / 2**20:.1f}; x {inputs['x'].nbytes / 2**20:.1f}"
    )
    assert peak <= forward + made + workspace + 2**20
