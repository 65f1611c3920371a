"""A circuit breaker: an endpoint that keeps failing is left alone for a while, then asked once.

Knows nothing about requests, errors or endpoints; whoever sends tells it how it went.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stead.core.errors import BackendError

State = Literal["closed", "open", "half-open"]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open: `failures` in a row, or `share` of the last `window`. Then ask once per `probe_s`."""

    failures: int = 5
    window: int = 20
    share: float = 0.5
    probe_s: float = 5.0


class Breaker:
    """The circuit of one endpoint. Every `enter` is followed by one of the other three.

    `clock` is monotonic, in seconds. Call from one event loop.
    """

    def __init__(
        self,
        name: str = "",
        policy: BreakerPolicy | None = None,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self._policy = BreakerPolicy() if policy is None else policy
        self._clock = clock
        self._row = 0
        self._last: deque[bool] = deque(maxlen=self._policy.window)
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Closed: all may pass; open: none; half-open: one may, or is on its way."""
        if self._opened is None:
            return "closed"
        return "half-open" if self._wait_s() <= 0 else "open"

    def enter(self) -> None:
        """Ask to send. Raises: BackendError("circuit-open") with how long to wait."""
        if self._opened is None:
            return
        wait_s = self._wait_s()
        if wait_s > 0 or self._probing:
            raise BackendError(
                "circuit-open",
                f"{self.name} keeps failing and is left alone for {max(wait_s, 0.0):.1f} s",
                status=503,
                retry_after_s=max(wait_s, 0.0),
            )
        self._probing = True

    def succeeded(self) -> None:
        """Say that the endpoint answered; closes the circuit."""
        self._row = 0
        self._last.append(True)
        if self._opened is not None:
            self._opened = None
            self._last.clear()
        self._probing = False

    def failed(self) -> None:
        """Say that the endpoint failed; may open the circuit, and opens it again after a probe."""
        self._row += 1
        self._last.append(False)
        if self._probing or (self._opened is None and self._is_bad()):
            self._opened = self._clock()
        self._probing = False

    def released(self) -> None:
        """Say that nothing was learnt: the request was cancelled, or refused for its own fault."""
        self._probing = False

    def _is_bad(self) -> bool:
        policy = self._policy
        if self._row >= policy.failures:
            return True
        full = len(self._last) == policy.window
        return full and self._last.count(False) >= policy.share * policy.window

    def _wait_s(self) -> float:
        if self._opened is None:
            return 0.0
        return self._opened + self._policy.probe_s - self._clock()


class Breakers:
    """The circuits of a process, one per vendor, model and key."""

    def __init__(
        self, policy: BreakerPolicy | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._made: dict[tuple[str, str, str], Breaker] = {}

    def of(self, vendor: str, model: str, key: str = "") -> Breaker:
        """Return the circuit; the key itself is not kept."""
        at = (vendor, model, hashlib.sha256(key.encode()).hexdigest() if key else "")
        if at not in self._made:
            self._made[at] = Breaker(f"{vendor}/{model}", self._policy, clock=self._clock)
        return self._made[at]

    def states(self) -> dict[str, State]:
        """Return each circuit's state by vendor/model; of several keys the worst."""
        order: tuple[State, ...] = ("closed", "half-open", "open")
        found: dict[str, State] = {}
        for breaker in self._made.values():
            known = found.get(breaker.name, "closed")
            found[breaker.name] = max(known, breaker.state, key=order.index)
        return found
