"""Question and answer, with a context if there is one.

Knows nothing about files. `answers` may be a list, or SQuAD's object with a list `text`: the first counts.
"""

from collections.abc import Iterator
from typing import Any

from stead.core.errors import DataError
from stead.data.format import Fields, Format, first_key
from stead.data.row import Row
from stead.data.turns import with_system
from stead.messages import Message

_QUESTIONS = ("question", "Question")
_ANSWERS = ("answer", "answers", "Answer", "response")
_CONTEXTS = ("context", "passage", "Context")


class QuestionAnswer(Format):
    """Context and question, an empty line between, are the user's turn."""

    kind = "messages"
    rank = 35
    example = {"question": "What is 2 + 3?", "answer": "5"}  # noqa: RUF012

    def recognize(self, fields: Fields) -> str | None:
        """Ask for a question and an answer column."""
        question, answer = first_key(fields, _QUESTIONS), first_key(fields, _ANSWERS)
        if question is None or answer is None:
            return None
        context = first_key(fields, _CONTEXTS)
        return f"columns {question!r} and {answer!r}" + (f" with {context!r}" if context else "")

    def lacks(self, fields: Fields) -> str | None:
        """A question without its answer."""
        alone = first_key(fields, _QUESTIONS) and first_key(fields, _ANSWERS) is None
        return "'answer'" if alone else None

    def convert(self, fields: Fields, where: str) -> Iterator[Row]:
        """Yield one row."""
        question, answer = first_key(fields, _QUESTIONS), first_key(fields, _ANSWERS)
        if question is None or answer is None:
            raise DataError("no-answer", "the row lacks a question or an answer")
        context = first_key(fields, _CONTEXTS)
        asked = str(fields[question])
        if context is not None and _text(fields[context]).strip():
            asked = f"{_text(fields[context])}\n\n{asked}"
        turns = (Message("user", asked), Message("assistant", _answer(fields[answer])))
        yield Row("messages", where, messages=with_system(fields, turns))


def _text(value: Any) -> str:  # Any: text, or a list of paragraphs
    return "\n\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _answer(value: Any) -> str:  # Any: text, a list, or SQuAD's object
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        raise DataError("not-text", f"the answer is {value!r:.60}, not text")
    return value
