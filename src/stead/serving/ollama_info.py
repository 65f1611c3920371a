"""What Ollama's clients ask besides answers: `/api/tags`, `/api/ps`, `/api/show`, `/api/version`.

Knows nothing about engines: it tells what `Backend.models` tells, and leaves empty what a Backend
does not know (sizes, digests, templates). Source: Ollama's OpenAPI description (docs.ollama.com).
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from stead.inference.backend import Backend
from stead.messages import ModelCard
from stead.serving import body, guard
from stead.serving.exchange import Exchange, no_route
from stead.serving.settings import Settings
from stead.wire import ollama_shape
from stead.wire.openai_shape import decode_request

VERSION: Final = "0.12.6"  # of Ollama, whose shapes these are; clients compare it with their needs
METHODS: Final = {
    "/api/tags": "GET", "/api/ps": "GET", "/api/version": "GET", "/api/show": "POST",
}  # fmt: skip
_NEVER = "0001-01-01T00:00:00Z"  # what Ollama writes for a model that stays loaded


class _Show(Struct):
    """`verbose` and the old `name` are what clients also send."""

    model: Annotated[str, Meta(max_length=512)] = ""
    name: Annotated[str, Meta(max_length=512)] = ""
    verbose: bool | None = None


_SHOW = msgspec.json.Decoder(_Show)


class OllamaInfo:
    """The routes of `METHODS`."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """Answer; errors are told in Ollama's words."""
        exchange.words = ollama_shape.write_error
        if rest:
            raise no_route(exchange.path)
        exchange.allow(METHODS[exchange.path])
        asked = b""
        if exchange.method == "POST":
            guard.check_body_head(exchange.head, self._settings)
            asked = await body.read(exchange.receive, self._settings)
        await exchange.reply(await answer(exchange.path, asked, self._backend))


async def answer(path: str, asked: bytes, backend: Backend) -> bytes:
    """Return the body for one of `METHODS`' paths.

    Raises: RequestRefused 400 for nonsense, 404 for a model that is not served.
    """
    if path == "/api/version":
        return msgspec.json.encode({"version": VERSION})
    cards = await backend.models()
    if path == "/api/show":
        return msgspec.json.encode(_shown(_find(cards, asked)))
    make = _tag if path == "/api/tags" else _loaded
    return msgspec.json.encode({"models": [make(c) for c in cards]})


def _find(cards: list[ModelCard], body_: bytes) -> ModelCard:
    asked = decode_request(_SHOW, body_)
    name = asked.model if asked.model else asked.name
    if not name:
        raise guard.refused(400, "missing-required-parameter", "model is required", param="model")
    for card in cards:
        if card.id == name:
            return card
    raise guard.refused(404, "model-not-found", f"model {name[:200]!r} not found", param="model")


def _details() -> dict[str, Any]:  # Any: JSON values
    empty = ("parent_model", "format", "family", "parameter_size", "quantization_level")
    return dict.fromkeys(empty, "") | {"families": []}


def _tag(card: ModelCard) -> dict[str, Any]:  # Any: JSON values
    found = {
        "name": card.id,
        "model": card.id,
        "modified_at": ollama_shape.write_time(card.created),
    }
    return found | {"size": 0, "digest": "", "details": _details()}


def _loaded(card: ModelCard) -> dict[str, Any]:  # Any: JSON values
    found = {"name": card.id, "model": card.id, "size": 0, "size_vram": 0, "digest": ""}
    if card.context_length is not None:
        found["context_length"] = card.context_length
    return found | {"expires_at": _NEVER, "details": _details()}


def _able(card: ModelCard) -> list[str]:
    """Return what a model can do in Ollama's words: a chat is a completion there."""
    words = ["completion" if c == "chat" else c for c in card.capabilities]
    return list(dict.fromkeys(words)) if words else ["completion"]


def _shown(card: ModelCard) -> dict[str, Any]:  # Any: JSON values
    info: dict[str, Any] = {"general.architecture": "stead"}
    if card.context_length is not None:
        info["stead.context_length"] = card.context_length
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(),
        "model_info": info,
        "capabilities": _able(card),
        "modified_at": ollama_shape.write_time(card.created),
    }
