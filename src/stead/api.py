"""The Python surface: the same verbs as the command line, in this process, for notebooks and scripts.

Knows nothing of its own: a request becomes the same Plan as from any other surface.

    plan = stead.plan(model="base", data="rows.jsonl", method="sft", adapter="lora", out="run")
    checkpoint = stead.train(plan)
    report = stead.evaluate(checkpoint, data="test.jsonl", metrics=["exact_match"])
    artifact = stead.export(checkpoint, "model.gguf", quant="q8_0")
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from stead.app import forks, run_folders, runs
from stead.app.plans import make_plan
from stead.app.publishing import Publishing, Wanted
from stead.app.sweeps import SweepRequest, run_sweep
from stead.config.options import keys_of
from stead.config.run import RunConfig
from stead.core.events import Emit, ignore
from stead.core.paths import Home
from stead.exporting.parity import run_parity
from stead.exporting.run import run_export
from stead.pipeline import stages
from stead.pipeline.evaluate import Placement, Question
from stead.pipeline.evaluate import evaluate as measure
from stead.planning.plan import Plan
from stead.training.loop.parts import Resume
from stead.values import Artifact, Checkpoint, Report

Recipe = RunConfig | Mapping[str, Any] | Path | str | None
Model = Checkpoint | Path | str


def plan(recipe: Recipe = None, /, *, allow: Collection[str] = (), **options: Any) -> Plan:
    """Settle everything about a run; nothing is loaded or written.

    `recipe` is a file, a mapping or a RunConfig; `options` are the flags of `stead plan`
    (`model`, `data`, `method`, `adapter`, `out`, `epochs`, `lr`, …), or dotted keys as
    `**{"trainer.lr": 1e-4}`. Raises: ConfigError, NotFound, DataError, ModelError, ResourceError.
    """
    source = Path(recipe) if isinstance(recipe, str) else recipe
    return make_plan(source, keys_of(options), allow=allow)


def train(
    recipe: Plan | Recipe = None, /, *, resume: Resume = False, emit: Emit = ignore, **options: Any
) -> Checkpoint:
    """Train as planned, then evaluate and export what the plan asks for.

    Returns the finished weights; `meta` is the summary of the run. Without `out`, the run's folder
    is a new one in the data directory.
    """
    made = recipe if isinstance(recipe, Plan) else plan(recipe, **options)
    given = made.config.out
    folder = Path(given) if given is not None else Home.find().ensure().runs / runs.new_id("train")
    return stages.run(made.placed(folder.absolute()), resume=resume, emit=emit)


def fork(
    run: str | Path,
    /,
    *,
    step: int | None = None,
    name: str | None = None,
    emit: Emit = ignore,
    **options: Any,
) -> Checkpoint:
    """Train a new run by a former one's recipe with other settings, from its checkpoint of `step` or anew.

    `run` is an id, name or folder; `options` are those of `plan`, `out` among them. `meta["resume_level"]` says what
    the changes made of the fork: "exact" when none matters, else "best-effort".
    Raises: NotFound("no-run" | "no-checkpoint"), ConfigError("fork-other-tensors" | "fork-at-end" | "run-exists").
    """
    changes = keys_of(options)
    out = changes.pop("out", None)
    folder = None if out is None else Path(str(out))
    made = forks.fork(run_folders.find(str(run), Home.find()), changes, step=step, out=folder, name=name)  # fmt: skip
    return stages.run(made, resume=step is not None, emit=emit)


def sweep(
    recipe: Recipe = None,
    /,
    *,
    params: Sequence[str],
    out: str | Path,
    search: Mapping[str, Any] | None = None,
    emit: Emit = ignore,
    **options: Any,
) -> dict[str, Any]:
    """Train with several values of some keys; the best recipe is `<out>/best.yaml`.

    `params` are those of `stead sweep --param`: "trainer.lr=1e-5:1e-3:log", "adapter.r=4,8". `search`
    are further fields of SweepRequest (`sampler`, `trials`, `metric`, `minimize`, `parallel`, …).
    Trials run in processes of their own. Raises: ConfigError before the first one; Interrupted.
    """
    source = Path(recipe) if isinstance(recipe, str) else recipe
    asked = SweepRequest(
        source, tuple(params), keys_of(options), **({} if search is None else search)
    )
    return run_sweep(asked, Path(out), emit)


def evaluate(
    model: Model,
    data: str | Path,
    metrics: Sequence[str] = ("exact_match",),
    *,
    adapter: str | None = None,
    against: Model | None = None,
    placement: Placement | None = None,
    out: str | Path | None = None,
    emit: Emit = ignore,
    **asking: Any,
) -> Report:
    """Measure a model on rows; with `against`, compare both. `asking` are the fields of Question."""
    return measure(
        _name(model),
        Question(data=str(data), metrics=metrics, **asking),
        adapter=adapter,
        against=None if against is None else _name(against),
        placement=placement,
        out=None if out is None else Path(out),
        emit=emit,
    )


def export(
    model: Model,
    out: str | Path,
    *,
    format: str = "gguf",
    quant: str | None = None,
    emit: Emit = ignore,
) -> Artifact:
    """Write a model in another format; the target is complete or absent."""
    made = run_export(_name(model), str(out), format=format, quant=quant, emit=emit)
    return Artifact(Path(out), made["format"], made["quant"], made["sha256"], made["bytes"], made)


def parity(
    model: Model,
    gguf: Artifact | Path | str,
    *,
    data: str | Path | None = None,
    limit: int = 24,
    emit: Emit = ignore,
) -> dict[str, Any]:
    """Say by how much an exported file differs from the model: prompts, ids, stops, log-probs."""
    path = gguf.path if isinstance(gguf, Artifact) else gguf
    rows = None if data is None else str(data)
    return run_parity(_name(model), str(path), data=rows, limit=limit, emit=emit)


def upload(
    model: Model,
    repository: str,
    *,
    token: str | None = None,
    private: bool = False,
    message: str | None = None,
    merge: bool = False,
    base_model: str | None = None,
    emit: Emit = ignore,
) -> dict[str, Any]:
    """Publish a model on a Hugging Face hub; what arrived is compared with what was sent."""
    wanted = Wanted(_name(model), repository, private, message, merge, base_model)
    here = Publishing(Home.find(), export=lambda m, o, **how: run_export(m, str(o), **how))
    return here.upload(wanted, token=token, emit=emit)


def _name(model: Model) -> str:
    return str(model.path) if isinstance(model, Checkpoint) else str(model)
