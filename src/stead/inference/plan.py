"""Which candidates may answer a request, in which order, and why the others may not.

Knows nothing about sending. Made anew for each request, before anything is sent; `stead test` shows it.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stead.core.address import Place
from stead.core.errors import BackendError, ConfigError, NotFound
from stead.inference.candidate import PLACES, Candidate, Needs, Request, places
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
        self._by_name: dict[str, list[str]] = {}  # a name stands before a model of the same name
        for candidate in candidates:
            self._by_name.setdefault(candidate.model, []).append(candidate.name)
        self._by_name |= {c.name: [c.name] for c in candidates}
        twice = {c.name for c in candidates if [o.name for o in candidates].count(c.name) > 1}
        if twice or not candidates:
            raise ConfigError("bad-route", f"a route needs candidates of different names ({twice})")

    def plan(self, request: Request) -> Plan:
        """Return whom to ask.

        Raises: NotFound("model-not-found") for a name that nobody has, where nothing may stand in for it;
        BackendError("no-candidate") when nobody may answer; ConfigError("dangling-target") for rules.
        """
        is_free = request.model in self.bounds.aliases
        named = self._named(request, is_free)
        chosen = tuple(self._choose(request)) if is_free and self._choose is not None else ()
        self._check_targets(chosen)
        able, skipped = self._sorted(request, is_free)
        order = self.policy.order(request, able)
        if named or chosen:
            order = _in_front([*named, *chosen], able, order)
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

    def _sorted(self, request: Request, is_free: bool) -> tuple[list[Candidate], dict[str, str]]:
        """Return who may and can answer, and why the others may not or cannot."""
        allowed = self.bounds.places & places(request)
        models = None if request.call is None or is_free else request.call.models
        needs = Needs(request)
        able: list[Candidate] = []
        skipped: dict[str, str] = {}
        for candidate in self.candidates:
            if candidate.place not in allowed:
                reason = f"it is {candidate.place}, and the request may not go there"
            elif models is not None and not {candidate.name, candidate.model} & models:
                reason = "the key may not ask for it"
            else:
                found = candidate.able(request, needs)
                found = self.too_dear(candidate, request) if found is None else found
                if found is None:
                    able.append(candidate)
                    continue
                reason = found
            skipped[candidate.name] = reason
        return able, skipped

    def _meant(self, request: Request, is_free: bool, names: Sequence[str]) -> str | None:
        """Return who should answer, able or not; None when anyone may."""
        if names:
            return names[0]
        if not is_free:
            return request.model
        first = self.candidates[0]
        return first.name if self.policy.primary and first.unavailable is not None else None

    def _named(self, request: Request, is_free: bool) -> list[str]:
        """Return the candidates that the request names, by name or by model.

        Raises: NotFound("model-not-found") when there is none and nobody may stand in.
        """
        model = request.model
        found = self._by_name.get(model, [])
        if found or is_free or self.bounds.fallback:
            return found
        near = difflib.get_close_matches(model, self._by_name, n=1)
        ask = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(
            "model-not-found",
            f"the model {model[:200]!r} is not served here{ask} (served: {', '.join(self._by_name)})",
            param="model",
        )

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
        for name in chosen:
            if [name] != self._by_name.get(name):
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
