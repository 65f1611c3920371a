"""The stages of a run, one function each, and the line that joins them.

Knows nothing about surfaces, databases or how a Plan is made. Importable from a notebook:

    prepared = prepare(plan)
    checkpoint = train(plan, prepared)
    report = measure(plan, checkpoint)
    artifacts = convert(plan, checkpoint)
"""

import shutil
from pathlib import Path
from typing import Any

from stead.config import load as config_files
from stead.config.kinds import registry
from stead.core import allocator, files
from stead.core.errors import ConfigError
from stead.core.events import Emit, ignore
from stead.core.paths import Home
from stead.data import prepare as preparing
from stead.exporting.run import run_export
from stead.hub import lease
from stead.models.load import load_model
from stead.pipeline.evaluate import Question, evaluate
from stead.pipeline.gauge import Gauge
from stead.pipeline.training_page import write_page
from stead.planning.plan import Plan
from stead.store import run_index
from stead.training.fit import fit, refuse_finished
from stead.training.loop.build import plain
from stead.training.loop.parts import Learning, Resume
from stead.training.proving.proofs import rehearse
from stead.training.stepping.world import World
from stead.values import Artifact, Checkpoint, LoadedModel, PreparedData, Report


def run(plan: Plan, *, resume: Resume = False, emit: Emit = ignore) -> Checkpoint:
    """Walk the whole line: rows → tokens → weights → scores → files, as far as the plan goes.

    The checkpoint's `meta` is the summary of the run; `reports` and `artifacts` are added to it.
    """
    launch, device = plan.config.launch, plan.config.model.device
    world = World.join(sharded=launch.sharding == "full", device=device)
    with world.watched():
        checkpoint = train(plan, resume=resume, emit=emit, world=world)
    world.leave()
    if not world.leads:
        return checkpoint
    report = measure(plan, checkpoint, emit=emit)
    artifacts = convert(plan, checkpoint, emit=emit)
    if report is not None:
        checkpoint.meta["scores"] = report.scores
    if artifacts:
        checkpoint.meta["artifacts"] = [str(a.path) for a in artifacts]
    checkpoint.meta["report"] = str(write_page(Path(str(plan.config.out)), plan, checkpoint.meta))
    return checkpoint


def prepare(plan: Plan, *, emit: Emit = ignore) -> PreparedData:
    """Turn the plan's rows into token sequences, once: the same inputs give the same folder."""
    data = plan.config.data
    method = registry("method").get(plan.config.method.type)
    wanted = None if method.takes_as_is else method.kinds[0]
    home = Home.find().ensure()
    length = data.max_length if isinstance(data.max_length, int) else None
    return preparing.prepare(
        data, Path(plan.model["path"]), home.datasets, kind_wanted=wanted, max_length=length,
        notes=home.scans, emit=emit,
    )  # fmt: skip


def load(plan: Plan) -> LoadedModel:
    """Load the plan's base model as the plan says."""
    section = plan.config.model
    return load_model(
        Path(plan.model["path"]),
        dtype=section.dtype,
        device=section.device,
        attention=section.attention,
    )


def train(
    plan: Plan, *, resume: Resume = False, emit: Emit = ignore, world: World | None = None
) -> Checkpoint:
    """Prepare, load and train; return the finished weights in `<out>/final`.

    `meta` is the summary that `stead train --json` prints. Raises: what the stages raise.
    """
    config = plan.config
    if config.out is None:
        raise ConfigError("missing-key", "out is missing; give it in the recipe or --out DIR")
    out = Path(config.out)
    refuse_finished(out, resume)  # before rows and weights are read
    gauge = Gauge(emit)
    world = World() if world is None else world
    if plan.forecast.allocator == "mapped":
        allocator.give_back()
    with world.first():
        if world.leads:
            run_index.register(Home.find().ensure(), out)
            _write_request(plan, out)
        prepared = prepare(plan, emit=gauge.hear)
        if world.leads and not (out / "final").exists():
            _try_out(config.method, prepared)
    with lease.hold(Path(plan.model["path"]), "train"):  # `stead model remove` waits for us
        result = fit(
            trainer=config.trainer,
            method_name=config.method.type,
            method_config=config.method,
            adapter_name=config.adapter.type,
            adapter_config=config.adapter,
            prepared=prepared,
            loaded=load(plan),
            run_dir=out,
            resume=resume,
            emit=emit,
            lineage={"base_hash": plan.model["hash"], "plan": plan.hash, "name": config.name},
            world=world,
            measured=gauge.loop,
            to_gguf=_to_gguf,
        )
    result |= {"plan": plan.hash} | gauge.keep(plan, prepared.path, alone=world.size == 1)
    return Checkpoint(
        Path(result["final"]), int(result["steps"]), str(result["weights_sha256"]), result
    )


