"""Put one set of questions to llama.cpp about a GGUF file, in a child process.

Knows nothing about references or verdicts. A child that dies is an answer too: an ExportError with
its last words, never a hang.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core import files, process
from stead.core.errors import ExportError
from stead.core.events import Emit, follow, ignore
from stead.data.chat import chat_dicts
from stead.exporting.conversations import Conversation

_PROGRAM = "stead.worker.llama_logits"
_SMALL_BYTES = 1 << 30
_POLL_S = 0.05
_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: chats to render, texts to tokenize, ids that may end, prefixes to continue."""

    chats: list[dict[str, Any]]  # Any: JSON values
    texts: list[str]
    stops: list[int]
    sequences: list[list[int]]
    lengths: list[list[int]]  # of each sequence, the prefixes that are continued
    top: int


@dataclass(frozen=True, slots=True)
class Answers:
    """What llama.cpp said, in the order of the questions."""

    renders: list[str | None]
    chat_ids: list[list[int] | None]
    text_ids: list[list[int]]
    empty_ids: list[int]
    ends: list[int]
    logprobs: list[list[list[tuple[int, float]]]]  # sequence, position, (id, log-probability)


def chat(conversation: Conversation) -> dict[str, Any]:  # Any: JSON values
    """Return the conversation as the chat protocol spells it."""
    messages = chat_dicts(conversation.messages)
    for shown, message in zip(messages, conversation.messages, strict=True):
        shown.setdefault("content", None)
        for call, given in zip(shown.get("tool_calls", ()), message.tool_calls, strict=True):
            call["function"]["arguments"] = given.arguments
    body: dict[str, Any] = {
        "messages": messages,
        "add_generation_prompt": conversation.is_open,
    }
    return body | ({"tools": list(conversation.tools)} if conversation.tools else {})


def ask(gguf: Path, questions: Questions, emit: Emit = ignore) -> Answers:
    """Ask about one file; the child's progress goes to `emit`.

    Raises: ExportError("llama-died") when llama.cpp cannot load or run it.
    """
    longest = max((len(s) for s in questions.sequences), default=1)
    with tempfile.TemporaryDirectory(prefix="stead-parity-") as name:
        folder = Path(name)
        files.write_json(folder / "questions.json", _spec(gguf, questions, longest))
        argv = process.python(_PROGRAM, str(folder / "questions.json"))
        child = process.spawn(argv, name="llama_logits", log=folder / "log")
        try:
            _wait(child, folder / "questions-events.jsonl", emit)
        finally:
            child.stop()
        answers = folder / "answers.json"
        if child.poll() != 0 or not answers.is_file():
            raise _died(gguf, child.poll(), folder / "log")
        return _read(files.read_json(answers))


def _spec(gguf: Path, questions: Questions, longest: int) -> dict[str, Any]:
    return {
        "model": str(gguf.absolute()),
        "context": max(256, longest + 16),
        # llama.cpp's threads spin while they wait; on a small model that costs more than it gives.
        "threads": 1 if gguf.stat().st_size < _SMALL_BYTES else max(1, os.cpu_count() or 1),
        "chats": questions.chats,
        "texts": questions.texts,
        "stops": questions.stops,
        "sequences": questions.sequences,
        "lengths": questions.lengths,
        "top": questions.top,
    }


def _wait(child: process.Child, events: Path, emit: Emit) -> None:
    waited, offset = 0.0, 0
    while child.wait(_POLL_S) is None:
        waited += _POLL_S
        for end, event in follow(events, offset):
            offset = end
            emit(event)
        if process.stop_requested.is_set() or waited > _TIMEOUT_S:
            return


def _died(gguf: Path, status: int | None, log: Path) -> ExportError:
    tail = log.read_text(errors="replace").strip().splitlines()[-4:] if log.exists() else []
    return ExportError(
        "llama-died",
        f"llama.cpp could not use {str(gguf)!r} (status {status}): {' | '.join(tail) or 'no words'}",
        path=str(gguf),
    )


def _read(data: dict[str, Any]) -> Answers:
    rows = [
        [[(int(i), float(p)) for i, p in position] for position in sequence]
        for sequence in data["logprobs"]
    ]
    return Answers(
        renders=list(data["renders"]),
        chat_ids=list(data["chat_ids"]),
        text_ids=list(data["text_ids"]),
        empty_ids=list(data["empty_ids"]),
        ends=list(data["ends"]),
        logprobs=rows,
    )


def effective(render: str | None, empty_ids: Sequence[int], bos: str | None) -> str | None:
    """Return what llama.cpp really feeds: it strips a BOS from the render when it adds its own."""
    adds = render is not None and len(empty_ids) > 0 and bos is not None
    return f"{bos}{render}" if adds else render
