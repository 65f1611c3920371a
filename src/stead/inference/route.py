"""Names to Backends, and several candidates behind one name: the first step of every request's way.

Knows nothing about what a Backend is, or how candidates are chosen: see `plan` and `policy`.
"""

import difflib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from msgspec.structs import replace

from stead.core.errors import NotFound, SteadError
from stead.inference.backend import Backend, close_stream
from stead.inference.candidate import Candidate, Request, every_ability
from stead.inference.opening import Opened, opened
from stead.inference.plan import Bounds, Choose, Plan, Planner
from stead.inference.policy import Policy, Seen
from stead.inference.race import Won, race
from stead.inference.strict import with_reply
from stead.inference.walk import Walk
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
)

T = TypeVar("T")


class ByName(Backend):
    """Answer for several models, each by the name that clients use.

    `targets` maps that name to a Backend and to the name by which the Backend knows the model. Those
    in `adapted` also answer to `name:adapter`; whether there is such an adapter they know themselves.
    `describes`: the Backends tell what they serve without asking anybody.
    """

    def __init__(
        self,
        targets: Mapping[str, tuple[Backend, str]],
        adapted: frozenset[str] = frozenset(),
        *,
        describes: bool = False,
    ) -> None:
        self._targets = dict(targets)
        self._adapted = adapted
        self._described = frozenset(targets) if describes else adapted

    def _find(self, name: str) -> tuple[Backend, str]:
        found = self._targets.get(name)
        if found is None:
            base, _, adapter = name.rpartition(":")
            if base in self._adapted:
                backend, inner = self._targets[base]
                return backend, f"{inner}:{adapter}"
            near = difflib.get_close_matches(name, self._targets, n=1)
            ask = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(self._targets))
            raise NotFound(
                "model-not-found",
                f"the model {name[:200]!r} is not served here{ask} (served: {known})",
                param="model",
            )
        return found

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: NotFound("model-not-found")."""
        backend, name = self._find(request.model)
        if name == request.model:
            return await backend.generate(request, deadline)
        reply = await backend.generate(replace(request, model=name), deadline)
        return replace(reply, model=request.model)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece. Raises: NotFound("model-not-found"), at once."""
        backend, name = self._find(request.model)
        if name == request.model:
            return backend.stream(request, deadline)
        return _renamed(backend.stream(replace(request, model=name), deadline), request.model)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors. Raises: NotFound("model-not-found")."""
        backend, name = self._find(request.model)
        reply = await backend.embed(replace(request, model=name), deadline)
        return replace(reply, model=request.model)

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt. Raises: NotFound("model-not-found")."""
        backend, name = self._find(request.model)
        return await backend.count(replace(request, model=name), deadline)

    async def models(self) -> list[ModelCard]:
        """List every name; with what is known of it, and its adapters, where it is asked."""
        found = []
        for name, (backend, inner) in self._targets.items():
            if name in self._described:
                cards = await backend.models()
                found += [replace(card, id=name + card.id[len(inner) :]) for card in cards]
            else:
                found.append(ModelCard(id=name))
        return found

    async def close(self) -> None:
        """Close every Backend once."""
        for backend in {id(b): b for b, _ in self._targets.values()}.values():
            await backend.close()


async def _renamed(chunks: AsyncIterator[Chunk], name: str) -> AsyncIterator[Chunk]:
    try:
        async for chunk in chunks:
            yield replace(chunk, model=name)
    finally:
        await close_stream(chunks)


async def _keep(_: object) -> None:
    """Do nothing with what a loser answered: it has been recorded already."""


@dataclass(slots=True)
class _Answer(Generic[T]):
    """What came of asking: who gave it, when they were asked, and what is to be told about it."""

    result: T
    candidate: str
    begun: float
    deviations: tuple[Deviation, ...]


