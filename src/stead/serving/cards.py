"""The routes `/v1/models`: what the Backend serves, as far as the key may ask for it.

Knows nothing about engines. Source: the published OpenAPI description of the OpenAI API, schema Model.
"""

import msgspec

from stead.inference.backend import Backend
from stead.messages import ModelCard
from stead.serving import guard
from stead.serving.exchange import Exchange


class Cards:
    """`GET /v1/models` and `GET /v1/models/NAME`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """List the models, or describe one."""
        exchange.allow("GET")
        cards = [c for c in await self._backend.models() if exchange.caller.may(c.id)]
        if not rest:
            listed = {"object": "list", "data": [_card(c) for c in cards]}
            await exchange.reply(msgspec.json.encode(listed))
            return
        for card in cards:
            if card.id == rest:
                await exchange.reply(msgspec.json.encode(_card(card)))
                return
        raise guard.refused(
            404, "model-not-found", f"the model {rest[:200]!r} is not served here", param="model"
        )


def _card(card: ModelCard) -> dict[str, str | int]:
    return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
