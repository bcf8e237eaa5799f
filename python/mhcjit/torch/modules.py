"""Modules: the operator with its parameters, and a sublayer between residual streams."""

from __future__ import annotations

from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from mhcjit.torch import mixing
from mhcjit.torch.functional import pre


class MHCPre(nn.Module):
    """`mhcjit.torch.pre` with its parameters: (h_in, h_post, h_res) of the streams x [..., n, D].

    phi [M, n*D], alpha [3], bias [M] and, with `gamma`, gamma [n, D] stay fp32 whatever the model is cast to:
    `.to(torch.bfloat16)`, `.half()` and `.double()` move them to another device, but do not change their dtype.

    In the beginning alpha is 0.01 (arXiv 2512.24880, table 5) and gamma 1. The paper does not say what phi and bias
    are: as in Megatron, phi is Xavier-uniform and bias 0. Then h_pre is about 1/2, h_post about post_mult / 2, and what
    Sinkhorn makes of h_res about 1/n everywhere.
    """

    gamma: Optional[nn.Parameter]

    def __init__(
        self,
        n: int,
        D: int,
        gamma: bool = False,
        *,
        norm_eps: float = 1e-6,
        hc_eps: float = 1e-6,
        post_mult: float = 2.0,
        batch_invariant: bool = False,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.n, self.D = n, D
        self.norm_eps, self.hc_eps, self.post_mult = norm_eps, hc_eps, post_mult
        self.batch_invariant = batch_invariant
        rows = n * n + 2 * n

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, dtype=torch.float32, device=device))

        self.phi = parameter(rows, n * D)
        self.alpha = parameter(3)
        self.bias = parameter(rows)
        self.register_parameter("gamma", parameter(n, D) if gamma else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.phi)
        nn.init.constant_(self.alpha, 0.01)
        nn.init.zeros_(self.bias)
        if self.gamma is not None:
            nn.init.ones_(self.gamma)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return pre(
            x,
            self.phi,
            self.alpha,
            self.bias,
            self.gamma,
            norm_eps=self.norm_eps,
            hc_eps=self.hc_eps,
            post_mult=self.post_mult,
            batch_invariant=self.batch_invariant,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MHCPre:
        """What every cast and move of a module goes through: casts are left out here."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype is tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)

    def extra_repr(self) -> str:
        return f"n={self.n}, D={self.D}, gamma={self.gamma is not None}"


class MHCBlock(nn.Module):
    """A sublayer F between residual streams: x [..., n, D] to x' of the same shape.

        h_in, h_post, h_res = pre(x);  f = F(h_in);  H = sinkhorn(h_res)
        x'[r] = h_post[r] * f + sum_c H[r, c] * x[c]          with res_order "by_input" H[c, r] in its place

    `layer` maps [..., D] to [..., D]. One that returns a tuple has f first: the block returns (x', *rest). Further
    arguments of the block go to the layer. Keywords are those of `MHCPre`, and

        iterations, sinkhorn_eps    of Sinkhorn; the paper has 20 iterations
        res_order                   "by_output", the paper's, or "by_input": docs/coming-from.md says who has which
        compile                     Sinkhorn and the update of the streams as one region of torch.compile; None: where
                                    x is on a GPU, and Triton and a C compiler are installed
    """

    def __init__(
        self,
        layer: nn.Module,
        n: int,
        D: int,
        gamma: bool = False,
        *,
        iterations: int = 20,
        sinkhorn_eps: float = 1e-6,
        res_order: str = mixing.BY_OUTPUT,
        compile: Optional[bool] = None,
        **pre_options: Any,
    ) -> None:
        super().__init__()
        self.pre = MHCPre(n, D, gamma, **pre_options)
        self.layer = layer
        self.iterations, self.sinkhorn_eps = iterations, sinkhorn_eps
        self.res_order = mixing.checked_res_order(res_order)
        self.compile_mix = compile

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        h_in, h_post, h_res = self.pre(x)
        made = self.layer(h_in, *args, **kwargs)
        f, *rest = made if isinstance(made, tuple) else (made,)
        mix = mixing.mix
        if not torch.compiler.is_compiling():  # else it is part of the region that is being compiled
            compiles = mixing.can_compile(x) if self.compile_mix is None else self.compile_mix
            mix = mixing.compiled_mix() if compiles else mix
        streams = mix(
            x,
            f,
            h_post,
            h_res,
            iterations=self.iterations,
            eps=self.sinkhorn_eps,
            res_order=self.res_order,
        )
        return (streams, *rest) if isinstance(made, tuple) else streams

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}, res_order={self.res_order!r}"
