"""Measure a model on rows with answers, alone or beside another on the same rows.

Knows nothing about scorers or statistics; joins data, models, evaluation and report.
"""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stead.core.errors import ConfigError, ModelError
from stead.core.events import Emit, Note, ignore
from stead.data.clean import Tally
from stead.data.rows import Loaded, load
from stead.data.section import Section
from stead.evaluation import compare, report
from stead.evaluation.benchmarks.rows import Rows
from stead.evaluation.curves import losses
from stead.evaluation.evaluate import Asking, Outcome, check
from stead.evaluation.evaluate import evaluate as ask_all
from stead.hub.inspect import inspect, locate
from stead.models.heads import refuse_scores
from stead.models.load import Device, Dtype, load_model
from stead.models.writing.local import LocalBackend
from stead.scoring import scorer
from stead.scoring.scorer import Scorer
from stead.values import Report


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked and how: rows, metrics, decoding. Temperature 0: the same answers every time."""

    data: str
    metrics: Sequence[str]
    limit: int | None = None
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    reader: str = "auto"
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)  # role → column name


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to ask: a folder, and an adapter on it or none."""

    folder: Path
    adapter: Path | None

    @property
    def name(self) -> str:
        """What reports call it: the run or folder, not its inner `final`."""
        path = self.folder if self.adapter is None else self.adapter
        return path.parent.name if path.name == "final" else path.name


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which number type the models run."""

    dtype: Dtype = "auto"
    device: Device = "auto"


def evaluate(
    model: str,
    question: Question,
    *,
    adapter: str | None = None,
    against: str | None = None,
    placement: Placement | None = None,
    out: Path | None = None,
    emit: Emit = ignore,
) -> Report:
    """Measure `model`; with `against` (a model, or "base": the same without its adapter), compare.

    The report's files go to `<out>/reports`; without `out` nothing is written.
    Raises: ConfigError, DataError, ModelError before a model is loaded; EvaluationError.
    """
    scorers = scorer.create(question.metrics)
    tuned = subject(model, adapter)
    subjects = [tuned] if against is None else [_opponent(against, tuned), tuned]
    rows, dropped = _rows(question, emit)
    check(rows.items(), scorers)
    asking = Asking(question.max_new_tokens, question.temperature, question.seed)
    placed = Placement() if placement is None else placement
    outcomes = [_ask(who, placed, rows, scorers, asking, emit) for who in subjects]
    last, first = outcomes[-1], outcomes[0] if against is not None else None
    if first is None:
        scores = compare.summarize(last, scorers, seed=question.seed)
    else:
        scores = compare.compare(first, last, scorers, seed=question.seed)
    decoding = {n: getattr(asking, n) for n in ("max_new_tokens", "temperature", "seed")}
    meta = {"data": question.data, **decoding, "rows_dropped": dropped}
    found = report.report(scores, last, first, meta=meta)
    if out is None:
        return found
    curves = losses(_run_folder(tuned) / "events.jsonl")
    return report.write(found, out / "reports", extras=report.Extras(curves=curves), emit=emit)


def _ask(
    who: Subject,
    placed: Placement,
    rows: Rows,
    scorers: Mapping[str, Scorer],
    asking: Asking,
    emit: Emit,
) -> Outcome:
    """Load, ask and let go: two models are never in memory at once."""
    loaded = load_model(who.folder, dtype=placed.dtype, device=placed.device, adapter=who.adapter)
    backend = LocalBackend.of(loaded, name=who.name, emit=emit)
    found = asyncio.run(ask_all(rows, backend, scorers, asking, model=backend.name, emit=emit))
    del backend, loaded
    gc.collect()
    return found


def _rows(question: Question, emit: Emit) -> tuple[Rows, dict[str, object]]:
    loaded = Loaded(Tally())
    section = Section(
        path=question.data, reader=question.reader, format=question.format,
        columns=question.columns, limit=question.limit, dedupe=False,
    )  # fmt: skip
    rows = Rows(load(section, loaded), name=Path(question.data).name)
    tally = loaded.tally.to_json()
    if loaded.tally.dropped:
        emit(Note(stage="evaluate", level="warning", code="rows-dropped", message=str(tally)))
    return rows, tally


def _run_folder(who: Subject) -> Path:
    path = who.folder if who.adapter is None else who.adapter
    return path.parent if path.name == "final" else path


def subject(model: str, adapter: str | None) -> Subject:
    """Find a model; an adapter given as the model brings its base.

    Raises: NotFound, ModelError("not-loadable" | "no-base" | "reward-model").
    """
    info = inspect(locate(model))
    if info.kind == "gguf":
        raise ModelError(
            "not-loadable",
            f"{model!r} is a GGUF file; evaluate the folder it was made from, or compare them",
            hint=f"stead parity DIR {model}",
        )
    beside = None if adapter is None else locate(adapter)
    for folder in (info.path, *([] if beside is None else [beside])):
        refuse_scores(folder)
    if info.kind == "adapter":
        if info.base is None:
            raise ModelError("no-base", f"the base of the adapter {model!r} is not on this machine")
        return Subject(locate(info.base), info.path)
    return Subject(info.path, beside)


def _opponent(against: str, tuned: Subject) -> Subject:
    """Return what "base" or a folder means as the other side of a comparison."""
    if against != "base":
        return subject(against, None)
    if tuned.adapter is not None:
        return Subject(tuned.folder, None)
    if Path("base").exists():
        return subject("base", None)
    raise ConfigError("no-adapter", "--against base needs an adapter to leave out")
