"""Layers whose weight is stored as [inputs, outputs] (transformers' Conv1D: GPT-2) as linear layers.

Turned once after loading, so that every adapter, pruning and rounding finds plain linear layers, and
turned back where a model is written. Knows nothing about who asks. The mark is the attribute `turned`.
"""

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from stead.models import peft_files


def turn(model: nn.Module) -> None:
    """Make every Conv1D of the model a linear layer of the same function, in place."""
    for layer in model.modules():
        if isinstance(layer, Conv1D):
            weight = layer.weight.detach().t().contiguous()
            layer.__class__ = nn.Linear
            layer.out_features, layer.in_features = weight.shape
            layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
            layer.turned = True


def stored(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters by name as a model folder has them: turned weights the other way round."""
    back = peft_files.turned(model)
    return {n: t.t().contiguous() if n in back else t for n, t in tensors.items()}
