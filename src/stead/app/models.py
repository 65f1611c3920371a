"""Use cases of models: add, list, show, verify, remove, search, discover, and make a new one.

Knows nothing about surfaces. Heavy work (making a model, pretraining it) runs in a worker.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.app import runs
from stead.config.kinds import registry
from stead.core import manifest
from stead.core.download import Rules
from stead.core.errors import ConfigError, ModelError, NotFound, SteadError
from stead.core.events import Emit, ignore
from stead.core.paths import Home
from stead.hub import discover as discovery
from stead.hub import discovered, fetch, lease, library, refs
from stead.hub.hub_cache import cache_folder
from stead.hub.info import ModelInfo
from stead.hub.inspect import inspect, locate
from stead.hub.library import Entry
from stead.hub.source import Found, Source


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did."""

    name: str
    freed_bytes: int
    kept: str  # the path that was only linked and stays, or ""


@dataclass(frozen=True, slots=True)
class Models:
    """The models of one data directory.

    Sources are made by the registry unless `make_source` says otherwise; a test passes its own.
    """

    home: Home
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    offline: bool = False
    patterns: tuple[str, ...] = ()
    make_source: Callable[[str], Source] | None = None

    def source(self, name: str) -> Source:
        """Return the source called `name`, built with what it needs."""
        if self.make_source is not None:
            return self.make_source(name)
        needs: dict[str, dict[str, Any]] = {  # Any: each source's own arguments
            "huggingface": {
                "environment": self.environment,
                "offline": self.offline,
                "patterns": self.patterns,
            },
            "local": {"home": self.home},
            "url": {"rules": Rules(allow_private=True)},  # typed by this machine's user
        }
        found: Source = registry("source").create(name, **needs.get(name, {}))
        return found

    def add(
        self, what: str, *, name: str | None = None, copy: bool = False, emit: Emit = ignore
    ) -> tuple[Entry, ModelInfo]:
        """Acquire a model and check that it is one; one that is not does not stay.

        Raises: what `inspect` and the source raise; UsageError("bad-ref").
        """
        ref = refs.parse(what)
        if ref.source == "local":
            ref = refs.Ref("local", str(locate(ref.name, home=self.home).absolute()))
            inspect(ref.name, tokenizer=False, home=self.home)  # before a copy, not after
        if self.offline and ref.source == "url":
            raise NotFound("offline", f"{what!r} cannot be fetched while offline is set")
        source = self.source(ref.source)
        entry = fetch.acquire(ref, source, self.home, name=name, copy=copy, emit=emit)
        try:
            return entry, inspect(entry.path, tokenizer=False, home=self.home)
        except SteadError:
            self._drop(entry)
            raise

    def entries(self) -> list[Entry]:
        """Return the added models, the newest first."""
        return library.entries(self.home)

    def show(self, what: str) -> ModelInfo:
        """Return the facts of a folder, a GGUF file or an added model."""
        return inspect(what, tokenizer=False, home=self.home)

    def entry(self, name: str) -> Entry:
        """Return an added model. Raises: NotFound("unknown-model") with near names."""
        found = library.find(self.home, name)
        if found is None:
            path = locate(name, home=self.home)  # says which names are near
            found = next((e for e in self.entries() if e.path.resolve() == path.resolve()), None)
        if found is None:
            raise NotFound("not-added", f"{name!r} was not added", hint=f"stead model add {name}")
        return found

    def verify(self, names: Sequence[str] = (), emit: Emit = ignore) -> dict[str, Any]:
        """Hash the files of the named models, or of all, again; say what is wrong."""
        chosen = [self.entry(n) for n in names] if names else self.entries()
        wrong = [
            {"model": entry.name} | problem
            for entry in chosen
            for problem in fetch.problems(entry, emit)
        ]
        checked = sum(len(entry.files) for entry in chosen)
        return {"ok": not wrong, "models": len(chosen), "files": checked, "problems": wrong}

    def remove(self, name: str) -> Removed:
        """Take a model out of the library and free what we brought here.

        A linked folder stays where it is. Raises: ModelError("model-in-use") naming its users.
        """
        entry = self.entry(name)
        users = lease.holders(entry.path, self.home)
        if users:
            raise ModelError(
                "model-in-use", f"{entry.name!r} is in use by {', '.join(users)}", users=users
            )
        freed = self._drop(entry)
        kept = str(entry.path) if entry.owned == "link" else ""
        return Removed(entry.name, freed, kept)

    def _drop(self, entry: Entry) -> int:
        with library.locked(self.home):
            library.drop(entry)
            freed = library.collect(self.home)
        shared = any(
            e.ref.name == entry.ref.name and e.revision == entry.revision for e in self.entries()
        )
        if entry.owned == "hub-cache" and entry.new and not shared:
            freed += self.source(entry.ref.source).forget(entry.ref.name, entry.revision)
        return freed

    def search(self, query: str, *, source: str = "huggingface", limit: int = 20) -> list[Found]:
        """Search a source's catalog."""
        return self.source(source).search(query, limit=limit)

    def discover(
        self, folders: Sequence[Path] = (), *, refresh: bool = True
    ) -> list[discovery.Local]:
        """Find the models on this machine, each once; without `refresh` what is known may be believed."""
        cache = cache_folder(self.environment)
        places = discovery.roots(folders, self.environment, cache)
        return discovered.find(places, self.home.ensure().cache / "models", refresh=refresh)

    def refresh(self, emit: Emit = ignore) -> list[Entry]:
        """Fetch every added model of a hub again at its newest revision; keep the older ones."""
        wanted = {(e.name, e.ref.text) for e in self.entries() if e.ref.source == "huggingface"}
        return [self.add(text, name=name, emit=emit)[0] for name, text in sorted(wanted)]


