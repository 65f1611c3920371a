"""Which candidates may answer a request, in which order, and why the others may not.

Knows nothing about sending. Made anew for each request, before anything is sent; `stead test` shows it.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stead.core.address import Place
from stead.core.errors import BackendError, ConfigError, NotFound
from stead.inference.candidate import PLACES, Candidate, Request, places
from stead.inference.policy import Policy
from stead.messages import EmbedRequest

Choose = Callable[[Request], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a route may do.

    `aliases` are the model names that leave the choice to the route; any other name asks for a candidate by
    its name or model. `fallback` False: only the first candidate is asked. `places`: where requests may go,
    whatever they say. `max_cost`: picodollars for all attempts of a request together.
    """

    aliases: frozenset[str] = frozenset({"auto"})
    fallback: bool = True
    places: frozenset[Place] = PLACES
    max_cost: int | None = None


@dataclass(slots=True)
class Plan:
    """`order`: whom to ask; `skipped`: why not the others, by name.

    `meant` is who should answer, when that is not `order[0]`: whom the request names, a rule chooses, or the
    list of candidates begins with. `why` is why it does not.
    """

    order: list[Candidate]
    skipped: dict[str, str] = field(default_factory=dict)
    meant: str | None = None
    why: str = ""


class Planner:
    """Candidates, their policy and bounds. `choose` returns the names that the rules put in front."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        policy: Policy,
        bounds: Bounds | None = None,
        choose: Choose | None = None,
    ) -> None:
        self.candidates = list(candidates)
        self.policy = policy
        self.bounds = Bounds() if bounds is None else bounds
        self._choose = choose
        twice = {c.name for c in candidates if [o.name for o in candidates].count(c.name) > 1}
        if twice or not candidates:
            raise ConfigError("bad-route", f"a route needs candidates of different names ({twice})")

    def plan(self, request: Request) -> Plan:
        """Return whom to ask.

        Raises: NotFound("model-not-found") for a name that nobody has, where nothing may stand in for it;
        BackendError("no-candidate") when nobody may answer; ConfigError("dangling-target") for rules.
        """
        named = self._named(request)
        is_free = request.model in self.bounds.aliases
        chosen = tuple(self._choose(request)) if is_free and self._choose is not None else ()
        self._check_targets(chosen)
        skipped: dict[str, str] = {}
        able = []
        for candidate in self.candidates:
            reason = self._refusal(candidate, request)
            if reason is None:
                able.append(candidate)
            else:
                skipped[candidate.name] = reason
        order = _in_front([*named, *chosen], able, self.policy.order(request, able))
        if isinstance(request, EmbedRequest):  # vectors of another model cannot be compared
            order = [c for c in order if c.model == order[0].model]
        if not self.bounds.fallback:
            order = [c for c in order if is_free or c.name in named][:1]
        if not order:
            raise self.nobody(request, skipped)
        meant = self._meant(request, is_free, [*named, *chosen])
        if meant is None or meant == order[0].name:
            return Plan(order, skipped)
        return Plan(order, skipped, meant, skipped.get(meant, "it is not served here"))

    def _meant(self, request: Request, is_free: bool, names: Sequence[str]) -> str | None:
        """Return who should answer, able or not; None when anyone may."""
        if names:
            return names[0]
        if not is_free:
            return request.model
        first = self.candidates[0]
        return first.name if self.policy.primary and first.unavailable is not None else None

    def _named(self, request: Request) -> list[str]:
        """Return the candidates that the request names, by name or by model.

        Raises: NotFound("model-not-found") when there is none and nobody may stand in.
        """
        model = request.model
        found = [c.name for c in self.candidates if model == c.name]
        found = found if found else [c.name for c in self.candidates if model == c.model]
        if found or model in self.bounds.aliases or self.bounds.fallback:
            return found
        known = list(dict.fromkeys(n for c in self.candidates for n in (c.name, c.model)))
        near = difflib.get_close_matches(model, known, n=1)
        ask = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(
            "model-not-found",
            f"the model {model[:200]!r} is not served here{ask} (served: {', '.join(known)})",
            param="model",
        )

    def _refusal(self, candidate: Candidate, request: Request) -> str | None:
        if candidate.place not in self.bounds.places & places(request):
            return f"it is {candidate.place}, and the request may not go there"
        if not self._permitted(candidate, request):
            return "the key may not ask for it"
        cost = None if self.bounds.max_cost is None else self.too_dear(candidate, request)
        return candidate.able(request) if cost is None else cost

    def _permitted(self, candidate: Candidate, request: Request) -> bool:
        if request.call is None or request.call.models is None:
            return True
        names = {candidate.name, candidate.model}
        if request.model in self.bounds.aliases:  # who may ask the route may have what it chooses
            return True
        return bool(names & request.call.models)

    def too_dear(self, candidate: Candidate, request: Request, others: int = 0) -> str | None:
        """Return why a candidate would exceed `max_cost` after what was spent, or None."""
        if self.bounds.max_cost is None:
            return None
        most = candidate.most(request)
        if most is None:
            return "its price is not known, and there is a ceiling"
        attempts = () if request.call is None else request.call.attempts
        spent = others + sum(a.cost for a in attempts if a.cost is not None)
        if spent + most <= self.bounds.max_cost:
            return None
        return f"up to ${(spent + most) / 1e12:.6f} exceeds the ceiling of ${self.bounds.max_cost / 1e12:.6f}"

    def _check_targets(self, chosen: Sequence[str]) -> None:
        known = {c.name for c in self.candidates}
        for name in chosen:
            if name not in known:
                raise ConfigError(
                    "dangling-target", f"a rule names {name!r}, which is no candidate"
                )

    def nobody(self, request: Request, skipped: dict[str, str]) -> BackendError:
        """Return the error that says why nobody may answer."""
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        missing = all(c.unavailable is not None for c in self.candidates)
        return BackendError(
            "no-candidate",
            f"nobody may answer for {request.model[:200]!r}: {reasons}",
            status=503 if missing else 400,
            attempts=list_skipped(skipped),
        )


def _in_front(
    names: Sequence[str], able: Sequence[Candidate], rest: Sequence[Candidate]
) -> list[Candidate]:
    by_name = {c.name: c for c in able}
    first = [by_name[n] for n in dict.fromkeys(names) if n in by_name]
    return first + [c for c in rest if c not in first]


def list_skipped(skipped: dict[str, str]) -> list[dict[str, str]]:
    """Return those who were not asked, in the shape of `details["attempts"]`."""
    return [{"candidate": n, "code": "skipped", "reason": why} for n, why in skipped.items()]
