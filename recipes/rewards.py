"""Rewards for the recipes beside this file: plain functions of lists, one number per answer."""


def marked_answer(completions: list[str]) -> list[float]:
    """Pay 1 for an answer that names its result after the mark of GSM8K, "####"."""
    return [float("####" in text) for text in completions]


def close_number(completions: list[str], references: list[str]) -> list[float]:
    """Pay between 0 and 1 for how near the last number is to the reference's last number."""
    return [_near(text, wanted) for text, wanted in zip(completions, references, strict=True)]


def _near(text: str, wanted: str) -> float:
    numbers = [_last(t) for t in (text, wanted)]
    if None in numbers:
        return 0.0
    found, right = (float(n) for n in numbers if n is not None)
    return 1.0 / (1.0 + abs(found - right))


def _last(text: str) -> float | None:
    words = text.replace(",", "").replace("$", "").split()
    for word in reversed(words):
        try:
            return float(word.rstrip("."))
        except ValueError:
            continue
    return None
