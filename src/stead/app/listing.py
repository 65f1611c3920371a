"""What can be served from here: models on this machine, in Ollama's store, and strategies' cloud models.

Knows nothing about surfaces. Nothing is started and no vendor is asked.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stead.app import strategies, strategy_library
from stead.app.models import Models
from stead.app.shelf import standard
from stead.config.settings import EngineSettings
from stead.core.errors import BackendError, SteadError
from stead.core.paths import Home
from stead.engines.engine import ENGINES
from stead.engines.kinds.ollama import listens
from stead.engines.ollama_api import OllamaApi, Stored


@dataclass(frozen=True, slots=True)
class Servable:
    """One model: where it is, what would serve it, and if nothing can, why. `size_bytes` 0: unknown."""

    name: str
    place: Literal["local", "cloud"]
    kind: str  # model, adapter, gguf, sbs, ollama, or the vendor
    by: str  # the engine, or the strategies that use it
    size_bytes: int = 0
    where: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return asdict(self) | {"available": not self.reason}


def servable(home: Home, settings: EngineSettings, *, refresh: bool = False) -> list[Servable]:
    """Return everything, local models first. `refresh` looks through the folders anew."""
    return [
        *_added(Models(home)),
        *_found(Models(home), settings, refresh=refresh),
        *_ollama(settings.ollama_url),
        *_cloud(home),
    ]


def _added(models: Models) -> Iterator[Servable]:
    for entry in models.entries():
        kind = "gguf" if entry.path.suffix == ".gguf" else "model"
        if (entry.path / "adapter_config.json").is_file():
            kind = "adapter"
        yield _local(entry.name, kind, entry.size_bytes, entry.path)


def _found(models: Models, settings: EngineSettings, *, refresh: bool) -> Iterator[Servable]:
    shelf = standard(models, settings, refresh=refresh)
    for name, local in shelf.found().items():
        if name not in shelf.given:
            yield _local(name, local.kind, local.size_bytes, local.path)


def _local(name: str, kind: str, size_bytes: int, path: Path) -> Servable:
    fitting = [e for e in ENGINES.names() if kind in ENGINES.get(e).loads]
    states = {e: ENGINES.get(e).is_available() for e in fitting}
    able = [e for e, found in states.items() if found.ok]
    entry = Servable(name, "local", kind, able[0] if able else "", size_bytes, str(path))
    why = "; ".join(f"{e}: {found.reason}" for e, found in states.items())
    return entry if able else replace(entry, reason=why if why else f"no engine loads {kind}")


def _ollama(url: str) -> Iterator[Servable]:
    """Yield what a running server has; none runs: its store was looked through already."""
    if not listens(url):
        return
    try:
        stored = asyncio.run(_stored(url))
    except BackendError:
        return
    for model in stored:
        yield Servable(f"ollama:{model.name}", "local", "ollama", "ollama", model.size_bytes, url)


async def _stored(url: str) -> list[Stored]:
    api = OllamaApi(url)
    try:
        return await api.stored()
    finally:
        await api.close()


def _cloud(home: Home) -> Iterator[Servable]:
    """Yield each cloud model once, with the strategies that use it."""
    users: dict[tuple[str, str], list[str]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for found in strategy_library.Library.of(home).all():
        try:
            candidates = strategies.composed(found, home).candidates
        except SteadError:
            continue  # `stead strategy show` says why
        for one in candidates:
            if one.place == "public":
                key = (one.vendor, one.model)
                users.setdefault(key, []).append(found.strategy.name)
                reasons[key] = "" if one.unavailable is None else one.unavailable
    for (vendor, model), names in sorted(users.items()):
        by = ", ".join(dict.fromkeys(names))
        yield Servable(model, "cloud", vendor, by, reason=reasons[vendor, model])
