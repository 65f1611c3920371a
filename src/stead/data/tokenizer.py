"""A model's tokenizer without transformers: text to ids with exact character offsets, and back.

Knows nothing about chats, masks or batches. A light wrapper of the `tokenizers` library over the
folder's `tokenizer.json`; special tokens are never added behind the caller's back.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import files
from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.data.template import ChatTemplate
from stead.data.template_files import read_object, token_text

if TYPE_CHECKING:
    import tokenizers
else:
    tokenizers = lazy("tokenizers", extra="data")


@dataclass(frozen=True, slots=True)
class Encoding:
    """Ids and, for each, the characters [start, end) of the text it stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class TextTokenizer:
    """The tokenizer of a model folder. Immutable; safe to share between threads."""

    def __init__(self, folder: Path, tokenizer: "tokenizers.Tokenizer") -> None:
        self.folder = folder
        self._first = list(tokenizer.encode("", add_special_tokens=True).ids)
        # Only specials are added by a post-processor, and offsets trimmed: neither is wanted here.
        tokenizer.post_processor = None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path) -> "TextTokenizer":
        """Read `tokenizer.json` of a model folder.

        Raises: ModelError("no-tokenizer") when there is none, ModelError("bad-tokenizer") when it
        cannot be read.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                "no-tokenizer", f"the model folder {str(folder)!r} has no tokenizer.json"
            )
        parse = tokenizers.Tokenizer.from_str  # outside: a missing library is no broken file
        try:
            read_object(path)
            return cls(folder, parse(path.read_text(encoding="utf-8")))
        except ModelError as error:
            raise ModelError("bad-tokenizer", error.message) from error
        except Exception as error:  # house: broad-except - the library raises no other class
            message = f"{str(path)!r} is no tokenizer: {error}"
            raise ModelError("bad-tokenizer", message) from error

    def encode(self, text: str) -> Encoding:
        """Return the ids of `text`, no special tokens added; those written in it are recognized."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return Encoding(found.ids, found.offsets)

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Return `encode` of each text, computed in parallel."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [Encoding(one.ids, one.offsets) for one in found]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Return the text of `ids`."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))

    def decode_pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each id such that they join to the text of all.

        A character made of several tokens belongs to the last of them; the others are "".
        """
        pieces: list[str] = []
        shown = 0
        for end in range(1, len(ids) + 1):
            text = self.decode(ids[:end], skip_special=False)  # a lone token may lose its own space
            whole = end == len(ids) or not text.endswith("\ufffd")
            pieces.append(text[shown:] if whole else "")
            shown = len(text) if whole else shown
        return pieces

    def token(self, id: int) -> str | None:
        """Return the token's own spelling, or None for an unknown id."""
        found = self._tokenizer.id_to_token(id)
        return None if found is None else str(found)

    def byte_pieces(self) -> list[bytes | None]:
        """Return the bytes that each id writes; None for special ids and unknown ones.

        Byte-level tokens are spelled in GPT-2's alphabet, the others with ▁ for a space and <0x0A> for
        a byte alone (tokenizers: pre_tokenizers/byte_level.rs, decoders/byte_fallback.rs).
        """
        decoder = json.loads(self._tokenizer.to_str()).get("decoder")
        spelled = "ByteLevel" in json.dumps(decoder)
        added = self._tokenizer.get_added_tokens_decoder()
        found: list[bytes | None] = [None] * self.vocab_size
        for text, id in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if id >= len(found):
                found += [None] * (id + 1 - len(found))
            if id in added:
                found[id] = None if added[id].special else added[id].content.encode()
            else:
                found[id] = _spelled(text) if spelled else _plain(text)
        return found

    def id(self, token: str) -> int | None:
        """Return the id of a token by its spelling, or None."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    @cached_property
    def vocab_size(self) -> int:
        """How many tokens there are, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_object(self.folder / "tokenizer_config.json")

    @cached_property
    def _model(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return (
            read_object(self.folder / "generation_config.json"),
            read_object(self.folder / "config.json"),
        )

    def _special(self, name: str) -> int | None:
        maps = (self._config, read_object(self.folder / "special_tokens_map.json"))
        for found in maps:
            text = token_text(found.get(f"{name}_token"))
            if text is not None and self.id(text) is not None:
                return self.id(text)
        for found in self._model:
            ids = _ids(found.get(f"{name}_token_id"))
            if ids:
                return ids[0]
        return None

    @cached_property
    def bos_id(self) -> int | None:
        """The token that begins a text, if the model has one."""
        return self._special("bos")

    @cached_property
    def eos_id(self) -> int | None:
        """The token that ends a text, if the model has one."""
        return self._special("eos")

    @cached_property
    def pad_id(self) -> int | None:
        """The padding token, if the model has one."""
        return self._special("pad")

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the model expects BOS before plain text, by its tokenizer's own rules."""
        return self.bos_id is not None and self._first[:1] == [self.bos_id]

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends an answer: eos of tokenizer and model, and the template's end of turn."""
        found = [] if self.eos_id is None else [self.eos_id]
        for config in self._model:
            found += _ids(config.get("eos_token_id"))
        ending = self.encode(ChatTemplate.open(self.folder).end_of_turn().strip()).ids
        if len(ending) == 1:  # several tokens are a text to stop at, not a token
            found += ending
        return tuple(dict.fromkeys(found))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that decides ids: tokenizer.json, special tokens."""
        specials = [self.bos_id, self.eos_id, self.pad_id, list(self.stop_ids)]
        return files.hash_value([files.hash_file(self.folder / "tokenizer.json"), specials])


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's letters for the 256 bytes: printable ones stand for themselves."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


_LETTERS = _byte_alphabet()


def _spelled(text: str) -> bytes | None:
    return bytes(_LETTERS[c] for c in text) if all(c in _LETTERS for c in text) else None


def _plain(text: str) -> bytes:
    if re.fullmatch(r"<0x[0-9A-F]{2}>", text):
        return bytes.fromhex(text[3:5])
    return text.replace("\u2581", " ").encode()


def _ids(value: Any) -> list[int]:  # Any: an id, a list of ids, or nothing
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, int) and not isinstance(one, bool)]
