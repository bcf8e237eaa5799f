"""Each convention, stated in plain PyTorch as its users know it, against the adapter that leads to our operators.

The statements share nothing with mhcjit.torch.reference but the formulas. The streams differ in size, so that none can
be taken for another, and inputs in float64 are those that the adapter gets.
"""

from __future__ import annotations

import pytest
import torch

import mhcjit.torch as mt
from mhcjit.compat import liger, megatron, tilekernels, transformer_engine
from mhcjit.torch import accuracy, measuring, reference

STD = pytest.mark.parametrize("std", [0.05, 1.0, 20.0])
N, D = 4, 40
COEFFICIENTS = 5e-5  # accuracy's, and what comes of it through Sinkhorn


def streams(leading: tuple[int, ...], n: int, d: int, std: float, device: str, dtype=torch.bfloat16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(*leading, n, d, generator=generator) * (1 + torch.arange(n))[:, None]
    return (std * x).to(dtype).to(device)


def weights(*shape: int, device: str, std: float = 1.0, mean: float = 0.0, seed: int = 5) -> torch.Tensor:
    return (mean + std * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(device)


def close(out: torch.Tensor, want: torch.Tensor, bound: float = COEFFICIENTS) -> None:
    for check in accuracy.per_token(
        "output", out, want, accuracy.rounding(out) if out.dtype != torch.float32 else bound
    ):
        assert check.passed, check


def gradients_agree(made, wanted, parameters: int) -> None:
    """dx first, then those of parameters."""
    for i, (out, want) in enumerate(zip(made, wanted)):
        bound = accuracy.rounding(out) if i == 0 else 2e-4
        assert reference.error(out, want) <= bound, i
    assert len(made) == len(wanted) == parameters + 1


def added_sinkhorn(logits: torch.Tensor, repeat: int, eps: float) -> torch.Tensor:
    e = torch.exp(logits - logits.amax(-1, keepdim=True))
    p = e / e.sum(-1, keepdim=True) + eps
    p = p / (p.sum(-2, keepdim=True) + eps)
    for _ in range(repeat - 1):
        p = p / (p.sum(-1, keepdim=True) + eps)
        p = p / (p.sum(-2, keepdim=True) + eps)
    return p


# ---- TileKernels, vLLM, SGLang ----------------------------------------------------------------------------------


def stated_by_tilekernels(residual, fn, scale, base, norm_weight, norm_eps, pre_eps, post_mult, repeat, eps):
    n = residual.shape[-2]
    flat = residual.flatten(-2)
    weight = fn if norm_weight is None else fn * norm_weight
    mixes = torch.einsum("...k,mk->...m", flat, weight) / (flat.square().mean(-1, keepdim=True) + norm_eps).sqrt()
    pre_mix = torch.sigmoid(mixes[..., :n] * scale[0] + base[:n]) + pre_eps
    post_mix = torch.sigmoid(mixes[..., n : 2 * n] * scale[1] + base[n : 2 * n]) * post_mult
    comb = (mixes[..., 2 * n :] * scale[2] + base[2 * n :]).reshape(*mixes.shape[:-1], n, n)
    layer_input = torch.einsum("...n,...nd->...d", pre_mix, residual)
    return layer_input, post_mix[..., None], added_sinkhorn(comb, repeat, eps)


@STD
@pytest.mark.parametrize("norm_weight", [False, True], ids=["plain", "norm_weight"])
def test_tilekernels(device, std, norm_weight):
    residual = streams((2, 70), N, D, std, device)
    tensors = [weights(24, N * D, std=(N * D) ** -0.5, device=device), torch.tensor([1.1, 0.9, 1.05], device=device)]
    tensors += [weights(24, std=0.1, device=device)]
    tensors += [weights(N * D, mean=1.0, std=0.1, device=device)] if norm_weight else []
    leaves = [tensor.requires_grad_() for tensor in (residual, *tensors)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in leaves]
    layer_input, (post_mix, comb_mix) = tilekernels.mhc_pre(
        *leaves[:4], norm_weight=leaves[4] if norm_weight else None, norm_eps=1e-5, pre_eps=1e-3
    )
    outputs = (layer_input, post_mix, comb_mix)
    assert post_mix.shape == (2, 70, N, 1)
    want = stated_by_tilekernels(*doubles[:4], doubles[4] if norm_weight else None, 1e-5, 1e-3, 1.0, 10, 1e-6)
    for out, expected in zip(outputs, want):
        close(out, expected)
    f = weights(2, 70, D, device=device).bfloat16()
    behind = tilekernels.mhc_post(f, residual, post_mix, comb_mix)
    mixed = torch.einsum("...ij,...id->...jd", want[2], doubles[0]) + want[1] * f.double()[..., None, :]
    close(behind, mixed)
    upstream = measuring.upstream_of(outputs)
    gradients_agree(
        torch.autograd.grad(outputs, leaves, upstream),
        torch.autograd.grad(want, doubles, [gradient.double() for gradient in upstream]),
        len(tensors),
    )


def test_the_engines_function_has_its_arguments_and_results_in_their_order(device):
    residual = streams((7,), N, D, 1.0, device)
    fn, scale = weights(24, N, D, std=0.1, device=device), torch.tensor([1.1, 0.9, 1.05], device=device)
    base = weights(24, std=0.1, device=device)
    outputs = tilekernels.mhc_pre_big_fuse(residual, fn, scale, base, 1e-20, 1e-4, 1e-6, 2.0, 20)
    doubles = (residual.double(), fn.double().flatten(1), scale.double(), base.double())
    layer_input, post_mix, comb_mix = stated_by_tilekernels(*doubles, None, 1e-20, 1e-4, 2.0, 20, 1e-6)
    for out, expected in zip(outputs, (post_mix, comb_mix, layer_input)):
        close(out, expected)


def test_tilekernels_default_of_post_mult_is_1(device):
    residual, fn = streams((7,), N, D, 1.0, device), weights(24, N * D, std=0.1, device=device)
    scale, base = torch.ones(3, device=device), torch.zeros(24, device=device)
    one = tilekernels.mhc_pre(residual, fn, scale, base)[1][0]
    two = tilekernels.mhc_pre(residual, fn, scale, base, post_mult_value=2.0)[1][0]
    close(two, 2 * one.double())
    with pytest.raises(ValueError, match="mhc_mult is 4, allowed: 2"):
        tilekernels.mhc_pre(residual.unflatten(-1, (2, -1))[:, 0], fn, scale, base)


# ---- Liger ------------------------------------------------------------------------------------------------------


def stated_by_liger(x, layer, phi, b, alpha_pre, alpha_post, alpha_res, rms_eps, pre_eps, post_mult, tmax, eps):
    n = x.shape[-2]
    flat = x.flatten(-2)
    mix = flat @ phi / (flat.square().mean(-1, keepdim=True) + rms_eps).sqrt()
    h_pre = torch.sigmoid(alpha_pre * mix[..., :n] + b[:n]) + pre_eps
    h_post = post_mult * torch.sigmoid(alpha_post * mix[..., n : 2 * n] + b[n : 2 * n])
    h_res = added_sinkhorn((alpha_res * mix[..., 2 * n :] + b[2 * n :]).unflatten(-1, (n, n)), tmax, eps)
    f = layer((h_pre[..., None] * x).sum(-2))
    return torch.einsum("...oi,...id->...od", h_res, x) + h_post[..., None] * f[..., None, :]


@STD
@pytest.mark.parametrize("phi_dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
def test_liger(device, std, phi_dtype):
    n = 3
    x = streams((2, 35), n, D, std, device, torch.float32)
    phi = weights(n * D, 15, std=(n * D) ** -0.5, device=device).to(phi_dtype)
    alphas = [torch.tensor(value, device=device) for value in (1.1, 0.9, 1.05)]
    leaves = [tensor.requires_grad_() for tensor in (x, phi, weights(15, std=0.1, device=device), *alphas)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in leaves]

    def layer(h: torch.Tensor) -> torch.Tensor:
        return 0.5 * h.flip(-1)

    out = liger.liger_mhc_forward(leaves[0], layer, *leaves[1:], rms_eps=1e-5)
    want = stated_by_liger(doubles[0], layer, *doubles[1:], 1e-5, 0.0, 2.0, 20, 1e-6)
    close(out, want)
    (upstream,) = measuring.upstream_of([out])
    made = torch.autograd.grad(out, leaves, upstream)
    for gradient, expected in zip(made, torch.autograd.grad(want, doubles, upstream.double())):
        assert reference.error(gradient, expected) <= (1e-3 if gradient.dtype is torch.float16 else 2e-4)


def test_liger_adds_nothing_to_h_pre(device):
    """With h_pre almost 0 the default hc_eps of 1e-6 would be half of it."""
    x = streams((5,), 2, D, 1.0, device, torch.float32)
    b = torch.tensor([-13.8, -13.8, 0, 0, 0, 0, 0, 0], device=device)
    zeros = [torch.zeros((), device=device)] * 3
    seen = []
    liger.liger_mhc_forward(x, lambda h: seen.append(h) or h, torch.zeros(2 * D, 8, device=device), b, *zeros)
    close(seen[0], torch.sigmoid(b[:1].double()) * x.double().sum(-2))


def test_liger_phi_that_is_ours_is_refused_where_its_shape_shows_it():
    with pytest.raises(ValueError, match=r"phi has the shape \[8, 80\], allowed: \[n\*D, 8\]"):
        liger.parameters(torch.zeros(8, 2 * D), torch.zeros(8), *[torch.zeros(())] * 3)


# ---- TransformerEngine ------------------------------------------------------------------------------------------


@STD
def test_transformer_engine(device, std):
    x = transformer_engine.streams(streams((35, 2), N, D, std, device))  # [s, b, D, n]
    phi = weights(24, D * N, std=(N * D) ** -0.5, device=device)
    alpha, beta = torch.tensor([1.1, 0.9, 1.05], device=device), weights(1, 24, std=0.1, device=device)
    leaves = [tensor.requires_grad_() for tensor in (x, phi, alpha, beta)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in leaves]
    outputs = transformer_engine.mhc_pre(*leaves)

    x64, phi64, alpha64, beta64 = doubles
    flat = x64.reshape(35, 2, D * N)  # as it lies in memory
    rms = (flat.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()
    H = flat @ phi64.T / rms
    h_pre = torch.sigmoid(alpha64[0] * H[..., :N] + beta64[0, :N])
    h_post = 2 * torch.sigmoid(alpha64[1] * H[..., N : 2 * N] + beta64[0, N : 2 * N])
    h_res = (alpha64[2] * H[..., 2 * N :] + beta64[0, 2 * N :]).unflatten(-1, (N, N))
    want = ((x64 @ h_pre[..., None])[..., 0], h_post, h_res)
    for out, expected in zip(outputs, want):
        close(out, expected)
    upstream = measuring.upstream_of(outputs)
    gradients_agree(
        torch.autograd.grad(outputs, leaves, upstream),
        torch.autograd.grad(want, doubles, [gradient.double() for gradient in upstream]),
        3,
    )
    # out = f H_post + x H_res, streams innermost, is by_input.
    f = weights(35, 2, D, device=device).bfloat16()
    behind = mt.post(transformer_engine.streams(x), f, outputs[1], outputs[2], res_order="by_input")
    mixed = f.double()[..., None] @ h_post[..., None, :] + x64 @ h_res
    close(transformer_engine.streams(behind), mixed)


# ---- Megatron ---------------------------------------------------------------------------------------------------


def megatron_tensors(device: str, std: float) -> list[torch.Tensor]:
    hidden_states = streams((35, 2), N, D, std, device).flatten(-2)
    alphas = [torch.tensor([value], device=device) for value in (1.1, 0.9, 1.05)]
    weight, bias = weights(24, N * D, std=(N * D) ** -0.5, device=device), weights(24, std=0.1, device=device)
    return [hidden_states, weight, *alphas, bias]


def stated_by_megatron(hidden_states, weight, alpha_pre, alpha_post, alpha_res, bias, divisor, h_eps):
    proj = hidden_states @ weight.T
    alpha = torch.cat([alpha_pre.expand(N), alpha_post.expand(N), alpha_res.expand(N * N)])
    h = proj / divisor(hidden_states) * alpha + bias
    h_pre = h[..., :N].sigmoid() + h_eps
    aggregated = (hidden_states.unflatten(-1, (N, D)) * h_pre[..., None]).sum(-2)
    return aggregated, 2 * h[..., N : 2 * N].sigmoid(), h[..., 2 * N :].unflatten(-1, (N, N))


def outside(eps: float):
    return lambda x: x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5 + eps


@STD
@pytest.mark.parametrize("inside", [False, True], ids=["eps_0", "single_pass"])
def test_megatron(device, std, inside):
    leaves = [tensor.requires_grad_() for tensor in megatron_tensors(device, std)]
    doubles = [tensor.detach().double().requires_grad_() for tensor in leaves]
    norm_eps = 1e-3 if inside else 0.0
    outputs = megatron.mhc_pre(*leaves, N, norm_eps, 1e-4, eps_inside_sqrt=inside)
    divisor = (lambda x: (x.square().mean(-1, keepdim=True) + norm_eps).sqrt()) if inside else outside(0)
    want = stated_by_megatron(*doubles, divisor, 1e-4)
    for out, expected in zip(outputs, want):
        close(out, expected)
    upstream = measuring.upstream_of(outputs)
    gradients_agree(
        torch.autograd.grad(outputs, leaves, upstream),
        torch.autograd.grad(want, doubles, [gradient.double() for gradient in upstream]),
        5,
    )


def test_megatron_eps_outside_the_root_is_refused():
    tensors = megatron_tensors("cpu", 1.0)
    with pytest.raises(
        ValueError, match=r"norm_eps 1e-06 is outside the root.*No norm_eps inside the root is the same"
    ):
        megatron.mhc_pre(*tensors, N)


def test_megatron_eps_cannot_be_had_by_another_norm_eps():
    """What the refusal is for: one norm_eps agrees where rms(x) is 1e-2 and is a third off where it is 1e-6."""
    errors = []
    for std in (1e-2, 1e-6):
        tensors = [tensor.double() for tensor in megatron_tensors("cpu", 1.0)]
        tensors[0] *= std / tensors[0].square().mean().sqrt()
        want = stated_by_megatron(*tensors, outside(1e-6), 0.0)
        near = stated_by_megatron(*tensors, lambda x: (x.square().mean(-1, keepdim=True) + 1e-12).sqrt(), 0.0)
        errors.append(reference.error(near[2], want[2]))
    assert errors[0] <= 1e-4 and errors[1] >= 0.2


# ---- What no shape shows ----------------------------------------------------------------------------------------


def test_with_D_equal_to_n_a_wrong_layout_of_x_is_not_seen_but_is_another_result():
    """docs/coming-from.md says so: nothing here can tell [.., n, D] from [.., D, n]."""
    inputs = reference.random_inputs((5,), 4, 4)
    right = mt.pre(**inputs)
    inputs["x"] = transformer_engine.streams(inputs["x"])
    wrong = mt.pre(**inputs)
    for out, other in zip(right, wrong):
        assert out.shape == other.shape
        assert reference.error(other, out) > 0.05


def test_a_wrong_order_of_h_res_is_not_seen_but_is_another_result():
    x, f = streams((5,), N, D, 1.0, "cpu"), weights(5, D, device="cpu")
    h_post, h_res = torch.ones(5, N), mt.sinkhorn(weights(5, N, N, device="cpu"))
    by_output, by_input = (mt.post(x, f, h_post, h_res, res_order=order) for order in ("by_output", "by_input"))
    assert by_output.shape == by_input.shape
    assert reference.error(by_input, by_output) > 0.05
    assert torch.equal(by_input, mt.post(x, f, h_post, h_res.mT, res_order="by_output"))


# ---- Checkpoints ------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_liger_becomes_one_of_a_block():
    layer = torch.nn.Linear(D, D)
    theirs = {"phi": weights(2 * D, 8, std=0.1, device="cpu").half(), "b": weights(8, std=0.1, device="cpu")}
    theirs |= {"alpha_pre": torch.tensor(1.0), "alpha_post": torch.tensor(0.8), "alpha_res": torch.tensor(1.2)}
    theirs |= {"layer." + name: tensor.detach() for name, tensor in layer.state_dict().items()}
    block = mt.MHCBlock(torch.nn.Linear(D, D), 2, D, hc_eps=0.0)
    block.load_state_dict(mt.convert_state_dict(theirs, "liger"))
    x = streams((5,), 2, D, 1.0, "cpu", torch.float32)
    names = ("phi", "b", "alpha_pre", "alpha_post", "alpha_res")
    want = liger.liger_mhc_forward(x, layer, *(theirs[name] for name in names))
    assert torch.equal(block(x), want)


def test_a_checkpoint_of_an_engine_keeps_what_is_not_ours():
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = mt.MHCBlock(torch.nn.Linear(D, D), N, D, res_order="by_input")
            self.ffn = mt.MHCBlock(torch.nn.Linear(D, D), N, D, res_order="by_input")

    theirs = {}
    for i in range(2):
        for j, part in enumerate(("attn", "ffn")):
            theirs[f"layers.{i}.hc_{part}_fn"] = weights(24, N * D, seed=10 * i + j, device="cpu")
            theirs[f"layers.{i}.hc_{part}_scale"] = weights(3, seed=10 * i + j, device="cpu")
            theirs[f"layers.{i}.hc_{part}_base"] = weights(24, seed=10 * i + j, device="cpu")
            theirs |= {f"layers.{i}.{part}.layer.{k}": v for k, v in torch.nn.Linear(D, D).state_dict().items()}
    ours = mt.convert_state_dict(theirs, "tilekernels", {"hc_attn_": "attn.pre.", "hc_ffn_": "ffn.pre."})
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([Layer(), Layer()])})
    model.load_state_dict(ours)
    assert torch.equal(model["layers"][1].ffn.pre.phi, theirs["layers.1.hc_ffn_fn"])
    assert torch.equal(model["layers"][0].attn.pre.alpha, theirs["layers.0.hc_attn_scale"])
    assert torch.equal(ours["layers.0.attn.layer.bias"], theirs["layers.0.attn.layer.bias"])


def test_checkpoints_of_megatron_and_transformer_engine():
    _, weight, alpha_pre, alpha_post, alpha_res, bias = megatron_tensors("cpu", 1.0)
    theirs = {"hc.mapping_proj.weight": weight, "hc.alpha_pre": alpha_pre, "hc.alpha_post": alpha_post}
    theirs |= {"hc.alpha_res": alpha_res, "hc.bias": bias, "fc.bias": torch.ones(3)}
    ours = mt.convert_state_dict(theirs, "megatron", {"": ""})
    assert ours.keys() == {"hc.phi", "hc.alpha", "hc.bias", "fc.bias"}
    assert torch.equal(ours["hc.alpha"], torch.tensor([1.1, 0.9, 1.05]))
    theirs = {"phi": weight, "alpha": ours["hc.alpha"], "beta": bias[None]}
    phi = mt.convert_state_dict(theirs, "transformer_engine", {"": ""})["phi"]
    assert torch.equal(phi.view(24, N, D), weight.view(24, D, N).mT)


def test_a_checkpoint_without_the_tensors_is_an_error():
    with pytest.raises(ValueError, match="no tensors of 'liger' are there"):
        mt.convert_state_dict({"layer.bias": torch.zeros(3), "alpha_pre": torch.zeros(())}, "liger")
    with pytest.raises(ValueError, match="convention is 'other', allowed: 'tilekernels'"):
        mt.convert_state_dict({}, "other")
