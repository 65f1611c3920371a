"""One request's way through its plan: who was asked, who failed and why, and what is told about it.

Knows nothing about sending.
"""

from collections.abc import Sequence

from stead.core.errors import SteadError
from stead.inference.candidate import Candidate, Request
from stead.inference.plan import Plan, Planner, list_skipped
from stead.inference.strict import declare, refusal
from stead.messages import Deviation
from stead.wire.dialect import RequestRefused

_FINAL = frozenset({"upstream-refused", "deadline", "deviation", "budget-exceeded"})


def stops(error: SteadError) -> bool:
    """Say whether nobody else may be asked: the request itself is refused, or its time or money is spent."""
    return isinstance(error, RequestRefused) or error.code in _FINAL


class Walk:
    """Made anew for each request. `deviations` is complete once somebody `answered`."""

    def __init__(self, planner: Planner, request: Request) -> None:
        self._planner = planner
        self._request = request
        self._plan: Plan = planner.plan(request)
        self._rest = list(self._plan.order)
        self._failures: list[tuple[Candidate, SteadError]] = []
        self.deviations: tuple[Deviation, ...] = ()
        self._said = 0 if request.call is None else len(request.call.deviations)
        if request.strict and self._plan.meant is not None:
            meant = (self._plan.meant, self._plan.why)
            raise refusal(_hops([meant], self._rest[0].name))

    def group(self) -> list[Candidate]:
        """Return whom to ask next: one, or two where the policy hedges.

        What those before have said of their own deviations is forgotten: they did not answer. Raises: the
        last error when nobody is left.
        """
        self._forget()
        first = self._next(0)
        if first is None:
            raise self._last()
        if self._planner.policy.config.hedge_after_s is None or self._request.strict:
            return [first]
        cost = 0 if self._planner.bounds.max_cost is None else first.most(self._request)
        second = self._next(0 if cost is None else cost)
        return [first] if second is None else [first, second]

    def failed(self, candidate: Candidate, error: SteadError) -> None:
        """Take note. Raises: the error, when nobody else may be asked."""
        self._failures.append((candidate, error))
        if self._request.strict or stops(error):
            raise self._last()

    def answered(self, candidate: Candidate, slow: Candidate | None = None) -> None:
        """Say who answered, and who was too slow."""
        hops = [] if self._plan.meant is None else [(self._plan.meant, self._plan.why)]
        hops += [(c.name, e.code) for c, e in self._failures]
        if slow is not None:
            hops.append((slow.name, "slow"))
        if hops:
            self.deviations = _hops(hops, candidate.name)
            declare(self._request, self.deviations)

    def _forget(self) -> None:
        call = self._request.call
        if call is not None:
            del call.deviations[self._said :]

    def put_back(self, candidate: Candidate) -> None:
        """Give back a candidate that was not asked after all."""
        self._rest.insert(0, candidate)

    def _next(self, others: int) -> Candidate | None:
        """Return the next candidate that the ceiling allows, beside `others` picodollars at work."""
        while self._rest:
            candidate = self._rest.pop(0)
            reason = self._planner.too_dear(candidate, self._request, others)
            if reason is None:
                return candidate
            self._plan.skipped[candidate.name] = reason
        return None

    def _last(self) -> SteadError:
        if not self._failures:  # the ceiling was reached by what other layers spent
            return self._planner.nobody(self._request, self._plan.skipped)
        error = self._failures[-1][1]
        asked = [{"candidate": c.name, "code": e.code} for c, e in self._failures]
        error.details["attempts"] = asked + list_skipped(self._plan.skipped)
        return error


def _hops(before: Sequence[tuple[str, str]], last: str) -> tuple[Deviation, ...]:
    """Return a deviation for each step from one to the next, with the reason."""
    after = [*(name for name, _ in before), last]
    return tuple(
        Deviation("fallback_used", f"{name} → {after[i + 1]}: {why}")
        for i, (name, why) in enumerate(before)
    )
