"""`/api/chats`, `/api/playground`: conversations as trees; answers themselves come from `/v1`.

Knows nothing about models beyond their names. A chat is its owner's: to others it is not there.
"""

import asyncio
import uuid
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from stead.app.identity import Who
from stead.core.errors import NotFound
from stead.store.chats import Chat as StoredChat
from stead.store.chats import Message as StoredMessage
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.shapes import After, Body, Done, Json, Limit, Page, Words, iso

router = APIRouter(route_class=Guarded, tags=["playground"])
Role = Literal["system", "user", "assistant", "tool"]
_TITLED = 200  # the newest runs, whose names people know
Content = str | list[Json]
Text = Annotated[str, Field(max_length=4_000_000)]


class Message(BaseModel):
    """One message; `parent` None begins a branch."""

    id: str
    parent: str | None
    role: Role
    content: Content
    model: str | None = None
    usage: Json | None = None
    deviations: list[Json | str] = []
    created: str


class ChatHead(BaseModel):
    """One conversation without its messages."""

    id: str
    title: str
    settings: Json
    created: str
    updated: str


class Chat(ChatHead):
    """One conversation with its tree of messages, parents before children."""

    messages: list[Message]


class NewChat(Body):
    """A conversation to begin; `settings`: models, system prompt, parameters."""

    title: str = Field(default="New chat", min_length=1, max_length=200)
    settings: Json = Field(default={})


class ChatChange(Body):
    """What to change of a conversation."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    settings: Json | None = None


class NewMessage(Body):
    """What was said."""

    parent: str | None = Field(default=None, max_length=64)
    role: Role
    content: Text | list[Json]
    model: str | None = Field(default=None, max_length=500)
    usage: Json | None = None
    deviations: list[Json | str] = Field(default=[], max_length=200)


class Askable(BaseModel):
    """A name that `/v1/chat/completions` answers to.

    `title` is what people call it where that is another name, else ""; `sees`: whether it reads pictures,
    None: not known.
    """

    id: str
    title: str = ""
    context: int | None = None
    vendor: str = ""
    sees: bool | None = None


@router.get("/api/chats")
def list_chats(
    here: Here, who: Asking, q: Words = None, limit: Limit = 50, after: After = None
) -> Page[ChatHead]:
    """List your conversations, newest first."""
    found = here.stores.chats.list(owner=who.id, q=q, limit=limit, after=after)
    return Page(items=[_head(row) for row in found.items], next=found.next, total=found.total)


@router.post("/api/chats", status_code=201)
def add_chat(here: Here, who: Asking, body: NewChat) -> Chat:
    """Begin a conversation."""
    now = here.clock()
    made = StoredChat(uuid.uuid4().hex, body.title, now, now, who.id, body.settings)
    return _whole(here, here.stores.chats.add(made))


@router.get("/api/chats/{chat_id}")
def get_chat(here: Here, who: Asking, chat_id: str) -> Chat:
    """Return a conversation with its messages."""
    return _whole(here, _mine(here, who, chat_id))


@router.patch("/api/chats/{chat_id}")
def change_chat(here: Here, who: Asking, chat_id: str, body: ChatChange) -> ChatHead:
    """Rename a conversation or change its settings."""
    _mine(here, who, chat_id)
    values = {k: v for k, v in body.model_dump().items() if v is not None}
    return _head(here.stores.chats.change(chat_id, updated_at=here.clock(), **values))


@router.delete("/api/chats/{chat_id}")
def remove_chat(here: Here, who: Asking, chat_id: str) -> Done:
    """Remove a conversation."""
    _mine(here, who, chat_id)
    here.stores.chats.remove(chat_id)
    return Done()


@router.post("/api/chats/{chat_id}/messages", status_code=201)
def add_message(here: Here, who: Asking, chat_id: str, body: NewMessage) -> Message:
    """Add a message below another one; a second child of a message is a branch."""
    _mine(here, who, chat_id)
    made = StoredMessage(
        uuid.uuid4().hex, chat_id, body.parent, body.role, body.content, here.clock(), body.model,
        body.usage, list(body.deviations),
    )  # fmt: skip
    return _message(here.stores.chats.say(made))


@router.get("/api/playground/models")
async def list_askable(here: Here) -> Page[Askable]:
    """List what can be asked here."""
    cards = await here.served.backend.models() if here.served is not None else []
    runs = await asyncio.to_thread(here.stores.runs.list, limit=_TITLED)
    titles = {
        run.id: f"{run.name} (tuned {Path(run.model).name})" for run in runs.items if run.name
    }
    found = [
        Askable(
            id=card.id, title=titles.get(card.id, ""), context=card.context_length, vendor=card.owned_by,
            sees="vision" in card.capabilities if card.capabilities else None,
        )
        for card in cards
    ]  # fmt: skip
    return Page(items=found, total=len(found))


def _mine(here: Here, who: Who, chat_id: str) -> StoredChat:
    found = here.stores.chats.find(chat_id)
    if found is None or found.owner != who.id:
        raise NotFound("no-chat", f"there is no chat {chat_id[:100]!r}")
    return found


def _head(row: StoredChat) -> ChatHead:
    return ChatHead(
        id=row.id, title=row.title, settings=row.settings, created=iso(row.created_at),
        updated=iso(row.updated_at),
    )  # fmt: skip


def _whole(here: Here, row: StoredChat) -> Chat:
    messages = [_message(m) for m in here.stores.chats.messages(row.id)]
    return Chat(**_head(row).model_dump(), messages=messages)


def _message(row: StoredMessage) -> Message:
    return Message.model_validate(
        {"id": row.id, "parent": row.parent, "role": row.role, "content": row.content, "model": row.model,
         "usage": row.usage, "deviations": row.deviations, "created": iso(row.created_at)}
    )  # fmt: skip
