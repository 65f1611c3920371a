"""One backend and one model of it, with what must be known to choose it: place, price, abilities.

Knows nothing about how candidates are ordered or what happens when one fails.
"""

from collections.abc import Sequence
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

    def able(self, request: Request, needs: "Needs | None" = None) -> str | None:
        """Return why this candidate cannot do a request, or None.

        The capabilities asked about are "embedding", "tools", "vision" and "json_schema", and "chat" where
        "embedding" is said. A context counts as too small when the estimated prompt and the tokens asked
        for exceed it. `needs` of the request is made once for all candidates.
        """
        if self.unavailable is not None:
            return self.unavailable
        wanted = Needs(request) if needs is None else needs
        if self.capabilities:
            missing = wanted.missing(self.capabilities)
            if missing is not None:
                return f"{self.model!r} has no {missing}"
        if self.context is not None and wanted.tokens > self.context:
            return f"about {wanted.tokens} tokens do not fit the context of {self.context} of {self.model!r}"
        return None

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


def every_ability(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return what one of them can do; nothing when that is not known of all that can be asked."""
    able = [c.capabilities for c in candidates if c.unavailable is None]
    return tuple(sorted(frozenset().union(*able))) if all(able) else ()


class Needs:
    """What a request cannot do without, worked out when asked and once."""

    __slots__ = ("_capabilities", "_request", "_tokens")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._tokens: int | None = None
        self._capabilities: tuple[str, ...] | None = None

    @property
    def tokens(self) -> int:
        """About how many tokens prompt and answer have together."""
        if self._tokens is None:
            request = self._request
            asked = request.sampling.max_tokens if isinstance(request, GenerateRequest) else None
            self._tokens = prompt_tokens(request) + (0 if asked is None else asked)
        return self._tokens

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The capabilities beyond answering with text."""
        if self._capabilities is None:
            self._capabilities = self._look()
        return self._capabilities

    def _look(self) -> tuple[str, ...]:
        request = self._request
        if isinstance(request, EmbedRequest):
            return ("embedding",)
        found = ["tools"] if request.tools else []
        contents = (m.content for m in request.messages or () if isinstance(m.content, tuple))
        if any(isinstance(part, ImagePart) for parts in contents for part in parts):
            found.append("vision")
        form = request.response_format
        if form is not None and form.get("type") == "json_schema":
            found.append("json_schema")
        return tuple(found)

    def missing(self, said: frozenset[str]) -> str | None:
        """Return the first capability that is not among `said`."""
        found = self.capabilities
        if "embedding" in said and "embedding" not in found:  # else to generate goes without saying
            found = ("chat", *found)
        return next((name for name in found if name not in said), None)


def needs(request: Request) -> tuple[str, ...]:
    """Return the capabilities that a request needs beyond answering with text."""
    return Needs(request).capabilities


def places(request: Request) -> frozenset[Place]:
    """Return where a request may go by its tags; without a call record anywhere."""
    allowed = PLACES
    if request.call is not None:
        for tag in request.call.tags:
            allowed &= BY_TAG.get(tag, PLACES)
    return allowed
