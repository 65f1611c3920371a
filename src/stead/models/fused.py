"""Faster decoder layers for the Llama family, equal to transformers' own up to rounding.

Knows nothing about data or losses. Each half of a layer (norm → attention → residual, norm → MLP →
residual) is one autograd function with a hand-written gradient: few passes over memory, nothing kept
that is cheap to have again. Legend: T tokens, E hidden size, H query heads, K key heads, D head size,
F intermediate size.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from stead.models import products
from stead.models.attention import attend
from stead.models.attention_backward import attend_backward
from stead.models.layers.packed import Packed, Slot, packable
from stead.models.segments import Segments

_LAYERS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer")
_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm")


def install(model: nn.Module) -> list[str]:
    """Replace the forward of every layer that can be computed here; return their names.

    CPU only: on a GPU, launches hide what these functions save. Layers with another activation,
    attention dropout or extra norms are left as they are.
    """
    done = []
    for name, module in model.named_modules():
        if type(module).__name__ in _LAYERS and _fits(module):
            module._stead = FusedLayer(module)
            module.forward = partial(_layer_forward, module)
            done.append(name)
        elif type(module).__name__ in _NORMS and not name.endswith("layernorm") and _on_cpu(module):
            module.forward = partial(_norm_forward, module)
        elif _is_slow(module) and not any(name.startswith(f"{layer}.") for layer in done):
            module.forward = partial(_product_forward, module)
    return done


def remove(model: nn.Module) -> None:
    """Undo `install`: weights are plain again and layers run their own code."""
    for module in model.modules():
        fused = module.__dict__.pop("_stead", None)
        if fused is not None:
            fused.release()
        if isinstance(module.__dict__.get("forward"), partial):
            del module.__dict__["forward"]


def _on_cpu(module: nn.Module) -> bool:
    return all(p.device.type == "cpu" for p in module.parameters())


def _is_slow(module: nn.Module) -> bool:
    """Say whether torch multiplies by the weight of this layer, a plain one, number by number."""
    plain = type(module) is nn.Linear or type(module) is Conv1D
    return plain and "forward" not in module.__dict__ and products.narrow(module.weight)


def _fits(layer: nn.Module) -> bool:
    attention, mlp = layer.self_attn, layer.mlp
    linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    linears += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    plain = all(packable(m) for m in linears) and isinstance(
        mlp.act_fn, nn.SiLU | type(nn.functional.silu)
    ) | (type(mlp.act_fn).__name__ in ("SiLUActivation", "SiLU"))
    return plain and _on_cpu(layer) and not getattr(attention, "attention_dropout", 0.0)


class FusedLayer:
    """The packed weights and constants of one decoder layer."""

    def __init__(self, layer: nn.Module) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = Packed([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = Packed([attention.o_proj])
        self.up = Packed([mlp.gate_proj, mlp.up_proj])
        self.down = Packed([mlp.down_proj])
        self.norms = (layer.input_layernorm, layer.post_attention_layernorm)
        self.D = attention.head_dim
        self.heads = attention.q_proj.out_features // self.D
        self.key_heads = attention.k_proj.out_features // self.D
        self.scale = attention.scaling
        window = getattr(attention, "sliding_window", None)
        if window is None and type(layer).__name__ == "MistralDecoderLayer":
            window = getattr(attention.config, "sliding_window", None)
        self.window = window

    def release(self) -> None:
        """Give the layers their weights back."""
        for packed in (self.qkv, self.out, self.up, self.down):
            packed.release()


def _layer_forward(
    layer: nn.Module,
    hidden_states: Tensor,
    *args: Any,  # Any: whatever transformers passes on to the original
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    segments: Segments | None = None,
    **kwargs: Any,
) -> Any:
    if segments is None or position_embeddings is None:
        original = type(layer).forward
        return original(layer, hidden_states, *args, position_embeddings=position_embeddings, **kwargs)  # fmt: skip
    if layer.training and getattr(layer, "gradient_checkpointing", False):
        # Our forward stands before transformers' own wrapper; dropout comes from a counter, so
        # torch's generator need not be kept.
        return checkpoint(
            _fused_forward, layer, hidden_states, position_embeddings, segments,
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
    return _fused_forward(layer, hidden_states, position_embeddings, segments)


def _fused_forward(
    layer: nn.Module, hidden_states: Tensor, turns: tuple[Tensor, Tensor], segments: Segments
) -> Tensor:
    fused: FusedLayer = layer._stead
    x = hidden_states[0]
    cos, sin = (t[0] for t in turns)
    one, two = fused.norms
    x = AttentionHalf.apply(
        x, one.weight, fused, one.variance_epsilon, cos, sin, segments,
        *fused.qkv.tensors(), *fused.out.tensors(),
    )  # fmt: skip
    x = MlpHalf.apply(
        x, two.weight, fused, two.variance_epsilon, *fused.up.tensors(), *fused.down.tensors()
    )
    return x[None]


def _norm_forward(module: nn.Module, hidden_states: Tensor) -> Tensor:
    normed: Tensor = Norm.apply(hidden_states, module.weight, module.variance_epsilon)
    return normed


def _product_forward(module: nn.Module, input: Tensor) -> Tensor:
    weight = module.weight.t() if type(module) is Conv1D else module.weight
    return products.linear(input, weight, module.bias)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, out: Tensor) -> Tensor:
    """Write weight·x/rms(x) into `out`, rounded once; return 1/rms as float32 [T, 1].

    Shapes: x and out [T, E]. Separate passes per type: torch's mixed-type operations are slower.
    Source: arXiv:1910.07467 eq. 4.
    """
    wide = x.float() if x.dtype != torch.float32 else x.clone()
    inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = inverse.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    wide.mul_(inverse).mul_(weight.float())
    out.copy_(wide)
    return inverse


def rms_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor, *, with_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of x (float32) and of the weight.

    Shapes: grad and x [T, E], inverse [T, 1]. With r = 1/rms and g = grad·weight:
    dx = r·g − x·r³·mean(g·x); dweight = Σ grad·x·r.
    """
    g, wide = grad.float(), x.float()
    d_weight = (g * wide).mul_(inverse).sum(0).to(weight.dtype) if with_weight else None
    g = g.mul_(weight.float()) if g is not grad else g * weight.float()
    shared = (g * wide).sum(-1, keepdim=True).mul_(inverse.pow(3)).div_(-x.shape[-1])
    return g.mul_(inverse).addcmul_(wide, shared), d_weight


