"""What each kind of job is: how its request is checked, which worker does it, what its end leaves in the store.

Knows nothing about queues or processes. A kind is one class; `KINDS` names them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stead.app import evaluate, runs
from stead.app.plans import make_plan
from stead.app.publishing import Wanted
from stead.core import process
from stead.core.errors import ConfigError
from stead.core.paths import Home, safe_name
from stead.hub.publish import repository_of
from stead.launch.launcher import LIGHT, WORKER, LaunchSettings
from stead.planning.plan import Plan
from stead.store.artefacts import Artefact
from stead.store.evaluations import Evaluation
from stead.store.job_states import Job
from stead.store.runs import Run
from stead.store.stores import Stores

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Json = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request. `spec` is what the worker gets; sizes in bytes."""

    spec: Json
    folder: Path
    title: str
    memory_bytes: int = 0
    gpus: int = 0
    run: Run | None = None
    evaluation: Evaluation | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How a worker is started."""

    verb: str
    spec: Json
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    silence_s: float | None = None


class JobKind(ABC):
    """One kind of job."""

    verb: ClassVar[str]
    program: ClassVar[str] = WORKER

    @abstractmethod
    def prepare(self, given: Json, stores: Stores, home: Home, job: str, at: float) -> Prepared:
        """Check a request before it is queued. Raises: ConfigError and what the verb's checks raise."""

    def launch(self, job: Job, job_file: Path) -> Launch:
        """Return how the worker of a job is started."""
        return Launch(self.verb, job.spec, process.python(self.program, str(job_file)))

    def effects(
        self, connection: "Connection", stores: Stores, job: Job, result: Json, at: float
    ) -> None:
        """Write what a finished job leaves, in the transaction that ends it."""
        return


class RunKind(JobKind):
    """A training run: {"plan"} or {"config", "overrides"}, and "name", "tags", "parent"."""

    verb = "train"

    def prepare(self, given: Json, stores: Stores, home: Home, job: str, at: float) -> Prepared:
        """Plan the run."""
        _known(given, {"plan", "config", "overrides", "name", "tags", "parent"})
        if "plan" in given:
            plan = Plan.from_json(given["plan"])
        else:
            config, overrides = given.get("config"), dict(given.get("overrides", {}))
            if given.get("name") is not None:
                overrides["name"] = given["name"]
            plan = make_plan(config, overrides, home=home)
        run_id, out = runs.new_id("train"), plan.config.out
        folder = home.runs / run_id if out is None else Path(out).absolute()
        plan = plan.placed(folder)
        config_ = plan.config
        memory = int(plan.forecast.memory_bytes.high)
        on_cpu = str(config_.model.device) == "cpu"
        name = config_.name if config_.name is not None else run_id
        run = Run(
            id=run_id, name=name, state="queued", method=str(config_.method.type),
            adapter=str(config_.adapter.type), model=str(config_.model.path), data=str(config_.data.path),
            out=str(folder), created_at=at, plan=plan.hash, steps=plan.forecast.steps,
            forecast={"memory_bytes": plan.forecast.memory_bytes.to_list(),
                      "seconds": plan.forecast.seconds.to_list()},
            parent=given.get("parent"), tags=list(given.get("tags", [])), job=job,
        )  # fmt: skip
        return Prepared(
            {"plan": plan.to_json(), "resume": True}, folder, name,
            memory if on_cpu else 0, 0 if on_cpu else config_.launch.processes, run,
        )  # fmt: skip

    def launch(self, job: Job, job_file: Path) -> Launch:
        """Start the worker where the plan says, with the trackers' own variables."""
        where: LaunchSettings = Plan.from_json(job.spec["plan"]).config.launch
        argv = runs.command(job_file, where)
        return Launch(self.verb, job.spec, argv, runs.tracker_variables(), where.step_timeout_s)

    def effects(
        self, connection: "Connection", stores: Stores, job: Job, result: Json, at: float
    ) -> None:
        """Keep the run's result and its exports; its model becomes a version of the model of the run's name."""
        if job.run is None:
            return
        stores.runs.change(job.run, connection, result=result)
        for number, path in enumerate(result.get("artifacts", ())):
            place = Path(path)
            size = _size(place)
            made = Artefact(f"{job.id}-{number}", place.name, place.suffix.strip(".") or "folder", str(place),
                            size, "", at, job=job.id, run=job.run)  # fmt: skip
            stores.artefacts.add(made, connection)
        _keep_model(connection, stores, job.run, result)


class EvaluationKind(JobKind):
    """An evaluation: the fields of EvaluateRequest, and "title", "run"."""

    verb = "evaluate"

    def prepare(self, given: Json, stores: Stores, home: Home, job: str, at: float) -> Prepared:
        """Check metrics and options."""
        asked = {k: v for k, v in given.items() if k not in ("title", "run")}
        _known(asked, {f.name for f in fields(evaluate.EvaluateRequest)})
        for name in ("model", "data", "metrics"):
            if name not in asked:
                raise ConfigError("missing-key", f"an evaluation needs {name!r}")
        request = evaluate.EvaluateRequest(**asked | {"metrics": tuple(asked["metrics"])})
        evaluate.check(request)
        folder = home.runs / runs.new_id("evaluate")
        spec = asdict(request) | {"metrics": list(request.metrics), "out": str(folder)}
        models = [request.model, *([] if request.against is None else [request.against])]
        title = str(given.get("title", " against ".join(Path(m).name for m in models)))
        row = Evaluation(
            job, title, request.data, str(folder), at, models, list(request.metrics), job=job,
            run=given.get("run"),
        )  # fmt: skip
        return Prepared(spec, folder, title, evaluation=row)

    def effects(
        self, connection: "Connection", stores: Stores, job: Job, result: Json, at: float
    ) -> None:
        """Keep the report's summary."""
        first = job.id if job.retry_of is None else job.retry_of
        stores.evaluations.change(first, connection, summary=result)


