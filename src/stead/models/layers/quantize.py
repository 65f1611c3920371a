"""Rounding of weights to 4 or 8 bits and back, as QLoRA and LLM.int8() do it; codes equal bitsandbytes'.

Knows nothing about layers. Sources: 4-bit NormalFloat and double quantization, arXiv:2305.14314 §3 and
appendix E; row-wise int8, arXiv:2208.07339 §2.1; dynamic 8-bit map, arXiv:2110.02861 §2.2. Legend:
N rows, K columns, C blocks.
"""

from functools import cache

import torch
from torch import Tensor

BLOCK = 64  # weights that share a scale; the paper's choice
_SCALES = 256  # scales that share a scale of their own
_TINY = 1e-38  # keeps a block of zeros from dividing by zero
TABLES: dict[str, tuple[float, ...]] = {
    "nf4": (
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
        0.7229568362236023, 1.0,
    ),
    # Sign, two bits of exponent, one of mantissa; divided by 12, as bitsandbytes stores it.
    "fp4": (
        0.0, 0.0052083333, 0.6666666667, 1.0, 0.3333333333, 0.5, 0.1666666667, 0.25,
        0.0, -0.0052083333, -0.6666666667, -1.0, -0.3333333333, -0.5, -0.1666666667, -0.25,
    ),
}  # fmt: skip


@cache
def table(kind: str) -> Tensor:
    """Return the 16 values of a 4-bit code, float32."""
    return torch.tensor(TABLES[kind], dtype=torch.float32)


@cache
def _pairs(kind: str, device: torch.device) -> Tensor:
    """Return the two values of each byte, the high half first, as one 64-bit number. Shapes: [256].

    Looking up one number per byte is four times as fast as looking up rows of two.
    """
    values, byte = table(kind), torch.arange(256)
    both = torch.stack((values[byte >> 4], values[byte & 15]), 1)
    return both.view(torch.int64).view(-1).to(device)


def _nearest(scaled: Tensor, values: Tensor) -> Tensor:
    """Return the index of the nearest of `values` (in any order) for numbers in ±1."""
    ordered, order = values.sort(stable=True)
    bounds = (ordered[:-1] + ordered[1:]) / 2
    return order.to(torch.uint8)[torch.bucketize(scaled, bounds, out_int32=True)]


def _blocks(flat: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut numbers into blocks, the last one filled with zeros, and divide each by its largest.

    Shapes: [n] → [C, size], [C].
    """
    padded = torch.nn.functional.pad(flat, (0, -flat.numel() % size)).view(-1, size)
    largest = padded.abs().amax(1)
    scaled = padded * (1.0 / largest.clamp(min=_TINY))[:, None]
    return scaled.clamp_(-1, 1), largest


def quantize_4bit(weight: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Round a weight to 4 bits: two codes per byte, and the largest number of each block.

    Shapes: any n numbers → uint8 [⌈n/2⌉], float32 [C].
    """
    flat = weight.detach().reshape(-1).float()
    scaled, largest = _blocks(flat, BLOCK)
    codes = _nearest(scaled, table(kind).to(flat.device)).view(-1)[: -(-flat.numel() // 2) * 2]
    return (codes[::2] << 4) | codes[1::2], largest


def dequantize_4bit(
    codes: Tensor, scales: Tensor, kind: str, shape: torch.Size, dtype: torch.dtype
) -> Tensor:
    """Return the weight that codes stand for, rounded once to `dtype`."""
    pairs = _pairs(kind, codes.device)
    values = torch.index_select(pairs, 0, codes.int()).view(torch.float32)
    count = shape.numel()
    full = count - count % BLOCK
    found = torch.empty(count, dtype=dtype, device=codes.device)
    blocks = scales[: full // BLOCK, None]
    torch.mul(values[:full].view(-1, BLOCK), blocks, out=found[:full].view(-1, BLOCK))
    if full < count:
        found[full:] = values[full:count] * scales[-1]
    return found.view(shape)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to 8 bits by its largest number. Shapes: [N, K] → int8 [N, K], float32 [N]."""
    wide = weight.detach().float()
    largest = wide.abs().amax(1)
    return (wide * (127.0 / largest.clamp(min=_TINY))[:, None]).round_().to(torch.int8), largest


def dequantize_rows(codes: Tensor, largest: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight that row-wise codes stand for."""
    return (codes.float() * (largest / 127.0)[:, None]).to(dtype)


@cache
def dynamic_map() -> Tensor:
    """Return the 256 values of the dynamic 8-bit code, ascending: fractions of seven decades."""
    found: list[float] = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        means = 10 ** (exponent - 6) * ((edges[:-1] + edges[1:]) / 2.0)
        found += [*means.tolist(), *(-means).tolist()]
    return torch.tensor(sorted(found), dtype=torch.float32)


def quantize_scales(scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Round scales, their mean taken off, to 8 bits in blocks. Shapes: [C] → uint8 [C], [⌈C/256⌉], []."""
    mean = scales.mean()
    scaled, largest = _blocks(scales - mean, _SCALES)
    codes = _nearest(scaled, dynamic_map().to(scales.device)).view(-1)[: scales.numel()]
    return codes.contiguous(), largest, mean


def dequantize_scales(codes: Tensor, largest: Tensor, mean: Tensor) -> Tensor:
    """Return the scales that codes stand for. Shapes: [C]."""
    values = dynamic_map().to(codes.device)[codes.int()]
    blocks = torch.arange(codes.numel(), device=codes.device) // _SCALES
    return values * largest[blocks] + mean
