"""Faster layers for the Llama family (placeholder until measured)."""

from torch import nn


def install(model: nn.Module) -> list[str]:
    """Return the layers that were replaced."""
    return []


def remove(model: nn.Module) -> None:
    """Undo `install`."""
