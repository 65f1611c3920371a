"""What is known of a loaded model, and the limits that loaded models share.

Knows nothing about loading; `engines` does.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from stead.app.choosing import Choice
from stead.app.local_model import LocalModel
from stead.config.settings import EngineSettings
from stead.core.errors import ResourceError
from stead.core.hardware import probe

_SHARE = 0.8  # of the machine's memory, when no limit is set: the rest is the system's
_GB = 10**9


@dataclass(frozen=True, slots=True)
class Keeping:
    """Limits of all local models together. `idle_s` None: never unloaded for being unused."""

    memory_bytes: int
    idle_s: float | None = 300.0
    wait_s: float = 60.0

    @classmethod
    def of(cls, settings: EngineSettings) -> "Keeping":
        """Return the limits that the settings mean on this machine."""
        limit = settings.memory_gb
        memory = int(probe().ram_bytes * _SHARE) if limit is None else int(limit * _GB)
        return cls(memory, settings.idle_s if settings.idle_s > 0 else None, settings.wait_s)


@dataclass(frozen=True, slots=True)
class State:
    """A loaded model as people see it. Units: bytes, seconds since the last request's end."""

    name: str
    engine: str
    state: str
    bytes: int
    active: int
    requests: int
    unused_s: float
    starts: int
    pid: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class Loaded:
    """A model that takes memory: being loaded, ready, or being stopped. Owned by `Engines`."""

    choice: Choice
    local: LocalModel
    ready: "asyncio.Future[None]"
    last_used: float
    bytes: int = 0
    state: Literal["loading", "ready", "stopping"] = "loading"
    users: int = 0
    requests: int = 0

    @property
    def name(self) -> str:
        """What the engine calls the model."""
        return self.choice.order.name

    def asked_for(self, choice: Choice) -> str:
        """Return the name by which this copy answers as `choice` means."""
        return self.name if choice.switched is None else f"{self.name}:{choice.switched}"

    @property
    def is_idle(self) -> bool:
        """Whether it may be unloaded: ready, and no request at work."""
        return self.state == "ready" and self.users == 0

    def state_at(self, now: float) -> State:
        """Return what people see."""
        endpoint = self.local.endpoint
        return State(
            self.name, self.choice.engine, self.state, self.bytes, self.users, self.requests,
            0.0 if self.users else now - self.last_used,
            self.local.starts, None if endpoint is None else endpoint.pid,
        )  # fmt: skip


def too_large(name: str, need: int, limit: int) -> ResourceError:
    """Return the error for a model that never fits."""
    gigabytes = -(-need * 11 // (_GB * 10))
    return ResourceError(
        "model-too-large",
        f"{name!r} needs about {need:,} bytes, and local models may take {limit:,} together",
        hint=f"export STEAD_ENGINES_MEMORY_GB={gigabytes}",
    )


def no_room(name: str, wait_s: float, states: Iterable[State]) -> ResourceError:
    """Return the error for a model that found no room in time; status 503, to be tried again."""
    busy = ", ".join(f"{s.name} ({s.active} at work)" for s in states)
    return ResourceError(
        "engines-busy",
        f"no room for {name!r} within {wait_s:g} s; in memory: {busy}",
        status=503,
        retry_after_s=1,
    )
