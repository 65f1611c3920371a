"""Plain text from files, in blocks, for making a tokenizer.

Knows nothing about chats or training: from JSON it takes every string value, from any other file
the text. Rows for training are read by `data`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stead.core.errors import DataError, NotFound

_BLOCK_CHARACTERS = 1 << 16


def texts(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the text of the files in order, in blocks of whole lines or values.

    Raises: NotFound("no-file"); DataError("not-utf8" | "bad-json") with file:line.
    """
    for path in paths:
        if not path.is_file():
            raise NotFound("no-file", f"there is no text file {str(path)!r}")
        yield from _blocks(_pieces(path))


def _pieces(path: Path) -> Iterator[str]:
    if path.suffix == ".json":
        whole = "".join(_lines(path))
        yield from _strings(_parsed(whole, f"{path}:1"))
        return
    for number, line in enumerate(_lines(path), start=1):
        if path.suffix != ".jsonl":
            yield line
        elif line.strip():
            yield from _strings(_parsed(line, f"{path}:{number}"))


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                number += 1
                yield line
    except UnicodeDecodeError as error:
        raise DataError(
            "not-utf8",
            f"{path}:{number + 1} is not UTF-8 ({error.reason})",
            hint=f"iconv -f latin1 -t utf-8 {path} -o {path.stem}.utf8{path.suffix}",
        ) from error


def _parsed(text: str, where: str) -> Any:  # Any: JSON values
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("bad-json", f"{where} is not JSON: {error}") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value + "\n"
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _blocks(pieces: Iterator[str]) -> Iterator[str]:
    block: list[str] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= _BLOCK_CHARACTERS:
            yield "".join(block)
            block, size = [], 0
    if block:
        yield "".join(block)
