"""Modules: parameters, what they compute, casts, checkpoints, warming up."""

from __future__ import annotations

import io
import sys
import types
from typing import Optional

import pytest
import torch
from torch import nn

import mhcjit
import mhcjit.torch as mt
from mhcjit.torch import measuring, mixing, reference

from bounds import check_forward


def block_of(device: str, gamma: bool = True, compile: Optional[bool] = False, **options) -> mt.MHCBlock:
    """One that does not compile on a GPU, which takes 10 s for each set of dtypes."""
    torch.manual_seed(1)
    block = mt.MHCBlock(nn.Linear(24, 24), 4, 24, gamma, compile=compile, **options).to(device)
    with torch.no_grad():  # weights of a model that has been trained
        block.pre.alpha.copy_(torch.tensor([1.1, 0.9, 1.05]))
        block.pre.bias.normal_(std=0.1)
    return block


def stated(block: mt.MHCBlock, x: torch.Tensor) -> torch.Tensor:
    """The block in float64."""
    pre = block.pre
    h_in, h_post, h_res, *_ = reference.pre(x, pre.phi, pre.alpha, pre.bias, pre.gamma)
    f = nn.functional.linear(h_in, block.layer.weight.double(), block.layer.bias.double())
    P = torch.exp(h_res)
    P = P / P.sum(-1, keepdim=True) + 1e-6
    for step in range(39):
        P = P / (P.sum(-2 if step % 2 == 0 else -1, keepdim=True) + 1e-6)
    H = P if block.res_order == "by_output" else P.mT
    return torch.einsum("...rc,...cd->...rd", H, x.double()) + h_post[..., None] * f[..., None, :]


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
def test_pre_is_the_function_with_the_published_initialisation(device, gamma):
    module = mt.MHCPre(4, 24, gamma, norm_eps=1e-20, hc_eps=1e-3, post_mult=1.5, device=device)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
        "phi": (24, 96),
        "alpha": (3,),
        "bias": (24,),
        **({"gamma": (4, 24)} if gamma else {}),
    }
    assert torch.equal(module.alpha.cpu(), torch.full((3,), 0.01)) and not module.bias.any()
    assert 0 < module.phi.abs().max() <= (6 / (24 + 96)) ** 0.5
    x = reference.random_inputs((2, 70), 4, 24, device=device)["x"]
    want = reference.pre(
        x, *(module.phi, module.alpha, module.bias, module.gamma), norm_eps=1e-20, hc_eps=1e-3, post_mult=1.5
    )
    check_forward(module(x), want)


@pytest.mark.parametrize(("compiles", "res_order"), [(False, "by_output"), (False, "by_input"), (True, "by_output")])
def test_a_block_and_its_gradients_are_right(device, compiles, res_order):
    block = block_of(device, compile=compiles, res_order=res_order)
    x = reference.random_inputs((2, 35), 4, 24, dtype=torch.float32, device=device)["x"].requires_grad_()
    out = block(x)
    want = stated(block, x)
    assert reference.error(out, want) <= 2e-5
    (upstream,) = measuring.upstream_of([out])
    leaves = [x, *block.parameters()]
    made = torch.autograd.grad(out, leaves, upstream)
    for gradient, expected in zip(made, torch.autograd.grad(want, leaves, upstream.double())):
        assert reference.error(gradient, expected) <= 1e-4


def test_compiling_is_by_default_for_gpus_and_one_region_for_every_number_of_tokens(device, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        mixing, "compiled_mix", lambda: lambda *args, **kwargs: compiled.append(1) or mixing.mix(*args, **kwargs)
    )
    block = block_of(device, compile=None)
    x = torch.randn(3, 4, 24, device=device)
    block(x)
    assert bool(compiled) == mixing.can_compile(x)
    assert device == "cuda" or not compiled
    block.compile_mix = True
    block(x)
    assert compiled


def test_the_region_has_sinkhorn_as_one_operation():
    """Unrolled, its 20 iterations take a minute to compile."""
    nodes = []

    def backend(graph, example_inputs):
        nodes.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    x, f = torch.randn(5, 4, 24), torch.randn(5, 24)
    compiled = torch.compile(mixing.mix, fullgraph=True, backend=backend)
    compiled(x, f, torch.rand(5, 4), torch.randn(5, 4, 4))
    assert [name for name in nodes if "sinkhorn" in name] == ["mhcjit.sinkhorn"]
    assert not any("softmax" in name for name in nodes)
    torch._dynamo.reset()


