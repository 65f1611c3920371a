"""Plain text for continued pretraining: one column is the document.

Knows nothing about files. The column is called `text` or the like, or is the only one with words.
Several columns become one with an explicit mapping, e.g. `text=title+body`.
"""

from collections.abc import Iterator

from stead.core.errors import DataError
from stead.data.format import Fields, Format, is_words, text_of
from stead.data.row import Row

_NAMES = ("text", "content", "body", "document", "raw_content", "code", "article", "sentence")


class Text(Format):
    """The whole document is trained."""

    kind = "text"
    rank = 90
    example = {"text": "Tea is a drink made from leaves."}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for a usual name, or for the only column that holds words."""
        key = _column(fields)
        if key is None:
            return None
        return f"a column {key!r} of text" + ("" if key in _NAMES else ", the only one with words")

    def lacks(self, fields: Fields) -> str | None:
        """Several columns of words, none by a usual name."""
        words = [k for k, v in fields.items() if isinstance(v, str) and is_words(v)]
        if len(words) < 2 or _column(fields) is not None:
            return None
        return f"a choice among {', '.join(map(repr, words[:5]))}"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        key = _column(fields)
        if key is None:
            have = ", ".join(map(str, fields))
            raise DataError("no-text-columns", f"no column holds text (columns: {have:.300})")
        yield Row("text", where, text=text_of(fields, key))


def _column(fields: Fields) -> str | None:
    named = next((n for n in _NAMES if isinstance(fields.get(n), str)), None)
    if named is not None:
        return named
    words = [k for k, v in fields.items() if isinstance(v, str) and is_words(v)]
    return words[0] if len(words) == 1 else None
