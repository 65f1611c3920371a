"""Whether an uploaded file can be fine-tuned on, in the words of OpenAI's API.

Knows nothing about HTTP or where files are kept.
"""

from pathlib import Path

import msgspec

from stead.core.errors import UsageError
from stead.data.clean import NO_FAULT, Tally
from stead.data.rows import Loaded, load
from stead.data.section import Section
from stead.wire.dialect import RequestRefused
from stead.wire.openai_shape import refuse

_LEAST_ROWS = 10  # of a training file, as the vendor has it
_KINDS = {"supervised": ("messages", "text"), "dpo": ("preference",)}


def check_rows(path: Path, shown: str, param: str, method: str) -> None:
    """Read every row once; `shown` is the file's name for people, `param` the field that named it.

    Raises: RequestRefused 400: "invalid-file-format", "unsupported-weight", "invalid-n-examples".
    """
    tally, kinds = _read(path, shown, param)
    if not set(kinds) <= set(_KINDS[method]):
        raise _bad(param, f"{shown} holds {kinds[0]}, not {_KINDS[method][0]}")
    unlearnt = _unlearnt(path)
    if unlearnt:
        words = f"Line {unlearnt}: a message of weight 0 would be learnt here all the same"
        raise _bad(param, words, "unsupported-weight")
    count = tally.kept + tally.dropped["duplicate"]
    if param == "training_file" and count < _LEAST_ROWS:
        words = (
            f"Training file has {count} example(s), but must have at least {_LEAST_ROWS} examples"
        )
        raise refuse(param, words, "invalid-n-examples")


def _read(path: Path, shown: str, param: str) -> tuple[Tally, list[str]]:
    """Return what was read, and the kinds of rows."""
    loaded = Loaded(Tally("skip"))
    try:
        for _ in load(Section(str(path), "jsonl"), loaded):
            pass
    except UsageError as error:
        raise _bad(param, error.message.replace(str(path), shown)) from error
    if loaded.tally.invalid:
        named = (one for one in loaded.tally.examples if one.code not in NO_FAULT)
        bad = next(named, None)
        words = f"{loaded.tally.invalid} rows cannot be used"
        raise _bad(
            param, words if bad is None else f"Line {bad.where.rpartition(':')[2]}: {bad.reason}"
        )
    return loaded.tally, list(loaded.kinds)


def _unlearnt(path: Path) -> int:
    """Return the first line with an answer that the vendor would not learn, which is not known here; 0: none."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if b'"weight"' in line:
                turns = msgspec.json.decode(line).get("messages", [])
                if any(isinstance(one, dict) and one.get("weight") == 0 for one in turns):
                    return number
    return 0


def _bad(param: str, words: str, code: str = "invalid-file-format") -> RequestRefused:
    return refuse(param, f"Invalid file format. {words}", code)