def test_a_model_of_blocks_compiles_as_a_whole(device):
    model = nn.Sequential(block_of(device), block_of(device))
    x = torch.randn(7, 4, 24, device=device)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
    torch._dynamo.reset()


def test_sinkhorn_is_an_operator_with_a_derivative(device):
    logits = (2 * torch.randn(3, 4, 4, dtype=torch.float64, device=device)).requires_grad_()
    assert torch.autograd.gradcheck(lambda tensor: mt.sinkhorn(tensor, 5), logits)
    results = torch.library.opcheck(torch.ops.mhcjit.sinkhorn.default, (logits, 3, 1e-6))
    assert set(results.values()) == {"SUCCESS"}
    assert torch.allclose(mt.sinkhorn(logits).sum(-2), torch.ones(3, 4, dtype=torch.float64, device=device), atol=1e-5)
    with pytest.raises(ValueError, match="iterations is 0, allowed: 1 or more"):
        mt.sinkhorn(logits, 0)


@pytest.mark.parametrize("order", ["rows", "", None])
def test_an_order_that_is_not_known_is_refused_when_the_block_is_made(order):
    with pytest.raises(ValueError, match="allowed: 'by_output', 'by_input'"):
        mt.MHCBlock(nn.Identity(), 4, 24, res_order=order)


def test_what_else_a_layer_takes_and_gives_passes_through(device):
    class Attention(nn.Module):
        def forward(self, h, mask, scale=1.0):
            return scale * h * mask, "weights"

    block = mt.MHCBlock(Attention(), 4, 24).to(device)
    x = torch.randn(3, 4, 24, device=device)
    out, rest = block(x, torch.ones(3, 1, device=device), scale=2.0)
    assert out.shape == x.shape and rest == "weights"
    assert not torch.equal(out, block(x, torch.ones(3, 1, device=device), scale=1.0)[0])


@pytest.mark.parametrize("cast", ["bfloat16", "half", "double"])
def test_parameters_stay_fp32_when_a_model_is_cast(device, cast):
    model = nn.Sequential(block_of(device))
    before = {name: tensor.clone() for name, tensor in model[0].pre.state_dict().items()}
    model[0].pre.phi.grad = torch.ones_like(model[0].pre.phi)
    getattr(model, cast)()
    for name, tensor in model[0].pre.state_dict().items():
        assert tensor.dtype is torch.float32 and torch.equal(tensor, before[name])
    assert model[0].pre.phi.grad.dtype is torch.float32
    assert model[0].layer.weight.dtype is getattr(
        torch, {"bfloat16": "bfloat16", "half": "float16", "double": "float64"}[cast]
    )
    model.to("meta", torch.float16)
    assert model[0].pre.phi.is_meta and model[0].pre.phi.dtype is torch.float32


def test_a_model_in_bf16_gives_x_in_bf16(device):
    block = block_of(device).bfloat16()
    x = torch.randn(70, 4, 24, device=device).bfloat16()
    out = block(x)
    assert out.dtype is torch.bfloat16
    assert reference.error(out, stated(block, x)) <= 6e-3  # h_in, f and x' are rounded


def test_autocast_leaves_parameters_and_mixing_in_fp32(device):
    block = block_of(device)
    x = torch.randn(70, 4, 24, device=device, requires_grad=True)
    with torch.autocast(device, dtype=torch.bfloat16):
        out = block(x)
    assert out.dtype is torch.float32
    out.sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in block.parameters())
    h_in, h_post, h_res = block.pre(x.detach().bfloat16())
    f = nn.functional.linear(h_in, block.layer.weight.bfloat16(), block.layer.bias.bfloat16())
    assert torch.equal(out, mixing.mix(x, f, h_post, h_res))  # not rounded to bf16 by autocast


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "gamma"])
def test_a_state_dict_comes_back(device, gamma):
    block = block_of(device, gamma)
    file = io.BytesIO()
    torch.save(block.state_dict(), file)
    file.seek(0)
    again = mt.MHCBlock(nn.Linear(24, 24), 4, 24, gamma, compile=False).to(device)
    again.load_state_dict(torch.load(file, weights_only=True))
    x = torch.randn(3, 4, 24, device=device)
    assert torch.equal(again(x), block(x))
    with pytest.raises(RuntimeError, match="pre.gamma"):
        mt.MHCBlock(nn.Linear(24, 24), 4, 24, not gamma).load_state_dict(block.state_dict())


