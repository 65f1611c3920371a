"""What people order of the platform, made safe and complete before it is planned or queued.

Knows nothing about HTTP. Data sets are named by id or name and become paths here; whoever is no admin may name
models and data sets of this platform and nothing else on this machine.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.app import forks, runs
from stead.app.identity import Who
from stead.app.plans import make_plan
from stead.app.platform import Platform
from stead.config import load
from stead.core.errors import ConfigError, NotFound, UnsafeError
from stead.hub import library, refs
from stead.hub.inspect import locate
from stead.planning.plan import Plan
from stead.store.datasets import Dataset
from stead.store.job_states import Job
from stead.store.runs import Run

Json = dict[str, Any]  # Any: JSON values
_DATA = ("path", "eval_path")


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders of one person."""

    here: Platform
    who: Who

    def config(self, config: Mapping[str, Any] | None, yaml: str | None) -> Json:
        """Return the recipe that was sent as a mapping or as YAML, paths in place.

        Raises: ConfigError("no-recipe", "two-recipes"); UnsafeError("outside").
        """
        if (config is None) == (yaml is None):
            raise ConfigError(
                "no-recipe" if config is None else "two-recipes", "send either config or yaml"
            )
        found = dict(config) if config is not None else load.parse_yaml(str(yaml), "recipe").data
        data = found.get("data")
        if isinstance(data, dict):
            found["data"] = data | self._data(data)
        evaluation = found.get("evaluation")
        if isinstance(evaluation, dict) and isinstance(evaluation.get("data"), str):
            found["evaluation"] = evaluation | {"data": self.data(evaluation["data"])}
        model = found.get("model")
        if isinstance(model, dict) and isinstance(model.get("path"), str):
            found["model"] = model | {"path": self.model(model["path"])}
        self.check_paths(found)
        return found

    def plan(self, config: Mapping[str, Any] | None, yaml: str | None) -> Plan:
        """Settle everything about a run. Raises: as `config` and `make_plan`."""
        return make_plan(self.config(config, yaml), origin="request", home=self.here.home)

    def train(
        self,
        config: Mapping[str, Any] | None,
        yaml: str | None,
        *,
        name: str | None = None,
        tags: list[str] | None = None,
        parent: str | None = None,
        key: str | None = None,
    ) -> Job:
        """Queue a run; it lies in the platform's own folder. Raises: as `plan`; 409 for a key used otherwise."""
        found = {k: v for k, v in self.config(config, yaml).items() if k != "out"}
        if name is not None:
            found["name"] = name
        spec: Json = {"config": found, "tags": [] if tags is None else tags}
        if parent is not None:
            spec["parent"] = parent
        title = found.get("name")
        return self.here.jobs.submit(
            "run", spec, title=title if isinstance(title, str) else None, idempotency_key=key,
            owner=self.who.name,
        )  # fmt: skip

    def fork(self, run: Run, config: Json, *, name: str, step: int | None) -> Job:
        """Queue a new run by a changed recipe; with `step` it goes on from that checkpoint of the former one.

        Raises: as `app/forks.prepare` and `train`.
        """
        if step is None:
            return self.train(config, None, name=name, tags=list(run.tags), parent=run.id)
        out = self.here.home.runs / runs.new_id("fork")
        plan = self.plan(config | {"name": name}, None).placed(out)
        forks.prepare(Path(run.out), step, plan)
        spec = {"plan": plan.to_json(), "tags": list(run.tags), "parent": run.id}
        try:
            return self.submit("run", spec, title=name)
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise

    def submit(
        self, kind: str, spec: Json, *, title: str | None = None, key: str | None = None
    ) -> Job:
        """Queue anything else; its paths are in place already."""
        return self.here.jobs.submit(
            kind, spec, title=title, idempotency_key=key, owner=self.who.name
        )

    def ref(self, text: str) -> str:
        """Return a ref of a hub or an engine's store; paths and URLs are for admins. Raises: UnsafeError."""
        source = refs.parse(text).source
        if source in ("local", "url") and not self.who.may("admin"):
            raise UnsafeError(
                "outside", f"{text[:200]!r}: only admins add paths and URLs", status=403
            )
        if source == "local":
            locate(text, home=self.here.home)  # what is not there is told at once, not by a job
        return text

    def model(self, name: str, version: int | None = None) -> str:
        """Return a model by name, or by run; a path only for admins.

        Raises: UnsafeError("outside"); NotFound("no-version", "no-model-of-run").
        """
        if version is not None:
            return self._version(name, version)
        run = self.here.stores.runs.find(name)
        if run is not None:
            final = Path(run.out) / "final"
            if not final.is_dir():
                raise NotFound("no-model-of-run", f"the run {name!r} has no trained model yet")
            return str(final)
        made = self.here.stores.models.made_here(name)
        is_made = made is not None and library.find(self.here.home, name) is None
        return made.path if made is not None and is_made else self._allowed(name)

    def _version(self, name: str, version: int) -> str:
        models = self.here.stores.models
        for one in models.versions(models.named(name).id):
            if one.version == version:
                return one.path
        raise NotFound(
            "no-version", f"{name[:200]!r} has no version {version}", hint="stead models"
        )

    def data(self, name: str) -> str:
        """Return a data set's path by id or name; a path only for admins. Raises: UnsafeError("outside")."""
        found = self.dataset(name)
        return self._allowed(name) if found is None else found.path

    def reading(self, name: str) -> Json:
        """Return the path of a data set and how it is read: its own reader, format and columns."""
        found = self.dataset(name)
        return {"data": self.data(name)} | ({} if found is None else _reading(found, {}))

    def dataset(self, name: str) -> Dataset | None:
        """Return the data set of that id, or the newest of that name."""
        datasets = self.here.stores.datasets
        found = datasets.find(name)
        if found is not None:
            return found
        near = datasets.list(q=name, limit=50).items if name.strip() else []
        return next((one for one in near if one.name == name), None)

    def _data(self, section: Mapping[str, Any]) -> Json:
        changed: Json = {}
        for key in _DATA:
            value = section.get(key)
            if isinstance(value, str):
                found = self.dataset(value)
                changed[key] = value if found is None else found.path
                if found is not None and key == "path":
                    changed |= _reading(found, section)
        return changed

    def _allowed(self, text: str) -> str:
        is_path = "/" in text or "\\" in text or text.startswith((".", "~"))
        if self.who.may("admin") or not is_path or self._is_ours(text):
            return text
        raise UnsafeError(
            "outside", f"{text[:200]!r}: name a model or data set of this platform", status=403
        )

    def _is_ours(self, text: str) -> bool:
        root = self.here.home.root.resolve()
        path = Path(text)
        return path.is_absolute() and path.resolve().is_relative_to(root)

    def check_paths(self, value: Any) -> None:  # Any: JSON values
        """Refuse every path below a value that this person may not name. Raises: UnsafeError("outside")."""
        if isinstance(value, str):
            self._allowed(value)
        elif isinstance(value, dict):
            for inner in value.values():
                self.check_paths(inner)
        elif isinstance(value, list):
            for inner in value:
                self.check_paths(inner)


def _reading(found: Dataset, section: Mapping[str, Any]) -> Json:
    """Return how a data set is read, as far as the recipe does not say."""
    known: Json = {"reader": found.reader, "format": found.format}
    if isinstance(found.columns, dict) and found.columns:
        known["columns"] = found.columns
    return {k: v for k, v in known.items() if k not in section and v != "auto"}
