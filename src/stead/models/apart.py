"""Which families compute rows one by one: those whose attention in transformers takes no packed rows.

Knows nothing about batches. Read from the model's class, so that it holds before any proof has run.
"""

from typing import Any


def reason(model: Any) -> str | None:  # Any: a transformers model, or its decoder
    """Say why the rows of a packed batch would see each other in this model, or None."""
    name = type(model).__name__
    if not getattr(model, "_supports_attention_backend", False):
        return f"{name} has an attention of its own in transformers, which takes no packed rows"
    if any("sinks" in part._parameters for part in model.modules()):
        return f"the attention of {name} has sinks, which packed rows cannot have exactly"
    return None
