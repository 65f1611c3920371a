"""One backend and one model of it, with what must be known to choose it: place, price, abilities.

Knows nothing about how candidates are ordered or what happens when one fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from stead.core.address import Place
from stead.inference.backend import Backend
from stead.inference.tokens import prompt_tokens
from stead.messages import EmbedRequest, GenerateRequest, ImagePart, Usage

Request = GenerateRequest | EmbedRequest
PLACES: frozenset[Place] = frozenset({"local", "private", "public"})
BY_TAG: dict[str, frozenset[Place]] = {
    "private": frozenset({"local", "private"}),
    "local_only": frozenset({"local"}),
}
"""Tags of a request (`Call.tags`) that say where it may go."""


class Priced(Protocol):
    """What tokens cost."""

    def cost(self, usage: Usage) -> int:
        """Return the cost in picodollars (1e-12 USD)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`name` is the component or chain entry, `model` what the backend calls it.

    `context` is in tokens, None when not known. `capabilities` empty means not known: nothing is refused
    then. `unavailable` is the reason why it cannot answer at all (an unset key), known when it was made.
    """

    name: str
    model: str
    backend: Backend
    vendor: str = ""
    place: Place = "local"
    prices: Priced | None = None
    context: int | None = None
    capabilities: frozenset[str] = frozenset()
    unavailable: str | None = None

    def able(self, request: Request) -> str | None:
        """Return why this candidate cannot do a request, or None.

        The capabilities asked about are "embedding", "tools", "vision" and "json_schema", and "chat" where
        "embedding" is said. A context counts as too small when the estimated prompt and the tokens asked
        for exceed it.
        """
        if self.unavailable is not None:
            return self.unavailable
        missing = [n for n in needs(request, self.capabilities) if n not in self.capabilities]
        if self.capabilities and missing:
            return f"{self.model!r} has no {missing[0]}"
        if self.context is not None:
            return self._too_long(request, self.context)
        return None

    def _too_long(self, request: Request, context: int) -> str | None:
        asked = request.sampling.max_tokens if isinstance(request, GenerateRequest) else None
        tokens = prompt_tokens(request) + (0 if asked is None else asked)
        if tokens <= context:
            return None
        return f"about {tokens} tokens do not fit the context of {context} of {self.model!r}"

    def most(self, request: Request, default_tokens: int = 1024) -> int | None:
        """Return what a request costs at about most, in picodollars; None when no price is known.

        An answer without a limit is taken to have `default_tokens`. What runs here costs nothing.
        """
        if self.prices is None:
            return 0 if self.place == "local" else None
        if isinstance(request, EmbedRequest):
            return self.prices.cost(Usage(prompt_tokens(request)))
        asked = request.sampling.max_tokens
        answer = (default_tokens if asked is None else asked) * request.sampling.n
        return self.prices.cost(Usage(prompt_tokens(request), answer))


def needs(request: Request, said: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the capabilities that a request cannot do without; `said` is what a candidate claims."""
    if isinstance(request, EmbedRequest):
        yield "embedding"
        return
    if "embedding" in said:  # else to generate goes without saying
        yield "chat"
    if request.tools:
        yield "tools"
    parts = (p for m in request.messages or () if isinstance(m.content, tuple) for p in m.content)
    if any(isinstance(p, ImagePart) for p in parts):
        yield "vision"
    if request.response_format is not None and request.response_format.get("type") == "json_schema":
        yield "json_schema"


def places(request: Request) -> frozenset[Place]:
    """Return where a request may go by its tags; without a call record anywhere."""
    allowed = PLACES
    if request.call is not None:
        for tag in request.call.tags:
            allowed &= BY_TAG.get(tag, PLACES)
    return allowed
