"""Pieces of text that arrived together travel together: fewer steps for a fast stream, the same bytes at its end.

Knows nothing about sockets. A chunk joins the one before only when both are nothing but text of the same
choice; the events' own bytes go along, so that a client of the same protocol gets exactly what was sent.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import force_setattr

from stead.core.errors import SteadError
from stead.messages import Chunk, Raw
from stead.wire.dialect import StreamReader
from stead.wire.sse import Event


def read(reader: StreamReader, dialect: str, events: Iterable[Event]) -> Iterator[Chunk]:
    """Yield the chunks of events that arrived together; what came before a faulty one comes first.

    `dialect` names the protocol whose servers may send the bytes on; "" keeps none.
    """
    text: list[Chunk] = []
    try:
        for event in events:
            found = reader.feed(event)
            if dialect and len(found) == 1:
                chunk = _with_raw(found[0], dialect, event)
                if _is_text(chunk) and (not text or _same(text[0], chunk)):
                    text.append(chunk)
                    continue
                found = (chunk,)
            if text:
                yield _joined(text)
                text = []
            yield from found
    except SteadError:
        if text:
            yield _joined(text)
        raise
    if text:
        yield _joined(text)


def _with_raw(chunk: Chunk, dialect: str, event: Event) -> Chunk:
    data, has_usage = event.data, b'"usage"' in event.data
    raw = Raw(
        dialect, b"data: %b\n\n" % data, chunk.id, chunk.index, chunk.model, chunk.text, has_usage
    )
    force_setattr(chunk, "raw", raw)  # the reader made it a moment ago and nobody else holds it
    return chunk


def _is_text(chunk: Chunk) -> bool:
    return bool(chunk.text) and not (
        chunk.reasoning
        or chunk.role
        or chunk.tool_calls
        or chunk.finish_reason
        or chunk.logprobs
        or chunk.usage
        or chunk.thought
        or chunk.deviations
    )


def _same(first: Chunk, chunk: Chunk) -> bool:
    return first.index == chunk.index and first.id == chunk.id and first.model == chunk.model


def _joined(parts: list[Chunk]) -> Chunk:
    first = parts[0]
    if len(parts) == 1:
        return first
    raws = [c.raw for c in parts if c.raw is not None]
    text = "".join([c.text for c in parts])
    data, has_usage = b"".join([r.data for r in raws]), any(r.usage for r in raws)
    raw = Raw(raws[0].dialect, data, first.id, first.index, first.model, text, has_usage)
    return Chunk(
        id=first.id, model=first.model, created=first.created, index=first.index, text=text, raw=raw
    )
