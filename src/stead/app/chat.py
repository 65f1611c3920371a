"""A conversation: history kept, each answer streamed, a failed turn forgotten.

Knows nothing about terminals.
"""

from collections.abc import Iterator
from typing import Any

from stead.app.syncing import SyncGateway
from stead.messages import Message


class Conversation:
    """Turns with one model. A turn that fails or is interrupted leaves the history as it was."""

    def __init__(
        self, gateway: SyncGateway, *, system: str | None = None, **sampling: Any
    ) -> None:  # Any: the fields of `Sampling`
        self._gateway = gateway
        self._sampling = sampling
        self.system = system
        self.turns: list[Message] = []

    def reset(self) -> None:
        """Forget every turn; the system message stays."""
        self.turns = []

    @property
    def messages(self) -> list[Message]:
        """What the model is shown: the system message, if any, and the turns."""
        head = [] if self.system is None else [Message("system", self.system)]
        return head + self.turns

    def ask(self, text: str) -> Iterator[str]:
        """Say something; yield the answer's text as it comes, then remember both turns."""
        question = Message("user", text)
        answer: list[str] = []
        for chunk in self._gateway.stream([*self.messages, question], **self._sampling):
            if chunk.text:
                answer.append(chunk.text)
                yield chunk.text
        self.turns += [question, Message("assistant", "".join(answer))]