class Norm(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """RMSNorm on its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Shapes: [..., E] → the same."""
        flat = x.reshape(-1, x.shape[-1])
        out = torch.empty_like(flat)
        inverse = rms_norm(flat, weight, epsilon, out)
        ctx.save_for_backward(flat, weight, inverse)
        return out.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Slot, ...]:
        """Return the gradients of x and the weight."""
        x, weight, inverse = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        dx, dw = rms_norm_backward(flat, x, weight, inverse, with_weight=ctx.needs_input_grad[1])
        return dx.to(grad.dtype).view_as(grad), dw, None


def rotate_(x: Tensor, cos: Tensor, sin: Tensor, *, back: bool = False) -> None:
    """Rotate pairs (i, i + D/2) of each head in place; `back` undoes it (the gradient).

    Shapes: x [T, heads, D], cos and sin [T, D]; sin's first half is negated by the caller.
    Source: arXiv:2104.09864 eq. 34, in the half-split order of transformers.
    """
    T, heads, D = x.shape
    c, s = cos[:, None], sin[:, None]
    if back:
        turned = (x * s).view(T, heads, 2, D // 2).flip(2).view(T, heads, D)
    else:
        turned = x.unflatten(2, (2, D // 2)).flip(2).view(T, heads, D).mul_(s)
    x.mul_(c).add_(turned)


def signed_sin(sin: Tensor) -> Tensor:
    """Return sin with its first half negated, as `rotate_` wants it. Shapes: [T, D]."""
    half = sin.shape[-1] // 2
    return torch.cat((-sin[:, :half], sin[:, half:]), -1)


class AttentionHalf(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """x + out(attend(rotate(qkv(norm(x))))). The tensors at the end are what autograd must know."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, layer: FusedLayer, epsilon: float, cos: Tensor,
        sin: Tensor, segments: Segments, *tensors: Slot,
    ) -> Tensor:  # fmt: skip
        """Shapes: x [T, E], cos and sin [T, D] → [T, E]."""
        wide = layer.qkv.input(x)
        inverse = rms_norm(x, weight, epsilon, wide[:, : layer.qkv.K])
        qkv, mask = layer.qkv.forward(wide)
        sin = signed_sin(sin)
        heads = qkv.view(x.shape[0], -1, layer.D)
        turning = layer.heads + layer.key_heads
        rotate_(heads[:, :turning], cos, sin)
        q, k, v = split_heads(heads, layer)
        mixed = layer.out.input(x)
        attended = mixed[:, : layer.out.K].view(x.shape[0], layer.heads, layer.D).transpose(0, 1)
        attend(q, k, v, segments, layer.scale, layer.window, out=attended)
        out, out_mask = layer.out.forward(mixed, residual=x)
        ctx.save_for_backward(x, weight, inverse, wide, qkv, mixed, cos, sin, mask, out_mask)
        ctx.layer, ctx.segments = layer, segments
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Slot, ...]:
        """Return the gradients of x, the norm's weight and the listed tensors."""
        x, weight, inverse, wide, qkv, mixed, cos, sin, mask, out_mask = ctx.saved_tensors
        layer: FusedLayer = ctx.layer
        grad = grad.contiguous()
        needs = ctx.needs_input_grad
        n = len(layer.qkv.tensors())
        d_mixed, d_out = layer.out.backward(grad, mixed, out_mask, needs[7 + n :], into_x=True)
        assert d_mixed is not None  # noqa: S101 - for the type checker: into_x was asked for
        d_qkv = torch.empty_like(qkv)
        heads, d_heads = (t.view(x.shape[0], -1, layer.D) for t in (qkv, d_qkv))
        q, k, v = split_heads(heads, layer)
        d_attended = d_mixed.unflatten(1, (layer.heads, layer.D)).transpose(0, 1)
        attend_backward(q, k, v, d_attended, ctx.segments, layer.scale, layer.window, split_heads(d_heads, layer))  # fmt: skip
        rotate_(d_heads[:, : layer.heads + layer.key_heads], cos, sin, back=True)
        into_x = needs[0] or needs[1]
        dx, d_in = layer.qkv.backward(d_qkv, wide, mask, needs[7 : 7 + n], into_x=into_x)
        d_x, d_weight = _through_norm(dx, grad, x, weight, inverse, needs)
        return (d_x, d_weight, None, None, None, None, None, *d_in, *d_out)


def split_heads(heads: Tensor, layer: FusedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Cut [T, H+2K, D] into q [H, T, D] and k, v [K, T, D], as views."""
    a, b = layer.heads, layer.heads + layer.key_heads
    by_head = heads.transpose(0, 1)
    return by_head[:a], by_head[a:b], by_head[b:]


def _through_norm(
    dx: Tensor | None, grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor,
    needs: Sequence[bool],
) -> tuple[Slot, Slot]:  # fmt: skip
    """Take the gradient of a half's inner input through the norm and add the residual's."""
    if dx is None or not (needs[0] or needs[1]):
        return None, None
    inner, d_weight = rms_norm_backward(dx, x, weight, inverse, with_weight=needs[1])
    return inner.to(grad.dtype).add_(grad), d_weight


class MlpHalf(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """x + down(silu(gate(norm(x)))·up(norm(x)))."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, layer: FusedLayer, epsilon: float, *tensors: Slot
    ) -> Tensor:
        """Shapes: [T, E] → [T, E]."""
        wide = layer.up.input(x)
        inverse = rms_norm(x, weight, epsilon, wide[:, : layer.up.K])
        both, mask = layer.up.forward(wide)
        gate, up = both.chunk(2, dim=1)
        silu = torch.nn.functional.silu(gate)
        inner = layer.down.input(x)
        torch.mul(silu, up, out=inner[:, : layer.down.K])
        out, down_mask = layer.down.forward(inner, residual=x)
        ctx.save_for_backward(x, weight, inverse, wide, both, silu, inner, mask, down_mask)
        ctx.layer = layer
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Slot, ...]:
        """Return the gradients of x, the norm's weight and the listed tensors."""
        x, weight, inverse, wide, both, silu, inner, mask, down_mask = ctx.saved_tensors
        layer: FusedLayer = ctx.layer
        grad = grad.contiguous()
        needs = ctx.needs_input_grad
        n = len(layer.up.tensors())
        d_inner, d_down = layer.down.backward(grad, inner, down_mask, needs[4 + n :], into_x=True)
        assert d_inner is not None  # noqa: S101 - for the type checker: into_x was asked for
        gate, up = both.chunk(2, dim=1)
        d_both = torch.empty_like(both)
        d_gate, d_up = d_both.chunk(2, dim=1)
        torch.mul(d_inner, silu, out=d_up)
        torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        into_x = needs[0] or needs[1]
        dx, d_in = layer.up.backward(d_both, wide, mask, needs[4 : 4 + n], into_x=into_x)
        d_x, d_weight = _through_norm(dx, grad, x, weight, inverse, needs)
        return (d_x, d_weight, None, None, *d_in, *d_down)
