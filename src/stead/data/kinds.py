"""Which kind the prepared rows will be, and what to say when the data cannot become it.

Knows nothing about methods: they say which kind they want.
"""

import shlex

from stead.core.errors import DataError
from stead.data.examples import convert_kind
from stead.data.row import Kind, Row
from stead.data.rows import Loaded

_NEEDS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "preference": ("the columns 'chosen' and 'rejected'", ("chosen", "rejected")),
    "labelled": ("a column 'label' that says yes or no, or 'chosen' and 'rejected'", ("label",)),
    "messages": ("turns, or a prompt with an answer", ("prompt", "completion")),
    "text": ("text", ("text",)),
    "prompts": ("turns, or a column 'prompt'", ("prompt",)),
}
_SHOWN = 12  # columns named in a message


def final_kind(loaded: Loaded, wanted: Kind | None) -> Kind:
    """Return the kind of the prepared rows.

    Raises: DataError("wrong-kind") saying what the wanted rows need and which columns are there.
    """
    kinds = set(loaded.kinds)
    if wanted is None:
        if len(kinds) == 1:
            return kinds.pop()
        wanted = "messages"
    if wanted == "messages" and kinds == {"text"}:
        return "text"
    for kind in sorted(kinds):
        try:
            convert_kind(Row(kind, ""), wanted)
        except DataError as error:
            raise _unfit(loaded, kind, wanted) from error
    return wanted


def _unfit(loaded: Loaded, kind: Kind, wanted: Kind) -> DataError:
    needs, names = _NEEDS[wanted]
    missing = [name for name in names if name not in loaded.columns]
    have = ", ".join(loaded.columns[:_SHOWN]) + (", …" if len(loaded.columns) > _SHOWN else "")
    lacking = f"; missing: {', '.join(missing)}" if missing else ""
    mapping = " ".join(f"-s data.columns.{name}=COLUMN" for name in missing)
    other = f"; columns of other names: {mapping}" if missing else ""
    return DataError(
        "wrong-kind",
        f"the method wants {wanted!r} rows, which need {needs}; the rows are {kind!r} (columns: {have}{lacking}){other}",
        hint=None if loaded.first is None else f"stead data inspect {shlex.quote(loaded.first)}",
        columns=loaded.columns,
        missing=missing,
    )