class Route(Backend):
    """Several candidates behind one name, asked one after another until one answers.

    Before the first content byte the next candidate may take over; after it an error stays an error. What
    stops a fallback: a refused input, the deadline, a strict request, and that nobody else may answer (see
    `plan`). An answer that is not of who was meant carries a deviation `fallback_used` for each step.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        policy: Policy,
        *,
        bounds: Bounds | None = None,
        choose: Choose | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._planner = Planner(candidates, policy, bounds, choose)
        self._policy = policy
        self._clock = clock

    def plan(self, request: Request) -> Plan:
        """Return whom a request would ask, and why not the others; sends nothing."""
        return self._planner.plan(request)

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole."""

        async def ask(candidate: Candidate) -> Reply:
            asked = replace(request, model=candidate.model)
            return await candidate.backend.generate(asked, deadline)

        answer = await self._first(request, ask)
        self._note(answer)
        return with_reply(answer.result, answer.deviations)

    async def embed(self, request: EmbedRequest, deadline: float | None = None) -> EmbedReply:
        """Turn texts into vectors; falls back among candidates of the same model only."""

        async def ask(candidate: Candidate) -> EmbedReply:
            asked = replace(request, model=candidate.model)
            return await candidate.backend.embed(asked, deadline)

        answer = await self._first(request, ask)
        self._note(answer)
        return answer.result

    async def count(self, request: GenerateRequest, deadline: float | None = None) -> int:
        """Count the tokens of a request's prompt, by the first candidate that can."""

        async def ask(candidate: Candidate) -> int:
            asked = replace(request, model=candidate.model)
            return await candidate.backend.count(asked, deadline)

        return (await self._first(request, ask)).result

    async def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece."""

        async def ask(candidate: Candidate) -> Opened:
            asked = replace(request, model=candidate.model)
            return await opened(candidate.backend.stream(asked, deadline))

        answer = await self._first(request, ask, Opened.close)
        first_s = self._clock() - answer.begun
        head, rest = answer.result.head, answer.result.rest
        if answer.deviations:
            head[0] = replace(head[0], deviations=(*head[0].deviations, *answer.deviations))
        try:
            for chunk in head:
                yield chunk
            async for chunk in rest:
                yield chunk
            self._note(answer, first_s=first_s)
        except SteadError:
            self._note(answer, first_s=first_s, ok=False)
            raise
        finally:
            await close_stream(rest)

    async def models(self) -> list[ModelCard]:
        """List the names that leave the choice to the route, and every candidate; asks nobody."""
        planner = self._planner
        able = every_ability(planner.candidates)
        aliases = sorted(planner.bounds.aliases)
        return [ModelCard(id=alias, capabilities=able) for alias in aliases] + [
            ModelCard(
                id=c.name,
                owned_by=c.vendor if c.vendor else "stead",
                context_length=c.context,
                capabilities=tuple(sorted(c.capabilities)),
            )
            for c in planner.candidates
        ]

    async def close(self) -> None:
        """Close every candidate's Backend once."""
        for backend in {id(c.backend): c.backend for c in self._planner.candidates}.values():
            await backend.close()

    async def _first(
        self,
        request: Request,
        ask: Callable[[Candidate], Awaitable[T]],
        discard: Callable[[T], Awaitable[None]] = _keep,
    ) -> _Answer[T]:
        """Ask one after another until one answers. Raises: the last error, with every one's code."""
        walk = Walk(self._planner, request)
        while True:
            group = walk.group()
            begun = self._clock()
            won = await self._ask(group, ask, discard)
            for number, error in sorted(won.errors.items()):
                self._policy.note(Seen(group[number].name, False, self._clock() - begun))
                if won.by is None or number < won.by:
                    walk.failed(group[number], error)
            if won.by is not None:
                slow = group[0] if won.by == 1 and 0 not in won.errors else None
                walk.answered(group[won.by], slow)
                return _Answer(won.results[won.by], group[won.by].name, begun, walk.deviations)
            if len(group) > len(won.errors):
                walk.put_back(group[1])

    async def _ask(
        self,
        group: Sequence[Candidate],
        ask: Callable[[Candidate], Awaitable[T]],
        discard: Callable[[T], Awaitable[None]],
    ) -> Won[T]:
        delay_s = self._policy.config.hedge_after_s
        if len(group) > 1 and delay_s is not None:
            return await race([partial(ask, c) for c in group], delay_s, discard)
        try:
            return Won({0: await ask(group[0])}, 0)
        except SteadError as error:
            return Won(errors={0: error})

    def _note(self, answer: _Answer[T], *, first_s: float | None = None, ok: bool = True) -> None:
        seconds = self._clock() - answer.begun
        self._policy.note(Seen(answer.candidate, ok, seconds, first_s))
