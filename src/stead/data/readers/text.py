"""Plain text: documents, by line or by paragraph.

Knows nothing about their meaning. Long lines are a document each; short lines with blank ones between
are gathered into documents at the blank lines; short lines without blank ones are a document each.
"""

from collections.abc import Iterator

from stead.data.reader import BadRow, Reader, Record, decode_text, place
from stead.data.section import Source

_LONG_LINE = 200  # mean characters from which a line is a document of its own
_DOCUMENT = 4000  # characters gathered before the next blank line ends a document


class Text(Reader):
    """Reads `.txt` and `.md` as rows with the one column `text`."""

    suffixes = (".txt", ".text", ".md")

    def recognize(self, path: str, head: bytes) -> str | None:
        """Accept what decodes as UTF-8 and has no NUL."""
        if not head or b"\0" in head:
            return None
        if not path.lower().endswith(self.suffixes):
            try:
                head[:-4].decode("utf-8")
            except UnicodeDecodeError:
                return None
        by_line, why = _layout(head)
        return f"text, {why}: " + (
            "one document per line" if by_line else "documents of paragraphs"
        )

    def read(self, source: Source) -> Iterator[Record | BadRow]:
        """Yield a record per document; its place is its first line."""
        with open(source.path, "rb") as file:
            by_line, _ = _layout(file.read(1 << 16))
            file.seek(0)
            lines = _lines(source.path, file)
            yield from _single(lines) if by_line else _gathered(lines)


def _layout(head: bytes) -> tuple[bool, str]:
    lines = head.decode("utf-8", errors="replace").splitlines()
    filled = [line for line in lines if line.strip()]
    mean = sum(map(len, filled)) / max(1, len(filled))
    has_blank = any(not line.strip() for line in lines[:-1])
    why = f"lines of {mean:.0f} characters on average" + (", with blank lines" if has_blank else "")
    return mean >= _LONG_LINE or not has_blank, why


def _lines(path: str, file: "Iterator[bytes]") -> Iterator[Record | BadRow]:
    for number, line in enumerate(file, 1):
        where = place(path, number)
        data = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        text = decode_text(data, where)
        yield text if isinstance(text, BadRow) else Record(where, {"text": text.rstrip("\r\n")})


def _single(lines: Iterator[Record | BadRow]) -> Iterator[Record | BadRow]:
    return (line for line in lines if isinstance(line, BadRow) or line.fields["text"].strip())


def _gathered(lines: Iterator[Record | BadRow]) -> Iterator[Record | BadRow]:
    where, parts, size = "", list[str](), 0
    for line in lines:
        if isinstance(line, BadRow):
            yield line
            continue
        text = line.fields["text"]
        if not text.strip() and size >= _DOCUMENT:
            yield Record(where, {"text": "\n".join(parts).strip("\n")})
            where, parts, size = "", [], 0
        elif text.strip() or parts:
            where = where if parts else line.where
            parts.append(text)
            size += len(text) + 1
    if parts:
        yield Record(where, {"text": "\n".join(parts).strip("\n")})
