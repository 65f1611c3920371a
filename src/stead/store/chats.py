"""Conversations as trees: each message knows its parent, so an edited one begins a branch.

Knows nothing about models that answer.
"""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.core.errors import NotFound
from stead.store.db import Database
from stead.store.rows import Conditions, Json, Page, Rows, columns, contains
from stead.store.tables import CHATS, MESSAGES


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation. `settings`: models, system prompt, parameters."""

    id: str
    title: str
    created_at: float
    updated_at: float
    owner: str | None = None
    settings: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `parent` None: the first of its branch. `content` is a text or a list of parts."""

    id: str
    chat: str
    parent: str | None
    role: str
    content: Any  # JSON: a text or parts
    created_at: float
    model: str | None = None
    usage: Json | None = None
    deviations: list[Any] = field(default_factory=list)  # Any: JSON values


Messages = list[Message]


class Chats(Rows[Chat]):
    """The tables of chats and messages."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, CHATS, Chat, _missing)

    def list(
        self,
        *,
        owner: str | None = None,
        q: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Chat]:
        """Return chats, newest first."""
        where: Conditions = []
        if owner is not None:
            where.append(CHATS.c.owner == owner)
        if q is not None and q.strip() != "":
            where.append(contains(q.strip(), CHATS.c.title))
        return self.page(where, limit=limit, after=after)

    def messages(self, chat: str) -> Messages:
        """Return all messages of a chat, parents before children. Raises: NotFound("no-chat")."""
        query = sa.select(MESSAGES).where(MESSAGES.c.chat == chat)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(MESSAGES.c.created_at, MESSAGES.c.id)).all()
        if not rows:
            self.get(chat)
        return [Message(**row._mapping) for row in rows]

    def say(self, message: Message) -> Message:
        """Add a message. Raises: NotFound("no-chat", "no-message") when chat or parent is not there."""

        def work(connection: Connection) -> Message:
            self.change(message.chat, connection, updated_at=message.created_at)
            if message.parent is not None:
                is_it = (MESSAGES.c.id == message.parent) & (MESSAGES.c.chat == message.chat)
                if connection.execute(sa.select(MESSAGES.c.id).where(is_it)).first() is None:
                    raise NotFound("no-message", f"there is no message {message.parent[:100]!r} in this chat")  # fmt: skip
            connection.execute(sa.insert(MESSAGES), [columns(message)])
            return message

        return self.database.transact(work)


def _missing(name: str) -> NotFound:
    return NotFound("no-chat", f"there is no chat {name!r}")
