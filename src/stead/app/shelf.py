"""The local models that can be asked for by name: given, added, discovered, in an engine's store.

Knows nothing about loading. A name from a client means a model of the shelf, never a path.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from stead.app import checkpoint_models
from stead.app.choosing import Wanted
from stead.app.models import Models
from stead.app.tuned import TunedStore, folder_of
from stead.config.settings import EngineSettings
from stead.core.errors import ModelError, NotFound
from stead.core.paths import Home
from stead.core.suggest import nearest
from stead.engines.engine import ENGINES
from stead.hub.adapter_folders import place_of
from stead.hub.discover import Local
from stead.store import run_index

_FRESH_S = 2.0


class Shelf(Protocol):
    """What can be loaded: names, and what each means."""

    def names(self) -> Sequence[str]:
        """List the names."""

    def wanted(self, name: str) -> Wanted:
        """Return what a name means. Raises: NotFound("model-not-found")."""


@dataclass(slots=True)
class Shelved:
    """Given models first, then those that `more` tells now, then the found ones.

    `find` is called at the first need, and again when what it found is older than `fresh_s`: a server runs on
    while models come and go. `base:adapter` means an adapter over a base, when both are on the shelf.
    """

    given: Mapping[str, Wanted] = field(default_factory=dict)
    find: Callable[[], Sequence[Local]] = field(default=lambda: ())
    more: Callable[[], Mapping[str, Wanted]] = field(default=dict)
    fresh_s: float = _FRESH_S
    clock: Callable[[], float] = time.monotonic
    runs: Path | None = None  # where training leaves its adapters
    _found: dict[str, Local] | None = None
    _found_at: float = 0.0
    _told: Mapping[str, Wanted] | None = None
    _told_at: float = 0.0

    def names(self) -> list[str]:
        """List the names, the given ones first."""
        return list(dict.fromkeys((*self.given, *self._more(), *self.found())))

    def _more(self) -> Mapping[str, Wanted]:
        now = self.clock()
        if self._told is None or now - self._told_at > self.fresh_s:
            self._told, self._told_at = self.more(), now
        return self._told

    def answers(self) -> frozenset[str]:
        """Return every name that means something: those listed, and each adapter over each model."""
        adapters = [name for name, local in self.found().items() if local.kind == "adapter"]
        bases = [name for name in self.names() if name not in adapters]
        pairs = (f"{base}:{adapter}" for base in bases for adapter in adapters)
        return frozenset((*self.names(), *pairs))

    def found(self) -> dict[str, Local]:
        """Return the found models by name; of equal names the later one has its folder's before it."""
        now = self.clock()
        if self._found is None or now - self._found_at > self.fresh_s:
            found: dict[str, Local] = {}
            for local in self.find():
                longer = f"{local.path.parent.name}/{local.name}"
                name = next((n for n in (local.name, longer) if n not in found), None)
                if name is not None:
                    found[name] = local
            self._found, self._found_at = found, now
        return self._found

    def wanted(self, name: str) -> Wanted:
        """Return what a name means, with the adapters that one copy of it may serve beside it.

        Raises: NotFound("model-not-found") with the nearest name.
        """
        single = self._single(name)
        if single is not None:
            return replace(single, beside=self.places())
        base, colon, adapter = name.rpartition(":")
        below, over = self._single(base), self.found().get(adapter)
        if colon and below is not None and over is not None and over.kind == "adapter":
            return replace(below, adapter=str(over.path), name=name, beside=self.places())
        prefix, colon, ref = name.partition(":")
        if colon and ref and any(ENGINES.get(e).prefix == prefix for e in ENGINES.names()):
            return Wanted(name, name=name)
        near = nearest(name[:200], self.names())
        ask = f"; did you mean {near!r}?" if near is not None else ""
        raise NotFound(
            "model-not-found",
            f"there is no local model {name[:200]!r}{ask}",
            hint="stead models",
            param="model",
        )

    def places(self) -> tuple[str, ...]:
        """Return the folders whose adapters the models of this shelf may put on per request."""
        adapters = (one.path for one in self.found().values() if one.kind == "adapter")
        own = [] if self.runs is None else [self.runs]
        return tuple(sorted({str(place) for place in (*own, *map(place_of, adapters))}))

    def _single(self, name: str) -> Wanted | None:
        known = self.given.get(name)
        if known is None:
            known = self._more().get(name)
        if known is not None:
            return known
        local = self.found().get(name)
        return self._checkpoint(name) if local is None else Wanted(str(local.path), name=name)

    def _checkpoint(self, name: str) -> Wanted | None:
        """Return a saved state of a run on the shelf: the run's name, `:ckpt-step-` and a step."""
        parts = checkpoint_models.split(name)
        known = None if parts is None else self._more().get(parts[0])
        if parts is None or known is None:
            return None
        try:
            return Wanted(str(checkpoint_models.model_of(Path(known.model), parts[1])), name=name)
        except ModelError:
            return None


def standard(
    models: Models,
    settings: EngineSettings,
    given: Mapping[str, Wanted] | None = None,
    *,
    refresh: bool = False,
) -> Shelved:
    """Return the shelf of this machine: given models, added ones, finished runs, then what discovery finds."""
    folders = [Path(text).expanduser() for text in settings.models_dirs]

    def find() -> Sequence[Local]:
        return models.discover(folders, refresh=refresh) if settings.auto_discover else ()

    named = tuned_names(models.home)

    def more() -> dict[str, Wanted]:
        tuned = named()
        inside = {Path(wanted.model) for wanted in tuned.values()}
        ended = (f for f in run_index.folders(models.home) if (f / "final").is_dir())
        runs = {f.name: Wanted(str(f), name=f.name) for f in ended if f not in inside}
        added = {e.name: Wanted(e.name, name=e.name) for e in models.entries()}
        return runs | tuned | added

    return Shelved({} if given is None else given, find, more, runs=models.home.runs)


def tuned_names(home: Home) -> Callable[[], dict[str, Wanted]]:
    """Return what tells the models that were fine-tuned through `/v1/fine_tuning`, by the names they got there."""
    store = TunedStore.of(home)

    def more() -> dict[str, Wanted]:
        places = ((one.name, folder_of(home, one)) for one in store.named().values())
        return {name: Wanted(str(f), name=name) for name, f in places if (f / "final").is_dir()}

    return more
