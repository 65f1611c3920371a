"""A streamed answer as a sequence of blocks, for protocols that open and close each one.

Knows nothing about bytes. One block is open at a time: reasoning, text, or one tool call.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from stead.core.errors import BackendError
from stead.messages import Chunk, Thought, TokenLogprob, ToolCallDelta

What = Literal["reasoning", "text", "call"]


@dataclass(slots=True)
class Block:
    """One block; `text` grows while it is open."""

    what: What
    index: int  # among all blocks
    id: str = ""  # of a call
    name: str = ""
    thought: Thought | None = None
    parts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the block holds so far: text, reasoning, or arguments."""
        return "".join(self.parts)


class Step(NamedTuple):
    """What happens to a block: it opens, gets `text`, or closes."""

    what: Literal["open", "delta", "close"]
    block: Block
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


class Blocks:
    """The blocks of one choice. `all` holds them in order, the open one last."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None
        self._calls: dict[int, Block] = {}

    def feed(self, chunk: Chunk) -> Iterator[Step]:
        """Yield the steps of a chunk.

        Raises: BackendError("bad-answer") when a tool call goes on after another has begun, or has
        no name.
        """
        if chunk.reasoning:
            yield from self._write("reasoning", chunk.reasoning)
        if chunk.thought is not None:
            yield from self._seal(chunk.thought)
        if chunk.text or chunk.logprobs:
            yield from self._write("text", chunk.text, chunk.logprobs)
        for call in chunk.tool_calls:
            yield from self._call(call)

    def close(self) -> Iterator[Step]:
        """Yield what closes the open block."""
        if self._open is not None:
            block, self._open = self._open, None
            yield Step("close", block)

    def _begin(self, block: Block) -> Iterator[Step]:
        yield from self.close()
        self.all.append(block)
        self._open = block
        yield Step("open", block)

    def _write(
        self, what: What, text: str, logprobs: tuple[TokenLogprob, ...] = ()
    ) -> Iterator[Step]:
        if self._open is None or self._open.what != what:
            yield from self._begin(Block(what, len(self.all)))
        yield from self._delta(text, logprobs)

    def _delta(self, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> Iterator[Step]:
        if self._open is not None:
            self._open.parts.append(text)
            self._open.logprobs.extend(logprobs)
            yield Step("delta", self._open, text, logprobs)

    def _seal(self, thought: Thought) -> Iterator[Step]:
        if self._open is None or self._open.what != "reasoning":
            yield from self._begin(Block("reasoning", len(self.all), thought=thought))
        if self._open is not None:
            self._open.thought = thought
        yield from self.close()

    def _call(self, call: ToolCallDelta) -> Iterator[Step]:
        block = self._calls.get(call.index)
        if block is None:
            if not call.name:
                raise BackendError("bad-answer", f"tool call {call.index} has no name")
            id_ = f"call_{call.index}" if call.id is None else call.id
            block = Block("call", len(self.all), id_, call.name)
            self._calls[call.index] = block
            yield from self._begin(block)
        if call.arguments:
            if block is not self._open:
                raise BackendError(
                    "bad-answer", f"tool call {call.index} went on after another block had begun"
                )
            yield from self._delta(call.arguments)
