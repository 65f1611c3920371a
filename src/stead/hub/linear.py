"""Which stored tensors are the weights of linear layers once a model is loaded, by name and shape alone.

Knows nothing about adapters. Experts are stored one by one in many files, but transformers 5 holds those of a
layer in one tensor, and what chooses among them is a parameter too: nothing can be put beside either.
"""

from collections.abc import Sequence

_ROUTERS = ("gate", "router")


def is_expert(name: str) -> bool:
    """Say whether a tensor belongs to one expert of many."""
    return ".experts." in name


def is_linear(name: str, shape: Sequence[int]) -> bool:
    """Say whether a stored tensor becomes a linear layer's weight."""
    *_, outer, module, kind = ("", "", *name.split("."))
    routes = module in _ROUTERS or outer in _ROUTERS
    return kind == "weight" and len(shape) == 2 and not is_expert(name) and not routes
