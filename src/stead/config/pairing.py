"""What a method and an adapter mean for each other: whether they go together, and how fast to learn.

Knows nothing about single methods or adapters: the classes declare what they need, lack and advise
(`training/method.Method`, `models/adapter.Adapter`), and this joins the two sides.
"""

from collections.abc import Sequence

from stead.config.kinds import registry


def refusal(method: str, adapter: str) -> str | None:
    """Say why an adapter cannot be trained by a method, or None when it can.

    A method names what it needs, an adapter what it cannot do and why; a shared word is a refusal.
    """
    reasons = registry("adapter").get(adapter).cannot
    for need in registry("method").get(method).needs:
        if need in reasons:
            return f"the method {method!r} needs {need}, and the adapter {adapter!r} has none: {reasons[need]}"
    return None


def default_lr(method: str, adapter: str, optimizer: str = "adamw") -> float:
    """Return the peak learning rate when nobody gave one.

    The method's own for whole models or for small added weights, times the adapter's factor; an
    adapter with a rate of its own has that with every method. These are AdamW's; the optimizer's
    factor makes them its own.
    """
    factor = float(registry("optimizer").get(optimizer).lr_factor)
    added = registry("adapter").get(adapter)
    if added.default_lr is not None:
        return float(added.default_lr) * factor
    rates = registry("method").get(method).default_lr
    return float(rates["full" if added.kind == "model" else "lora"] * added.lr_factor * factor)


def wordless(method: str, asked: Sequence[str]) -> str | None:
    """Say why settings that ask for answers do not go with a method that trains none; None if they do."""
    if not asked or getattr(registry("method").get(method), "has_logits", True):
        return None
    return f"{asked[0]} asks for answers, and method={method!r} trains a model that writes none"
