"""Use case: publish a trained model on a hub: export it, describe it, send it, compare what arrived.

Knows nothing about surfaces or the hub's protocol.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stead.app import exports
from stead.core import files, manifest
from stead.core.events import Emit, ignore
from stead.core.paths import Home
from stead.hub import publish
from stead.hub.info import ModelInfo
from stead.hub.inspect import inspect, locate
from stead.hub.library import entries

Json = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to publish and as what.

    `merge` lays an adapter over its base first. `base_model` is the base's name on the hub; without
    it, the name it was added under from there. `message` is the commit's.
    """

    model: str
    repository: str
    private: bool = False
    message: str | None = None
    merge: bool = False
    base_model: str | None = None
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Publishing:
    """Publishes models of one data directory."""

    home: Home
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    offline: bool = False
    export: Callable[..., Json] = exports.export

    def upload(
        self, wanted: Wanted, *, token: str | None = None, dry_run: bool = False,
        emit: Emit = ignore,
    ) -> Json:  # fmt: skip
        """Publish; with `dry_run` everything but sending is done.

        Returns repository, url, commit, files, bytes, private, and the card's text.
        Raises: ConfigError("bad-repository" | "no-token" | "nothing-to-upload"); NotFound; what the
        export and `hub.publish` raise.
        """
        repository = publish.repository_of(wanted.repository)
        info = inspect(locate(wanted.model, home=self.home), tokenizer=False, home=self.home)
        place = self.home.ensure().cache / f"upload-{files.hash_value(asdict(wanted))[:12]}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            folder = place / repository.rsplit("/", maxsplit=1)[-1]
            card = self._prepare(wanted, info, place / "raw", folder, emit)
            told: Json = {"card": card, "private": wanted.private, "repository": repository}
            if dry_run:
                sent = publish.contents(folder)
                size = sum(p.stat().st_size for p in sent)
                names = [p.name for p in sent]
                return told | {"url": None, "commit": None, "files": names, "bytes": size}
            made = publish.publish(
                folder, repository, environment=self.environment, token=token,
                private=wanted.private, message=wanted.message, offline=self.offline, emit=emit,
            )  # fmt: skip
            return told | asdict(made) | {"files": list(made.files)}
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _prepare(self, wanted: Wanted, info: ModelInfo, raw: Path, folder: Path, emit: Emit) -> str:
        """Export to `raw`, then seal what may leave this machine as `folder`; return the card."""
        kind = "adapter" if info.kind == "adapter" and not wanted.merge else "merged"
        if info.kind == "gguf":
            raw.mkdir()
            shutil.copyfile(info.path, raw / info.path.name)
        else:
            self.export(str(info.path), raw, format=kind, emit=emit)
        base = wanted.base_model
        if base is None and info.kind == "adapter":
            base = self._hub_name(info.base)
        facts = publish.Facts(base, _library(info.kind, kind), wanted.license, ("stead",))
        card = publish.describe(publish.card_of(raw), facts)

        def fill(target: Path) -> None:
            for path in sorted(p for p in raw.iterdir() if p.name != manifest.NAME):
                shutil.copyfile(path, target / path.name)
            _forget_places(target, base)
            files.write_text(target / "README.md", card)

        manifest.commit(folder, "published", fill, {"source_hash": info.hash})
        return card

    def _hub_name(self, base: Path | None) -> str | None:
        """Return the name on the hub that a base was added from, or None."""
        if base is None:
            return None
        found = (e for e in entries(self.home) if e.path.resolve() == base.resolve())
        return next((e.ref.name for e in found if e.ref.source == "huggingface"), None)


def _library(kind: str, sent_as: str) -> str:
    if kind == "gguf":
        return "gguf"
    return "peft" if sent_as == "adapter" else "transformers"


def _forget_places(folder: Path, base: str | None) -> None:
    """Take this machine's paths out of the records: a base becomes its name on the hub, or its folder's."""
    for name in ("adapter_config.json", "stead.json"):
        if (folder / name).is_file():
            found = files.read_json(folder / name)
            files.write_json(folder / name, _without_places(found, base))


def _without_places(value: Any, base: str | None) -> Any:  # Any: JSON values
    if isinstance(value, dict):
        known = {k: base for k in ("base_model_name_or_path", "base") if k in value and base}
        return {k: _without_places(v, base) for k, v in value.items()} | known
    if isinstance(value, list):
        return [_without_places(v, base) for v in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value