@dataclass(frozen=True, slots=True)
class Pretraining:
    """How long a new model is pretrained, in tokens, and how much of it goes into one step."""

    tokens: int
    batch_tokens: int = 4096
    max_length: int = 256
    lr: float = 1e-3  # for models of this size; larger ones want less
    seed: int = 42


def pretraining_config(
    model: Path, text: Sequence[str], run: Path, work: Pretraining
) -> dict[str, Any]:  # Any: the sections of a RunConfig
    """Return the recipe that pretrains `model` on the text files."""
    batch = min(work.batch_tokens, work.tokens)
    return {
        "out": str(run),
        "model": {"path": str(model), "dtype": "fp32"},
        "data": {"path": list(text), "max_length": min(work.max_length, batch), "eval_share": 0.0},
        "method": {"type": "pretrain"},
        "adapter": {"type": "full"},
        "trainer": {
            "max_steps": -(-work.tokens // batch),
            "batch_tokens": batch,
            "lr": work.lr,
            "seed": work.seed,
        },
    }


def train_spec(config: dict[str, Any], home: Home) -> dict[str, Any]:
    """Return the arguments of the verb `train` for a recipe: its plan, from the beginning."""
    from stead.app.plans import make_plan  # listing models needs no planning

    return {"plan": make_plan(config, home=home).to_json(), "resume": False}


def new(
    out: Path,
    spec: dict[str, Any],  # Any: JSON arguments of the verb `new`, without `out`
    *,
    pretraining: Pretraining | None = None,
    emit: Emit = ignore,
    launch: Callable[..., dict[str, Any]] = runs.launch,
    spec_of: Callable[[dict[str, Any], Home], dict[str, Any]] = train_spec,
) -> dict[str, Any]:
    """Make a model at `out` in a worker, and pretrain it when asked; return its facts.

    `out` appears once, when everything is done. The work is in a hidden folder beside it, which is
    removed at the end. Raises: the worker's error; ConfigError("out-not-empty").
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            "out-not-empty",
            f"{str(out)!r} exists already; nothing is overwritten",
            hint=f"stead model new {out}-2",
        )
    work = out.parent / f".new-{out.name}-{uuid.uuid4().hex[:8]}"
    text = [str(Path(t).absolute()) for t in spec["text"]]
    made = out if pretraining is None else work / "model"
    try:
        facts = launch("new", spec | {"out": str(made), "text": text}, work / "new", emit)
        if pretraining is None:
            return facts
        run = work / "run"
        config = pretraining_config(made, text, run, pretraining)
        trained = launch("train", spec_of(config, Home.find()), run, emit)
        written = _publish(run / "final", out, facts)
        told = {k: v for k, v in trained.items() if k not in ("run", "out", "final")}  # gone
        return facts | {"out": str(out), "hash": written, "pretraining": told}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(final: Path, out: Path, facts: dict[str, Any]) -> str:
    """Commit a copy of a run's final model as `out`; return its hash."""

    def fill(folder: Path) -> None:
        for path in sorted(final.iterdir()):
            if path.is_file() and path.name != manifest.NAME:
                shutil.copy2(path, folder / path.name)

    if out.is_dir():
        out.rmdir()
    meta = {k: v for k, v in facts.items() if k not in ("out", "hash")}
    return manifest.commit(out, "model", fill, meta | {"pretrained": True}).hash