def _try_out(method: Any, prepared: PreparedData) -> None:  # Any: the method's own config
    """Let the method's config meet the user's code and endpoints (`MethodConfig.try_out`)."""
    own = getattr(method, "try_out", None)
    if own is not None:
        own(prepared.columns)


def _to_gguf(weights: Path, out: Path, quant: str) -> None:
    run_export(str(weights), str(out), format="gguf", quant=quant)


def prove(plan: Plan, *, emit: Emit = ignore) -> list[dict[str, Any]]:  # Any: JSON values
    """Check mask, labels, packing and accumulation of the run a plan describes; nothing is trained."""
    config = plan.config
    learning = Learning(
        config.method.type, plain(config.method), config.adapter.type, plain(config.adapter)
    )
    prepared = prepare(plan, emit=emit)
    return rehearse(config.trainer, learning, prepared, load(plan), emit)


def measure(plan: Plan, checkpoint: Checkpoint, *, emit: Emit = ignore) -> Report | None:
    """Score the trained model beside its base, when the plan names metrics; else None."""
    section, data = plan.config.evaluation, plan.config.data
    if not section.metrics:
        return None
    rows = section.data if section.data is not None else data.eval_path
    if rows is None:
        raise ConfigError(
            "no-evaluation-data",
            "evaluation.metrics is set, but neither evaluation.data nor data.eval_path names rows",
        )
    own: dict[str, Any] = {"reader": data.reader, "format": data.format, "columns": data.columns}
    question = Question(
        data=rows,
        metrics=section.metrics,
        limit=section.limit,
        max_new_tokens=section.max_new_tokens,
        **(own if section.data is None else {}),
    )
    out = Path(str(plan.config.out))
    return evaluate(str(checkpoint.path), question, against=plan.model["path"], out=out, emit=emit)


def convert(plan: Plan, checkpoint: Checkpoint, *, emit: Emit = ignore) -> list[Artifact]:
    """Write every export the plan asks for, below `<out>/artifacts` unless it says where.

    What was written before the run was killed is kept: `<out>/exports.json` knows it.
    """
    out = Path(str(plan.config.out))
    record = out / "exports.json"
    done: dict[str, dict[str, Any]] = files.read_json(record) if record.is_file() else {}
    artifacts = []
    for section in plan.config.export:
        suffix = "." + section.format if section.format == "gguf" else ""
        name = "-".join(filter(None, (section.format, section.quant))) + suffix
        target = out / "artifacts" / name if section.out is None else Path(section.out)
        made = done.get(str(target))
        if made is None or not target.exists():
            if section.out is None:  # killed between writing and recording: it is ours to repeat
                _remove(target)
            made = run_export(str(checkpoint.path), str(target), format=section.format,
                              quant=section.quant, emit=emit)  # fmt: skip
            files.write_json(record, done | {str(target): made})
            done[str(target)] = made
        artifacts.append(
            Artifact(target, made["format"], made["quant"], made["sha256"], made["bytes"], made)
        )
    return artifacts


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _write_request(plan: Plan, out: Path) -> None:
    """Keep what was asked and what was decided, unless the folder holds an older run's."""
    if any((out / "checkpoints").glob("step-*")) or (out / "final").exists():
        return  # whether it may go on is the trainer's to say, by its fingerprint
    plan.write(out / "plan.json")
    config_files.dump(out / "run.yaml", plan.config.model_dump(mode="json"))
