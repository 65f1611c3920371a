"""Document and summary: the document is the user's turn, the summary the answer.

Knows nothing about files.
"""

from collections.abc import Iterator

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key, text_of
from stead.data.row import Row
from stead.data.turns import with_system
from stead.messages import Message

_DOCUMENTS = ("document", "article", "text", "dialogue", "content", "report", "body")
_SUMMARIES = ("summary", "highlights", "abstract", "tldr")


class Summary(Format):
    """The instruction "Summarize the text." stands before the document, so that a chat can ask it."""

    kind = "messages"
    rank = 36
    example = {"document": "A long text about tea.", "summary": "Tea."}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for a document and a summary column."""
        document, summary = first_key(fields, _DOCUMENTS), first_key(fields, _SUMMARIES)
        if document is None or summary is None:
            return None
        return f"columns {document!r} and {summary!r} (document and summary)"

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        document, summary = first_key(fields, _DOCUMENTS), first_key(fields, _SUMMARIES)
        if document is None or summary is None:
            raise DataError("no-answer", "the row lacks a document or a summary")
        asked = f"Summarize the text.\n\n{text_of(fields, document)}"
        turns = (Message("user", asked), Message("assistant", text_of(fields, summary)))
        yield Row("messages", where, messages=with_system(fields, turns))
