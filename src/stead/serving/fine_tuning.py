"""The routes `/v1/fine_tuning/jobs`: create, list, show, cancel, pause, resume, events, checkpoints.

Knows nothing about training: whoever tunes stands behind a seam. Source: the published OpenAPI description of the
OpenAI API, path /fine_tuning/jobs (schemas CreateFineTuningJobRequest, FineTuneMethod).
"""

import asyncio
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta, Struct

from stead.serving import body, guard, listing
from stead.serving.access import Caller
from stead.serving.exchange import Exchange, no_route
from stead.serving.settings import Settings
from stead.wire import openai_shape

Json = dict[str, Any]  # Any: JSON values
_MOST = 100
_USUAL = "20"
_META = "metadata"
Auto = Literal["auto"]
Steered = Literal["cancel", "pause", "resume"]
_STEERED: dict[str, Steered] = {"cancel": "cancel", "pause": "pause", "resume": "resume"}
FileId = Annotated[str, Meta(min_length=1, max_length=100)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]


class Hyperparameters(Struct, forbid_unknown_fields=True):
    """How to learn; "auto" is what a recipe would do by itself."""

    n_epochs: Auto | Annotated[int, Meta(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Meta(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Meta(gt=0, le=100)] = "auto"


class PreferenceHyperparameters(Hyperparameters, forbid_unknown_fields=True):
    """The same, and how strongly the reference model holds."""

    beta: Auto | Annotated[float, Meta(gt=0, le=2)] = "auto"


class Supervised(Struct, forbid_unknown_fields=True):
    """`method.supervised`."""

    hyperparameters: Hyperparameters = msgspec.field(default_factory=Hyperparameters)


class Preference(Struct, forbid_unknown_fields=True):
    """`method.dpo`."""

    hyperparameters: PreferenceHyperparameters = msgspec.field(
        default_factory=PreferenceHyperparameters
    )


class Method(Struct, forbid_unknown_fields=True):
    """What is learnt from: answers, or pairs of them."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Preference | None = None


class Asked(Struct, forbid_unknown_fields=True):
    """A job as it is ordered. `stead`: settings of our own recipe by dotted keys, over all else."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    training_file: FileId
    validation_file: FileId | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    suffix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[list[Json], Meta(max_length=5)] | None = None
    stead: dict[str, Any] | None = None  # Any: JSON values

    @property
    def learning(self) -> Hyperparameters:
        """What was asked of the learning, wherever it stood."""
        part = None
        if self.method is not None:
            part = self.method.supervised if self.method.type == "supervised" else self.method.dpo
        if part is not None:
            return part.hyperparameters
        return Hyperparameters() if self.hyperparameters is None else self.hyperparameters


_ASKED = msgspec.json.Decoder(Asked)


class Tuner(Protocol):
    """The seam to whoever tunes. Its methods block; they run in threads."""

    def create(self, caller: Caller, asked: Asked) -> Json:
        """Queue a job. Raises: RequestRefused 400 with `param`; RateLimited."""

    def jobs(self, caller: Caller, metadata: dict[str, str] | None) -> list[Json]:
        """Return a caller's jobs, the newest first; only those with that metadata."""

    def job(self, caller: Caller, id_: str) -> Json:
        """Return a job. Raises: NotFound."""

    def steer(self, caller: Caller, id_: str, what: Steered) -> Json:
        """Steer a job; return it. Raises: NotFound; RequestRefused 400 when it is over."""

    def events(self, caller: Caller, id_: str, after: str | None, limit: int) -> list[Json]:
        """Return at most `limit` events, the newest first, those older than `after`."""

    def checkpoints(self, caller: Caller, id_: str) -> list[Json]:
        """Return a job's saved states, the newest first."""


class FineTuning:
    """The group of routes over one Tuner."""

    def __init__(self, tuner: Tuner, settings: Settings) -> None:
        self._tuner = tuner
        self._settings = settings

    async def handle(self, exchange: Exchange, rest: str) -> None:
        """Answer one request below `/v1/fine_tuning`."""
        kind, _, below = rest.partition("/")
        id_, _, tail = below.partition("/")
        if kind != "jobs":
            raise no_route(exchange.path)
        if not id_:
            exchange.allow("GET", "POST")
            told = await (
                self._create(exchange) if exchange.method == "POST" else self._list(exchange)
            )
        elif tail in _STEERED:
            exchange.allow("POST")
            told = await asyncio.to_thread(self._tuner.steer, exchange.caller, id_, _STEERED[tail])
        elif tail in ("", "events", "checkpoints"):
            exchange.allow("GET")
            told = await self._read(exchange, id_, tail)
        else:
            raise no_route(exchange.path)
        await exchange.reply(msgspec.json.encode(told))

    async def _create(self, exchange: Exchange) -> Json:
        guard.check_body_head(exchange.head, self._settings)
        data = await body.read(exchange.receive, self._settings)
        asked = openai_shape.decode_request(_ASKED, data)
        return await asyncio.to_thread(self._tuner.create, exchange.caller, asked)

    async def _list(self, exchange: Exchange) -> Json:
        query = listing.query_of(exchange.query, ("limit", "after"), maps=(_META,))
        wanted = {k[len(_META) + 1 : -1]: v for k, v in query.items() if k.startswith(_META + "[")}
        if query.get(_META) == "null":
            wanted = {}
        found = await asyncio.to_thread(
            self._tuner.jobs, exchange.caller, wanted if wanted else None
        )
        return listing.page(found, {"limit": _USUAL} | query, _MOST)

    async def _read(self, exchange: Exchange, id_: str, tail: str) -> Json:
        if not tail:
            return await asyncio.to_thread(self._tuner.job, exchange.caller, id_)
        query = {"limit": _USUAL} | listing.query_of(exchange.query, ("limit", "after"))
        if tail == "checkpoints":
            found = await asyncio.to_thread(self._tuner.checkpoints, exchange.caller, id_)
            return listing.page(found, query, _MOST)
        limit = listing.limit_of(query, _MOST)
        after = query.pop("after", None)
        more = await asyncio.to_thread(
            self._tuner.events, exchange.caller, id_, after, limit + 1
        )  # one more than is shown tells whether there are more
        return listing.page(more, query, _MOST)
