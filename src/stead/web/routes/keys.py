"""`/api/keys`, `/api/spend`, `/api/requests`: who may ask models, for how much, what it has cost.

Knows nothing about limits or the ledger beyond their sums. Money is in US dollars.
"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from stead.app.access import Grant, create
from stead.app.access import check as check_grant
from stead.app.requests import Seen
from stead.store.access import KeyRow
from stead.store.spend import By, Sum
from stead.web.deps import Here
from stead.web.guard import Guarded
from stead.web.live import event_stream, last_id
from stead.web.shapes import Body, Done, Json, Page, iso, iso_or_none

router = APIRouter(route_class=Guarded, tags=["gateway"])
_USD = 10**12  # picodollars
_BY: dict[str, By] = {
    "key": "key",
    "model": "model",
    "day": "day",
    "served": "served",
    "strategy": "strategy",
}
Amount = Annotated[int | None, Field(ge=1, le=10**12)]
Dollars = Annotated[float | None, Field(ge=0, le=1e6)]
Models = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=500)]] | None, Field(max_length=200)
]


class KeyInfo(BaseModel):
    """One key; itself it is told once, when it is made."""

    id: str
    name: str
    user: str | None = None
    models: list[str] | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    daily_usd: float | None = None
    monthly_usd: float | None = None
    created: str
    expires: str | None = None
    revoked: str | None = None
    spent_usd: float = 0.0
    requests: int = 0
    key: str | None = None


class Limits(Body):
    """What a key may do; null: no limit."""

    models: Models = None
    rpm: Amount = None
    tpm: Amount = None
    concurrency: Amount = None
    daily_usd: Dollars = None
    monthly_usd: Dollars = None
    days: int | None = Field(default=None, ge=1, le=3650, description="until it expires")


class NewKey(Limits):
    """A key to make."""

    name: str = Field(pattern=r"^[\w .@:+-]{1,64}$")


class SpendLine(BaseModel):
    """What one key, model or day has used."""

    label: str
    requests: int
    tokens: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    unpriced: int
    failed: int
    cached: int


class Asked(BaseModel):
    """One request that is over; `status` 499: the client left."""

    number: int
    at: str
    id: str
    route: str
    model: str
    status: int
    code: str
    seconds: float
    first_s: float | None = None
    key: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@router.get("/api/keys")
def list_keys(here: Here) -> Page[KeyInfo]:
    """List every key, oldest first, with what it has spent."""
    sums = {s.name: s for s in here.accounts.spend.sums("key")}
    found = [_key(row, sums.get(row.id)) for row in here.accounts.keys.all()]
    return Page(items=found, total=len(found))


@router.post("/api/keys", status_code=201)
def make_key(here: Here, body: NewKey) -> KeyInfo:
    """Make a key for the gateway; it is shown this once."""
    now = here.clock()
    made = create(here.accounts.keys, body.name, _grant(body, now), now=now)
    return _key(made.key, None).model_copy(update={"key": made.token.reveal()})


@router.patch("/api/keys/{key_id}")
def limit_key(here: Here, key_id: str, body: Limits) -> KeyInfo:
    """Change what is given of a key's limits; null takes a limit away."""
    grant = _grant(body, here.clock())
    check_grant(grant)
    given = {_COLUMNS.get(name, name) for name in body.model_fields_set}
    changes: Json = {k: v for k, v in asdict(grant).items() if k in given}
    return _key(here.accounts.keys.limit(key_id, changes), None)


@router.delete("/api/keys/{key_id}")
def revoke_key(here: Here, key_id: str) -> Done:
    """Take a key out of force."""
    here.accounts.keys.revoke(key_id)
    here.identities.forget()
    return Done()


@router.get("/api/spend")
def get_spend(
    here: Here,
    by: Literal["key", "model", "day", "served", "strategy"] = "day",
    since: Annotated[float | None, Query(ge=0, le=1e12, description="Unix seconds")] = None,
) -> Page[SpendLine]:
    """Add up what was spent; dearest first, days in order."""
    names = {k.id: k.name for k in here.accounts.keys.all()} if by == "key" else {}
    found = [_line(s, names) for s in here.accounts.spend.sums(_BY[by], since=since)]
    return Page(items=found, total=len(found))


@router.get("/api/requests", response_model=Page[Asked])
async def list_requests(
    here: Here, request: Request, live: Annotated[bool, Query()] = False
) -> Page[Asked] | StreamingResponse:
    """List the newest requests of the gateway; `live=1`: follow them as server-sent events."""
    if live:

        def read(after: int) -> tuple[list[tuple[int, Json]], bool]:
            return [(s.number, _asked(s).model_dump()) for s in here.requests.after(after)], True

        return await event_stream(request, read, last_id(request))
    found = [_asked(seen) for seen in here.requests.after()[::-1]]
    return Page(items=found, total=len(found))


_COLUMNS = {"daily_usd": "daily_budget", "monthly_usd": "monthly_budget", "days": "expires_at"}


def _asked(seen: Seen) -> Asked:
    values = asdict(seen)
    return Asked(**values | {"at": iso(values["at"])})


def _grant(body: Limits, now: float) -> Grant:
    return Grant(
        models=None if body.models is None else tuple(body.models), rpm=body.rpm, tpm=body.tpm,
        concurrency=body.concurrency, daily_budget=_pico(body.daily_usd),
        monthly_budget=_pico(body.monthly_usd),
        expires_at=None if body.days is None else now + body.days * 86_400,
    )  # fmt: skip


def _pico(usd: float | None) -> int | None:
    return None if usd is None else round(usd * _USD)


def _usd(pico: int | None) -> float | None:
    return None if pico is None else pico / _USD


def _key(row: KeyRow, spent: Sum | None) -> KeyInfo:
    return KeyInfo(
        id=row.id, name=row.name, user=row.user_id, models=None if row.models is None else list(row.models),
        rpm=row.rpm, tpm=row.tpm, concurrency=row.concurrency, daily_usd=_usd(row.daily_budget),
        monthly_usd=_usd(row.monthly_budget), created=iso(row.created_at), expires=iso_or_none(row.expires_at),
        revoked=iso_or_none(row.revoked_at), spent_usd=0.0 if spent is None else spent.cost / _USD,
        requests=0 if spent is None else spent.requests,
    )  # fmt: skip


def _line(one: Sum, names: dict[str, str]) -> SpendLine:
    return SpendLine(
        label=names.get(one.name, one.name), requests=one.requests,
        tokens=one.prompt_tokens + one.completion_tokens, prompt_tokens=one.prompt_tokens,
        completion_tokens=one.completion_tokens, usd=one.cost / _USD, unpriced=one.unpriced,
        failed=one.failed, cached=one.cached,
    )  # fmt: skip
