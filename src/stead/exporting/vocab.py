"""Turn a tokenizer.json into the vocabulary part of a GGUF file, or refuse.

Knows nothing about weights. Two kinds: byte-level BPE ("gpt2" in llama.cpp's words) and SentencePiece
BPE with byte fallback ("llama"). Every difference that llama.cpp could not reproduce is refused, and
what it only approximates is named in `Vocab.notes`. Source: llama.cpp src/llama-vocab.cpp and
gguf-py/gguf/constants.py (TokenType).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core.errors import ExportError
from stead.data.template_files import read_object
from stead.data.tokenizer import TextTokenizer
from stead.exporting import pretokenizer, sentencepiece
from stead.exporting.gguf_file import U32, Value

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_KEY = "tokenizer.ggml"


@dataclass(frozen=True, slots=True)
class Vocab:
    """A vocabulary as GGUF metadata, and what is approximated in it."""

    metadata: dict[str, Value]
    notes: tuple[str, ...] = ()


def read(folder: Path, rows: int, template: str | None) -> Vocab:
    """Read the tokenizer of `folder` for a model with `rows` embedding rows.

    Raises: ExportError("no-tokenizer" | "tokenizer-type" | "vocab-size" | "unknown-pretokenizer" |
    "tokenizer-feature").
    """
    tokenizer = read_object(folder / "tokenizer.json")
    if not tokenizer:
        raise ExportError("no-tokenizer", f"{str(folder)!r} has no tokenizer.json")
    model = tokenizer["model"]
    if model.get("type", "BPE") != "BPE":
        raise ExportError(
            "tokenizer-type", f"a {model.get('type')!r} tokenizer has no exporter, only BPE"
        )
    tokens, types = _tokens(tokenizer, rows)
    pieces = bool(model.get("byte_fallback"))
    kind = sentencepiece.metadata(tokenizer, tokens, types) if pieces else _byte_level(tokenizer)
    ids = _special_ids(folder, tokenizer, template)
    listed: dict[str, Value] = {f"{_KEY}.tokens": tokens, f"{_KEY}.token_type": types}
    return Vocab(kind | listed | ids, _notes(tokenizer))


def _tokens(tokenizer: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Return every row's token text and type; rows without a token are marked unused."""
    by_id = {int(i): (text, NORMAL) for text, i in tokenizer["model"]["vocab"].items()}
    for token in tokenizer.get("added_tokens", ()):
        kind = CONTROL if token.get("special") else USER_DEFINED
        by_id[int(token["id"])] = (str(token["content"]), kind)
    if by_id and max(by_id) >= rows:
        raise ExportError(
            "vocab-size",
            f"the tokenizer goes up to id {max(by_id)}, the embeddings have {rows} rows",
        )
    found = [by_id.get(i, (f"[PAD{i}]", UNUSED)) for i in range(rows)]
    return [text for text, _ in found], [kind for _, kind in found]


def _byte_level(tokenizer: dict[str, Any]) -> dict[str, Value]:
    model = tokenizer["model"]
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise ExportError("tokenizer-feature", f"BPE with {key}={model[key]!r} has no exporter")
    normalizer = tokenizer.get("normalizer")
    if normalizer is not None and normalizer.get("type") != "NFC":
        raise ExportError(
            "tokenizer-feature", f"llama.cpp has no normalizer like {str(normalizer)[:200]}"
        )
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    found: dict[str, Value] = {
        f"{_KEY}.model": "gpt2",
        f"{_KEY}.pre": pretokenizer.name_of(tokenizer),
    }
    return found | ({f"{_KEY}.merges": merges} if merges else {})


def _special_ids(folder: Path, tokenizer: dict[str, Any], template: str | None) -> dict[str, Value]:
    text = TextTokenizer.open(folder)
    named = {"bos": text.bos_id, "eos": text.eos_id, "padding": text.pad_id}
    unknown = tokenizer["model"].get("unk_token")
    named["unknown"] = None if unknown is None else text.id(unknown)
    # llama.cpp stops at eos, eot and eom alike; a third further stop has no key of its own.
    others = [i for i in text.stop_ids if i != text.eos_id]
    named |= dict(zip(("eot", "eom"), others, strict=False))
    found: dict[str, Value] = {
        f"{_KEY}.{name}_token_id": U32(i) for name, i in named.items() if i is not None
    }
    found[f"{_KEY}.add_bos_token"] = _adds_bos(text, template)
    found[f"{_KEY}.add_eos_token"] = False
    return found


def _adds_bos(text: TextTokenizer, template: str | None) -> bool:
    """Say whether llama.cpp shall put BOS first.

    As the tokenizer really behaves; but a chat template that does not write BOS was trained without
    it, and llama.cpp would add it to every chat. (One that writes it is not doubled: llama.cpp
    removes its own.)
    """
    if not text.adds_bos or text.bos_id is None:
        return False
    bos = str(text.token(text.bos_id))
    return template is None or "bos_token" in template or bos in template


def _notes(tokenizer: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if (tokenizer.get("normalizer") or {}).get("type") == "NFC":
        notes.append("llama.cpp does not normalize text to NFC before tokenizing")
    for token in tokenizer.get("added_tokens", ()):
        flags = [f for f in ("lstrip", "rstrip", "single_word") if token.get(f)]
        if flags:
            notes.append(f"llama.cpp ignores {', '.join(flags)} of the token {token['content']!r}")
    return tuple(notes)


def control_ids(folder: Path) -> list[int]:
    """Return the ids of a tokenizer's special tokens, which text never spells."""
    added = read_object(folder / "tokenizer.json").get("added_tokens", ())
    return [int(token["id"]) for token in added if token.get("special")]
