"""The routes `/v1/models`: what the Backend serves, as far as the key may ask for it.

Knows nothing about engines. Two protocols share these routes; the header `anthropic-version`, which every
request of that protocol has, tells them apart. Source: the published OpenAPI description of the OpenAI API,
schema Model.
"""

from collections.abc import Sequence

import msgspec

from stead.inference.backend import Backend
from stead.messages import ModelCard
from stead.serving import guard
from stead.serving.exchange import Exchange
from stead.wire import anthropic_models, anthropic_shape


class Cards:
    """`GET /v1/models` and `GET /v1/models/NAME`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """List the models, or describe one."""
        exchange.allow("GET")
        write_all, write_one = _write_cards, _write_card
        if exchange.head.anthropic:
            exchange.words = anthropic_shape.write_error
            write_all, write_one = anthropic_models.write_models, anthropic_models.write_model
        cards = [c for c in await self._backend.models() if exchange.caller.may(c.id)]
        if not rest:
            await exchange.reply(write_all(cards))
            return
        for card in cards:
            if card.id == rest:
                await exchange.reply(write_one(card))
                return
        raise guard.refused(
            404, "model-not-found", f"the model {rest[:200]!r} is not served here", param="model"
        )


def _write_cards(cards: Sequence[ModelCard]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_card(c) for c in cards]})


def _write_card(card: ModelCard) -> bytes:
    return msgspec.json.encode(_card(card))


def _card(card: ModelCard) -> dict[str, str | int]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
