"""What was done differently, by whom it was answered and what it cost: told in headers and fields.

Knows nothing about protocols. Header values are ASCII and short; money is in US dollars here only.
"""

import json
from typing import Any

import msgspec

from stead.core.secret import redact
from stead.messages import Call, Deviation

Header = tuple[bytes, bytes]
_TOLD = 16  # deviations in one answer
_DETAIL = 200  # letters of one
_PICO = 10**12  # picodollars in a dollar


def dollars(cost: int) -> str:
    """Return picodollars as dollars, exactly: 1500000 -> "0.0000015"."""
    text = f"{cost // _PICO}.{cost % _PICO:012d}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def cost_of(call: Call | None) -> int | None:
    """Return what a request has cost in picodollars; None when no attempt has a known price."""
    known = [a.cost for a in call.attempts if a.cost is not None] if call is not None else []
    return sum(known) if known else None


def all_deviations(call: Call | None, found: tuple[Deviation, ...] = ()) -> tuple[Deviation, ...]:
    """Return every deviation once, in the order of their happening."""
    noted = call.deviations if call is not None else []
    return tuple(dict.fromkeys((*noted, *found))) if noted or found else ()


def headers(call: Call | None, model: str, found: tuple[Deviation, ...]) -> list[Header]:
    """Return `x-stead-model`, `x-stead-cost` and `x-stead-deviations`, as far as there is something."""
    made: list[Header] = []
    if model:
        made.append((b"x-stead-model", _ascii(model)))
    cost = cost_of(call)
    if cost is not None:
        made.append((b"x-stead-cost", dollars(cost).encode()))
    if found:
        made.append((b"x-stead-deviations", json.dumps(_plain(found)).encode()))
    return made


def fields(call: Call | None, model: str, found: tuple[Deviation, ...]) -> dict[str, Any]:
    """Return the `stead` object of an answer: model, deviations, attempts, cost in dollars."""
    made: dict[str, Any] = {"model": model, "deviations": _plain(found)}
    cost = cost_of(call)
    if cost is not None:
        made["cost_usd"] = dollars(cost)
    if call is not None and call.attempts:
        made["attempts"] = [
            {"candidate": a.candidate, "model": a.model, "outcome": a.outcome, "code": a.code}
            for a in call.attempts
        ]
    return made


def into(body: bytes, found: dict[str, Any]) -> bytes:
    """Return a JSON object's bytes with the further field `stead`."""
    if not body.endswith(b"}") or body == b"{}":
        return body
    return body[:-1] + b',"stead":' + msgspec.json.encode(found) + b"}"


def _plain(found: tuple[Deviation, ...]) -> list[dict[str, str]]:
    return [{"kind": d.kind, "detail": redact(d.detail[:_DETAIL])} for d in found[:_TOLD]]


def _ascii(text: str) -> bytes:
    kept = "".join(c for c in text[:_DETAIL] if " " <= c <= "~")
    return kept.encode()
