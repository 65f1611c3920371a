"""How text is cut and cleaned before it is compared; shared by several scorers.

Knows nothing about scores.
"""

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ROUGE_TOKEN = re.compile(r"[a-z0-9]+")


def squad(text: str) -> str:
    """Lower-case, drop ASCII punctuation and articles, squeeze spaces.

    Source: `normalize_answer` of the SQuAD evaluation script, version 2.0.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def label(text: str) -> str:
    """Reduce a class label to its letters' meaning: case, spaces and outer punctuation dropped."""
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")


def rouge_tokens(text: str) -> list[str]:
    """Cut into runs of a-z and 0-9 after lower-casing; no stemming.

    Source: google-research rouge_score/tokenize.py with `use_stemmer=False`.
    """
    return _ROUGE_TOKEN.findall(text.lower())
