"""Limits that several requests, and several processes, keep together: reserve, then settle.

Knows nothing about requests, keys or prices; an amount is a plain integer. `MemoryShared` is for one process,
`store/shared_sql` and `store/shared_redis` for several.

Windows. A limit with `window_s` slides: time is cut into slices of a sixtieth of the window, and what was
taken in the slice where the window begins still counts whole. So no span of `window_s` ever holds more than
`amount`, and what is used up comes back at most a sixtieth of a window late. `calendar` limits begin anew
at midnight UTC, of each day or of each month's first. A limit with neither counts for ever; one of kind
"concurrency" counts what is at work.
"""

import calendar as calendars
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from stead.core.errors import BackendError, BudgetExceeded, ConfigError, RateLimited

Kind = Literal["requests", "tokens", "money", "concurrency"]
Calendar = Literal["day", "month"]

SLICES = 60
_DAY_S = 86_400
_SOON_S = 1.0  # when a place will be free is not known
_ROUNDING_S = 0.001  # so that who waits exactly as long as told has left the slice behind
_DOLLAR = 10**12


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` of a kind per window. Limits of equal scope, name and window share one counter.

    Units: `amount` in requests, tokens, picodollars or requests at once; `window_s` in seconds.
    Raises: ConfigError("bad-limit").
    """

    name: str
    kind: Kind
    amount: int
    window_s: float | None = None
    scope: str = ""
    calendar: Calendar | None = None
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        is_bad = (
            self.amount < 0
            or (self.window_s is not None and not 0 < self.window_s < math.inf)
            or (self.window_s is not None and self.calendar is not None)
            or (self.kind == "concurrency" and (self.window_s or self.calendar) is not None)
        )
        if is_bad:
            raise ConfigError("bad-limit", f"{self!r} is no limit")
        object.__setattr__(self, "id", f"{self.scope}/{self.name}/{self.kind}/{self.span}")

    @property
    def span(self) -> str:
        """Name the window: "60s", "day", "month", "ever" or "once" (at work at the same time)."""
        if self.kind == "concurrency":
            return "once"
        if self.window_s is not None:
            return f"{self.window_s:g}s"
        return "ever" if self.calendar is None else self.calendar

    def slot(self, now: float) -> int:
        """Return the slice of time that `now` (Unix seconds) falls into."""
        if self.window_s is not None:
            return math.floor(now * SLICES / self.window_s)
        if self.calendar == "day":
            return int(now // _DAY_S)
        if self.calendar == "month":
            date = time.gmtime(now)
            return date.tm_year * 12 + date.tm_mon - 1
        return 0

    def first(self, now: float) -> int:
        """Return the oldest slice that still counts."""
        return self.slot(now) - (SLICES if self.window_s is not None else 0)

    def begin(self, slot: int) -> float:
        """Return when a slice begins (Unix seconds); 0 for a limit without window."""
        if self.window_s is not None:
            return slot * self.window_s / SLICES
        if self.calendar == "day":
            return float(slot * _DAY_S)
        if self.calendar == "month":
            return float(calendars.timegm((slot // 12, slot % 12 + 1, 1, 0, 0, 0)))
        return 0.0

    def until(self, slot: int) -> float | None:
        """Return when a slice counts no more (Unix seconds); None: never."""
        if self.window_s is not None:
            return self.begin(slot + SLICES + 1)
        return None if self.calendar is None else self.begin(slot + 1)


class Ask(NamedTuple):
    """So much of one limit."""

    limit: Limit
    amount: int


class Hold(NamedTuple):
    """What a reservation holds of one limit, and in which slice it was taken."""

    limit: Limit
    slot: int
    amount: int


class Reservation(NamedTuple):
    """What was reserved together; give it back with `settle` or `release`, once."""

    id: str
    holds: tuple[Hold, ...]
    expires_at: float  # Unix seconds; then it is free by itself


Actual = Mapping[Kind, int]
"""What was really used, by kind; a kind that is missing was used as reserved."""


class Shared(ABC):
    """Counters that are checked and raised in one step. Exact among all who share them.

    A reservation that is neither settled nor released (its process was killed) frees itself after `hold_s`.
    Settling later than that still counts what was used.
    """

    @abstractmethod
    async def reserve(self, asks: Iterable[Ask]) -> Reservation:
        """Take all of `asks`, or nothing.

        Raises: RateLimited or BudgetExceeded, naming the limit, with `retry_after_s` where waiting helps.
        """

    @abstractmethod
    def settle(self, reservation: Reservation, actual: Actual) -> None:
        """Count what was really used instead of what was reserved. Never waits."""

    def release(self, reservation: Reservation) -> None:
        """Give everything back: nothing was used. Never waits."""
        self.settle(reservation, _NOTHING)

    @abstractmethod
    async def used(self, limit: Limit) -> int:
        """Return what is used of a limit now, reservations included."""

    async def flush(self) -> None:
        """Return when what was settled so far is counted."""
        return

    async def close(self) -> None:
        """Finish what is under way; called by whoever made the counters. Safe to call twice."""
        return


_NOTHING: Actual = {"requests": 0, "tokens": 0, "money": 0}


def settled(hold: Hold, actual: Actual) -> int:
    """Return what stays counted of a hold; a place at work is always given back."""
    return 0 if hold.limit.kind == "concurrency" else actual.get(hold.limit.kind, hold.amount)


def refusal(limit: Limit, used: int, amount: int, retry_after_s: float | None) -> BackendError:
    """Return the error that says which limit is in the way, and for how long."""
    what = f"the limit {limit.name!r}" + (f" of {limit.scope}" if limit.scope else "")
    message = (
        f"{what} is {_shown(limit)}; {_amount(limit, used)} used, {_amount(limit, amount)} asked"
    )
    error: BackendError
    if limit.kind == "money":
        error = BudgetExceeded("budget-exceeded", message)
    elif limit.kind == "concurrency":
        error = RateLimited("too-many-at-once", message)
    else:
        error = RateLimited("limit-reached", message)
    error.details.update(limit=limit.name, scope=limit.scope)
    if retry_after_s is not None:
        error.details["retry_after_s"] = retry_after_s
    return error


def _amount(limit: Limit, amount: int) -> str:
    return f"${amount / _DOLLAR:.6g}" if limit.kind == "money" else str(amount)


def _shown(limit: Limit) -> str:
    if limit.kind == "concurrency":
        return f"{limit.amount} at once"
    unit = "" if limit.kind == "money" else f" {limit.kind}"
    return f"{_amount(limit, limit.amount)}{unit} per {limit.span}".replace(" per ever", " in all")


class Counter:
    """What is used of one limit, by slice of time. `changed` names the slices touched since it was made."""

    __slots__ = ("changed", "oldest", "slots", "total")

    def __init__(self, slots: dict[int, int] | None = None) -> None:
        self.slots = {} if slots is None else slots
        self.total = sum(self.slots.values())
        self.oldest = min(self.slots, default=0)
        self.changed: set[int] = set()

    def take(self, limit: Limit, amount: int, now: float) -> int:
        """Add `amount` and return its slice. Raises: see `refusal`; then nothing has changed."""
        slot = limit.slot(now)
        if slot != self.oldest and self.oldest < limit.first(now):
            self._drop(limit.first(now))
        if self.total + amount > limit.amount:
            raise refusal(limit, self.total, amount, self._wait_s(limit, amount, now))
        if slot not in self.slots:
            self.slots[slot] = 0
            self.oldest = min(self.slots)
        self.slots[slot] += amount
        self.total += amount
        self.changed.add(slot)
        return slot

    def add(self, slot: int, amount: int) -> None:
        """Correct a slice; one that counts no more is left alone."""
        if slot in self.slots:
            self.slots[slot] += amount
            self.total += amount
            self.changed.add(slot)

    def at(self, limit: Limit, now: float) -> int:
        """Return what is used at a time."""
        self._drop(limit.first(now))
        return self.total

    def _drop(self, first: int) -> None:
        for slot in [s for s in self.slots if s < first]:
            self.total -= self.slots.pop(slot)
        self.oldest = min(self.slots, default=first)

    def _wait_s(self, limit: Limit, amount: int, now: float) -> float | None:
        """Return the seconds until enough slices have passed; None when waiting does not help."""
        if amount > limit.amount:
            return None
        if limit.kind == "concurrency":
            return _SOON_S
        over = self.total + amount - limit.amount
        for slot in sorted(self.slots):
            over -= self.slots[slot]
            if over <= 0:
                end = limit.until(slot)
                return None if end is None else end - now + _ROUNDING_S
        return None


Opening = Callable[[Limit], Awaitable[int]]
"""Says what a limit has used before this process began: for budgets that must outlive it."""


class MemoryShared(Shared):
    """The counters of one process; all calls from one event loop.

    Nothing waits between the check and the count, so no lock is needed. `opening` is asked once for each
    limit that outlives a process (calendar limits, and those without window).
    """

    def __init__(
        self,
        *,
        hold_s: float = 900.0,
        clock: Callable[[], float] = time.time,
        opening: Opening | None = None,
    ) -> None:
        self._hold_s = hold_s
        self._clock = clock
        self._opening = opening
        self._counters: dict[str, Counter] = {}
        self._open: dict[str, Reservation] = {}  # in the order of their end
        self._prefix = uuid.uuid4().hex[:8]
        self._number = 0

    async def reserve(self, asks: Iterable[Ask]) -> Reservation:
        """Take all of `asks`, or nothing."""
        asks = tuple(asks)
        if self._opening is not None:
            await self._look_back(self._opening, asks)
        now = self._clock()
        self._expire(now)
        holds: list[Hold] = []
        try:
            for ask in asks:
                limit = ask.limit
                counter = self._counters.get(limit.id)
                if counter is None:
                    counter = self._counters[limit.id] = Counter()
                holds.append(Hold(limit, counter.take(limit, ask.amount, now), ask.amount))
        except BackendError:
            for hold in holds:
                self._counters[hold.limit.id].add(hold.slot, -hold.amount)
            raise
        self._number += 1
        made = Reservation(f"{self._prefix}-{self._number}", tuple(holds), now + self._hold_s)
        self._open[made.id] = made
        return made

    def settle(self, reservation: Reservation, actual: Actual) -> None:
        """Count what was really used instead of what was reserved."""
        is_open = self._open.pop(reservation.id, None) is not None
        for hold in reservation.holds:
            change = settled(hold, actual) - (hold.amount if is_open else 0)
            self._counters[hold.limit.id].add(hold.slot, change)

    async def used(self, limit: Limit) -> int:
        """Return what is used of a limit now, reservations included."""
        now = self._clock()
        self._expire(now)
        counter = self._counters.get(limit.id)
        return 0 if counter is None else counter.at(limit, now)

    def _expire(self, now: float) -> None:
        while self._open:
            first = next(iter(self._open.values()))
            if first.expires_at > now:
                return
            del self._open[first.id]
            for hold in first.holds:
                self._counters[hold.limit.id].add(hold.slot, -hold.amount)

    async def _look_back(self, opening: Opening, asks: tuple[Ask, ...]) -> None:
        for limit, _ in asks:
            if limit.id in self._counters:
                continue
            if limit.window_s is not None or limit.kind == "concurrency":
                continue
            used = await opening(limit)
            if limit.id not in self._counters:  # another request may have asked meanwhile
                self._counters[limit.id] = Counter({limit.slot(self._clock()): used})