class ExportKind(JobKind):
    """An export: {"model" or "run", "format", "quant", "base", "out", "name"}."""

    verb = "export"
    format: ClassVar[str] = "gguf"

    def prepare(self, given: Json, stores: Stores, home: Home, job: str, at: float) -> Prepared:
        """Choose where the artefact goes: into its run's folder, or below `exports`."""
        _known(given, {"model", "run", "format", "quant", "base", "out", "name"})
        run = None if given.get("run") is None else stores.runs.get(str(given["run"]))
        model = given.get("model") if run is None else run.out
        if model is None:
            raise ConfigError("missing-key", "an export needs a model or a run")
        kind, quant = str(given.get("format", self.format)), given.get("quant")
        suffix = ".gguf" if kind == "gguf" else ""
        name = str(given.get("name", "-".join(filter(None, (kind, quant))) + suffix))
        place = home.root / "exports" / job if run is None else Path(run.out) / "artifacts"
        out = place / safe_name(name) if given.get("out") is None else Path(str(given["out"]))
        spec = {
            "model": str(model), "out": str(out.absolute()), "format": kind, "quant": quant,
            "base": given.get("base"),
        }  # fmt: skip
        return Prepared(
            spec, home.runs / runs.new_id(self.verb), f"{name} of {Path(str(model)).name}"
        )

    def effects(
        self, connection: "Connection", stores: Stores, job: Job, result: Json, at: float
    ) -> None:
        """Keep the artefact."""
        made = Artefact(
            job.id, Path(result["path"]).name, str(result["format"]), str(result["path"]),
            int(result["bytes"]), str(result["sha256"]), at, result["quant"], job.id,
        )  # fmt: skip
        stores.artefacts.add(made, connection)


class MergeKind(ExportKind):
    """A merge: an export as a plain model folder."""

    format = "merged"


class DownloadKind(JobKind):
    """A download: {"ref", "name"}."""

    verb, program = "download", LIGHT

    def prepare(self, given: Json, stores: Stores, home: Home, job: str, at: float) -> Prepared:
        """Check the names."""
        _known(given, {"ref", "name", "copy"})
        if not isinstance(given.get("ref"), str):
            raise ConfigError(
                "missing-key", "a download needs 'ref'", hint="stead model search llama"
            )
        if given.get("name") is not None:
            safe_name(str(given["name"]))
        return Prepared(dict(given), home.runs / runs.new_id(self.verb), str(given["ref"]))

    def effects(
        self, connection: "Connection", stores: Stores, job: Job, result: Json, at: float
    ) -> None:
        """Register the model's version."""
        stores.models.register(
            str(result["name"]), hash=str(result["hash"]), path=str(result["path"]),
            bytes=int(result["size_bytes"]), source=str(result["ref"]), connection=connection,
        )  # fmt: skip


class UploadKind(JobKind):
    """A model published on a hub: the fields of `publishing.Wanted`, and "dry_run"; the token is this machine's own."""

    verb, program = "upload", LIGHT

    def prepare(self, given: Json, stores: Stores, home: Home, job: str, at: float) -> Prepared:
        """Check the names."""
        _known(given, {"dry_run"} | {f.name for f in fields(Wanted)})
        for name in ("model", "repository"):
            if not isinstance(given.get(name), str):
                raise ConfigError(
                    "missing-key", f"an upload needs {name!r}", hint="stead upload run owner/name"
                )
        repository = repository_of(str(given["repository"]))
        return Prepared(dict(given), home.runs / runs.new_id(self.verb), repository)


KINDS: Mapping[str, JobKind] = {
    "run": RunKind(), "evaluation": EvaluationKind(), "export": ExportKind(), "merge": MergeKind(),
    "download": DownloadKind(), "upload": UploadKind(),
}  # fmt: skip


def _keep_model(connection: "Connection", stores: Stores, run_id: str, result: Json) -> None:
    """Register what a run made as a version of the model of the run's name, or of its id where one of that name was added."""
    final, run = Path(str(result.get("final", ""))), stores.runs.find(run_id)
    if run is None or "weights_sha256" not in result or not final.is_dir():
        return
    taken = stores.models.find_named(run.name)
    was_made = taken is None or all(v.run is not None for v in stores.models.versions(taken.id))
    stores.models.register(
        run.name if was_made else run.id, hash=str(result["weights_sha256"]), path=str(final),
        bytes=_size(final), source=f"run:{run.id}", run=run.id, connection=connection,
    )  # fmt: skip


def _known(given: Json, names: set[str]) -> None:
    strange = sorted(set(given) - names)
    if strange:
        raise ConfigError(
            "unknown-key", f"{strange[0]!r} is no part of this request ({', '.join(sorted(names))})"
        )


def _size(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in inside if p.is_file())
