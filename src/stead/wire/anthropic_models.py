"""The list of models as clients of the Anthropic protocol read it.

Knows nothing about where models come from. Source: the vendor's published API description, Models API.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from stead.messages import ModelCard


def write_models(cards: Sequence[ModelCard]) -> bytes:
    """Encode the list, whole: there is no further page."""
    return msgspec.json.encode(
        {
            "data": [_card(c) for c in cards],
            "has_more": False,
            "first_id": cards[0].id if cards else None,
            "last_id": cards[-1].id if cards else None,
        }
    )


def write_model(card: ModelCard) -> bytes:
    """Encode one model."""
    return msgspec.json.encode(_card(card))


def _card(card: ModelCard) -> dict[str, Any]:  # Any: JSON values
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC),
        "lifecycle": "active",
        "max_input_tokens": card.context_length,
    }
