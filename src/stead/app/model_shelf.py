"""The platform's models: what was added and what was registered, as one list; who uses one; where it comes from.

Knows nothing about HTTP. Reads headers and manifests, loads nothing.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stead.app.models import Models
from stead.core.errors import ModelError, NotFound, SteadError
from stead.core.paths import Home
from stead.hub import lease
from stead.hub.library import Entry
from stead.store.models import Model, Version
from stead.store.stores import Stores

Json = dict[str, Any]  # Any: JSON values
_CARDS = ("README.md", "model_card.md")
_CARD_BYTES = 256 * 1024
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Shown:
    """One model; sizes in bytes, `dtype` of most weights, None or 0: not known."""

    name: str
    path: str
    kind: str
    source: str
    bytes: int
    family: str = ""
    parameters: int = 0
    dtype: str = ""
    context: int = 0
    reason: str = ""  # why its facts cannot be read
    versions: tuple[Version, ...] = ()
    aliases: dict[str, int] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelShelf:
    """The models of one platform."""

    home: Home
    stores: Stores

    def all(self) -> list[Shown]:
        """Return every model once, by name; those that were added first."""
        registered = {one.name: one for one in self.stores.models.list(limit=_MOST).items}
        found: dict[str, Shown] = {}
        for entry in Models(self.home).entries():
            if entry.name not in found:
                found[entry.name] = self._shown(entry.name, entry, registered.get(entry.name))
        for name, model in registered.items():
            if name not in found:
                found[name] = self._shown(name, None, model)
        bases: dict[str, list[str]] = {}
        for one in found.values():
            if one.kind == "adapter":
                bases.setdefault(self._base(one.path), []).append(one.name)
        return [replace(one, adapters=tuple(bases.get(one.path, ()))) for one in found.values()]

    def get(self, name: str) -> Shown:
        """Return one model, with who uses it. Raises: NotFound("unknown-model")."""
        found = next((one for one in self.all() if one.name == name), None)
        if found is None:
            raise NotFound(
                "unknown-model", f"there is no model {name[:200]!r}", hint="stead models"
            )
        return replace(found, used_by=tuple(self.users(found)))

    def users(self, shown: Shown) -> list[str]:
        """Return who works with a model now, and the runs that began with it."""
        now = lease.holders(Path(shown.path), self.home)
        runs = self.stores.runs.list(q=shown.name, limit=50).items
        return [*now, *(f"run {r.id}" for r in runs if r.model in (shown.name, shown.path))]

    def remove(self, name: str, *, force: bool) -> int:
        """Remove a model; return the bytes that are free again. Versions in runs' folders stay there.

        Raises: NotFound; ModelError("model-in-use", status 409) naming the users; `force` asks only who works
        with it now.
        """
        shown = self.get(name)
        users = list(shown.used_by)
        if users and (not force or any(not user.startswith("run ") for user in users)):
            raise ModelError(
                "model-in-use",
                f"{name!r} is in use by {', '.join(users[:5])}",
                status=409,
                used_by=users,
            )
        freed = 0
        if any(entry.name == name for entry in Models(self.home).entries()):
            freed = Models(self.home).remove(name).freed_bytes
        registered = self._registered(name)
        if registered is not None:
            self.stores.models.remove(registered.id)
        return freed

    def registered(self, name: str) -> Model:
        """Return a registered model; one that was only added is registered now, as its first version."""
        found = self._registered(name)
        if found is not None:
            return found
        entry = Models(self.home).entry(name)
        info = Models(self.home).show(str(entry.path))
        self.stores.models.register(
            name,
            hash=info.hash,
            path=str(entry.path),
            bytes=entry.size_bytes,
            source=entry.ref.text,
        )
        return self.stores.models.named(name)

    def card(self, name: str) -> str:
        """Return the text that came with a model; "" without one."""
        folder = Path(self.get(name).path)
        folder = folder if folder.is_dir() else folder.parent
        for card in _CARDS:
            path = folder / card
            if path.is_file():
                with open(path, "rb") as file:
                    return file.read(_CARD_BYTES).decode("utf-8", "replace")
        return ""

    def lineage(self, name: str) -> list[Json]:
        """Return what a model was made from: versions, their runs, the runs' models and data, and so on back.

        Raises: NotFound("unknown-model").
        """
        self.get(name)
        steps: list[Json] = []
        todo, seen = [name], set[str]()
        while todo and len(steps) < _MOST:
            one = todo.pop(0)
            model = None if one in seen else self._registered(one)
            seen.add(one)
            for version in self.stores.models.versions(model.id) if model is not None else ():
                run = None if version.run is None else self.stores.runs.find(version.run)
                steps.append(
                    {"model": one, "version": version.version, "hash": version.hash, "source": version.source,
                     "run": version.run, "base": None if run is None else run.model,
                     "data": None if run is None else run.data}
                )  # fmt: skip
                todo += [] if run is None else [run.model]
        return steps

    def _registered(self, name: str) -> Model | None:
        try:
            return self.stores.models.named(name)
        except NotFound:
            return None

    def _shown(self, name: str, entry: Entry | None, model: Model | None) -> Shown:
        path = entry.path if entry is not None else Path("" if model is None else model.path)
        versions = () if model is None else tuple(self.stores.models.versions(model.id))
        source = entry.ref.text if entry is not None else (versions[0].source if versions else "")
        size = entry.size_bytes if entry is not None else (versions[0].bytes if versions else 0)
        known = Shown(
            name, str(path), "unknown", source, size, versions=versions,
            aliases={} if model is None else self.stores.models.aliases(model.id),
        )  # fmt: skip
        try:
            info = Models(self.home).show(str(path))
        except SteadError as error:
            return replace(known, reason=error.message)
        return replace(
            known, kind=info.kind, family=info.family, parameters=info.parameters, dtype=info.dtype,
            context=info.context_length,
        )  # fmt: skip

    def _base(self, path: str) -> str:
        try:
            base = Models(self.home).show(path).base
        except SteadError:
            return ""
        return "" if base is None else str(base)
