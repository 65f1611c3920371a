"""The vocabulary of SentencePiece-style BPE (byte fallback) for llama.cpp's "llama" tokenizer.

Knows nothing about byte-level BPE. llama.cpp merges the pair whose joined token has the best score;
tokenizer.json merges the pair of lowest rank. Both agree exactly when a score can be given to each
token so that scores order all merges as ranks do; that is checked, not assumed.
Source: llama.cpp src/llama-vocab.cpp, `llm_tokenizer_spm_session`.
"""

from typing import Any

from stead.core.errors import ExportError
from stead.exporting.gguf_file import Value

_KEY = "tokenizer.ggml"
_NORMAL, _UNKNOWN, _BYTE = 1, 2, 6
_SPACE = "\u2581"
_PREPENDED = [
    {"type": "Prepend", "prepend": _SPACE},
    {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
]


def metadata(tokenizer: dict[str, Any], tokens: list[str], types: list[int]) -> dict[str, Value]:
    """Return the metadata; marks byte and unknown tokens in `types`.

    Raises: ExportError("tokenizer-feature") when llama.cpp would cut some text differently.
    """
    unknown = tokenizer["model"].get("unk_token")
    for i, text in enumerate(tokens):
        if types[i] == _NORMAL and len(text) == 6 and text.startswith("<0x") and text[-1] == ">":
            types[i] = _BYTE
        elif text == unknown:
            types[i] = _UNKNOWN
    return {
        f"{_KEY}.model": "llama",
        f"{_KEY}.pre": "default",
        f"{_KEY}.scores": _scores(tokenizer["model"]["merges"], tokens, types),
        f"{_KEY}.add_space_prefix": _adds_space(tokenizer),
    }


def _scores(merges: list[Any], tokens: list[str], types: list[int]) -> list[float]:
    """Return minus the first rank that makes each token; refuse when ranks of two tokens interleave."""
    pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in merges]
    first: dict[str, int] = {}
    before = ""
    for rank, (left, right) in enumerate(pairs):
        made = left + right
        if made != before and made in first:
            raise ExportError(
                "tokenizer-feature",
                f"the merges of {made!r} are not together (rank {rank}); no score orders them",
            )
        first.setdefault(made, rank)
        before = made
    normal = {text for text, kind in zip(tokens, types, strict=True) if kind == _NORMAL}
    _check_all_pairs(set(pairs), normal)
    return [-float(first.get(text, 0)) for text in tokens]


def _check_all_pairs(pairs: set[tuple[str, ...]], tokens: set[str]) -> None:
    """Refuse a token that llama.cpp could join from two halves that tokenizer.json never joins."""
    for text in tokens:
        for cut in range(1, len(text)):
            halves = (text[:cut], text[cut:])
            if tokens.issuperset(halves) and halves not in pairs:
                raise ExportError(
                    "tokenizer-feature",
                    f"{text!r} could be joined from {halves!r}, against the merges",
                )


def _adds_space(tokenizer: dict[str, Any]) -> bool:
    """Say whether text gets a leading space, as llama.cpp does it: after each special token too."""
    normalizer, pre = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer")
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    if steps == _PREPENDED and pre is None:
        return True
    if steps == _PREPENDED[1:] and pre is None:
        return False
    spaces = pre if not steps and pre is not None and pre.get("type") == "Metaspace" else {}
    scheme = spaces.get("prepend_scheme") if not spaces.get("split", True) else None
    if scheme in ("always", "never"):
        return bool(scheme == "always")
    raise ExportError(
        "tokenizer-feature",
        f"llama.cpp has no way to add spaces like normalizer {str(normalizer)[:200]} with "
        f"pre-tokenizer {str(pre)[:200]}",
    )
