"""Queries and pages of the OpenAI protocol's lists.

Knows nothing about what is listed. Source: the published OpenAPI description of the OpenAI API
(parameters `limit`, `after`, `order` of its list operations).
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from stead.serving import guard

_QUERY_BYTES = 4096


def query_of(query: bytes, known: Sequence[str], maps: Sequence[str] = ()) -> dict[str, str]:
    """Return a query's values; of `maps` the names `map[key]` are known too.

    Raises: RequestRefused 400 for nonsense and for unknown names.
    """
    try:
        parsed = parse_qs(
            query[:_QUERY_BYTES].decode("ascii"), keep_blank_values=True, max_num_fields=16
        )
    except ValueError as error:
        raise guard.refused(400, "bad-query", "the query cannot be read") from error
    found = {name: values[-1] for name, values in parsed.items()}
    inside = {n for n in found if n.endswith("]") and n.partition("[")[0] in maps}
    strange = sorted(found.keys() - {*known, *maps} - inside)
    if strange:
        name = strange[0][:100]
        raise guard.refused(400, "unknown-parameter", f"unknown parameter: {name!r}", param=name)
    return found


def limit_of(query: dict[str, str], most: int) -> int:
    """Return how many are asked for; `most` when nothing is said. Raises: RequestRefused 400."""
    limit = query.get("limit", str(most))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= most:
        raise guard.refused(
            400, "invalid-value", f"limit is {limit[:20]!r}, not 1 … {most}", param="limit"
        )
    return int(limit[:9])


def page(found: Sequence[dict[str, Any]], query: dict[str, str], most: int) -> dict[str, Any]:
    """Return one page of objects that have an `id`, newest first unless asked otherwise.

    Raises: RequestRefused 400 for a limit or order that is none.
    """
    limit, order = limit_of(query, most), query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise guard.refused(
            400, "invalid-value", f"order is {order[:20]!r}, not 'asc' or 'desc'", param="order"
        )
    rows = list(found) if order == "desc" else list(reversed(found))
    after = query.get("after")
    if after is not None:
        at = next((i for i, row in enumerate(rows) if row["id"] == after), len(rows))
        rows = rows[at + 1 :]
    shown = rows[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(rows) > len(shown),
    }