def test_fsdp_keeps_parameters_in_fp32_with_a_policy_of_their_own(tmp_path):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("this PyTorch has no fully_shard")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        block, x = block_of("cpu"), torch.randn(3, 4, 24)
        want = block.pre(x.bfloat16())
        own = fsdp.MixedPrecisionPolicy(param_dtype=torch.float32, cast_forward_inputs=False)
        fsdp.fully_shard(block.pre, mesh=mesh, mp_policy=own)
        fsdp.fully_shard(block, mesh=mesh, mp_policy=fsdp.MixedPrecisionPolicy(param_dtype=torch.bfloat16))
        seen = []
        block.layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        out = block(x)
        assert out.dtype is torch.bfloat16 and torch.equal(seen[0], want[0])
        out.sum().backward()
        assert all(p.grad.dtype is torch.float32 for p in block.pre.parameters())
    finally:
        torch.distributed.destroy_process_group()


# ---- Warming up -------------------------------------------------------------------------------------------------


def model_of_three_shapes() -> nn.Module:
    blocks = [mt.MHCBlock(nn.Identity(), 2, 8) for _ in range(3)] + [mt.MHCBlock(nn.Identity(), 2, 8, gamma=True)]
    return nn.Sequential(*blocks, nn.Linear(8, 8), mt.MHCPre(3, 16))


def test_warmup_prepares_each_shape_once(device, monkeypatch):
    prepared = []

    def prepare(n, D, dtype, **options):
        prepared.append((n, D, dtype, options))
        mt.prepare(n, D, dtype, **options)

    monkeypatch.setattr("mhcjit.torch.warming.prepare", prepare)
    model = model_of_three_shapes().to(device)
    assert mt.warmup(model, dtype=torch.float16, backward=False, progress=False) == 3
    assert {shape[:3] for shape in prepared} == {(2, 8, torch.float16), (3, 16, torch.float16)}
    assert sorted(options["gamma"] for *_, options in prepared) == [False, False, True]
    assert all(options["device"] == model[0].pre.phi.device and not options["backward"] for *_, options in prepared)
    assert mt.warmup(nn.Linear(8, 8)) == 0
    with pytest.raises(mhcjit.ArgumentError, match="dtype is torch.float64"):
        mt.warmup(nn.Linear(8, 8), dtype=torch.float64)


def test_warmup_for_architectures_compiles_both_operators(monkeypatch):
    compiled = []
    monkeypatch.setattr("mhcjit._operator.compile_for", lambda problem, arch: compiled.append((problem, arch)))
    model = model_of_three_shapes()
    assert mt.warmup(model, ["sm_90a", "sm_80"], dtype=torch.float16, fp32_dx=True, progress=False) == 12
    assert len(set(compiled)) == 12
    assert {arch for _, arch in compiled} == {"sm_90a", "sm_80"}
    assert {(p.n, p.d, p.has_gamma) for p, _ in compiled} == {(2, 8, False), (2, 8, True), (3, 16, False)}
    assert {(p.op, p.dtype, p.fp32_dx) for p, _ in compiled} == {
        ("pre_forward", "fp16", False),
        ("pre_backward", "fp16", True),
    }
    assert mt.warmup(model, ["sm_80"], backward=False, progress=False) == 3


@pytest.mark.parametrize("installed", [False, True])
def test_warmup_has_a_bar_where_tqdm_is_installed_and_there_is_more_than_one(monkeypatch, installed):
    shown = []
    bar = types.ModuleType("tqdm.auto")
    bar.tqdm = lambda tasks, **options: shown.append(len(tasks)) or tasks
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm") if installed else None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", bar if installed else None)
    assert mt.warmup(model_of_three_shapes()) == 3
    assert mt.warmup(mt.MHCPre(2, 8)) == 1
    assert shown == ([3] if installed else [])
