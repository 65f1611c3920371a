"""Use case "sweep": train a recipe with several values of some keys, and keep the best.

Knows nothing about samplers' ways or about training. `trials.json` is the whole memory: the same
command on the same folder goes on where the last one stopped, half-trained trials included.
"""

import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.app import samplers, search_space, supervise
from stead.app.plans import make_plan
from stead.app.samplers import SAMPLERS, Question, Trial
from stead.app.search_space import Param, Values
from stead.app.sweep_page import write_sweep
from stead.config import load
from stead.config.recipe import Given, read_recipe
from stead.config.run import RunConfig
from stead.core import files
from stead.core.errors import ConfigError, Interrupted, ResourceError, SteadError
from stead.core.events import AnyEvent, Emit, Finished, Note, Progress, Saved, Started, ignore

TRIALS, SWEEP, BEST = "trials.json", "sweep.json", "best.yaml"
_RESULTS = ("eval_loss", "final_loss", "mean_loss", "tokens_per_s", "seconds", "peak_rss_mib")
_NO_ROOM = ("disk-full", "not-enough-disk")
Clock = Callable[[], float]
Train = Callable[["SweepRequest", int, Values, Path, Emit], Mapping[str, Any]]
"""(request, number, values, folder, subscriber) → the result of one training run."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What to try. `overrides` are those of every trial; `trials` None: the whole grid, else 20."""

    recipe: RunConfig | Mapping[str, Any] | Path | None
    params: tuple[str, ...]
    overrides: dict[str, Any] = field(default_factory=dict)  # Any: JSON values or Given
    sampler: str = "tpe"
    trials: int | None = None
    metric: str = "eval_loss"
    minimize: bool = True
    seed: int = 42
    parallel: int = 1
    timeout_s: float | None = None
    prune: bool = True


@dataclass(frozen=True, slots=True)
class Sweep:
    """A checked request: the space, and how many trials there are to be."""

    request: SweepRequest
    space: tuple[Param, ...]
    total: int

    def propose(self, number: int, done: list[Trial]) -> Values | None:
        """Return the values of trial `number`, or None when there are no more."""
        asked = Question(self.space, self.request.seed, number, done, self.request.minimize)
        return SAMPLERS[self.request.sampler](asked)

    @property
    def identity(self) -> dict[str, Any]:  # Any: JSON values
        """What must be equal for two commands to be one sweep."""
        request = self.request
        recipe = read_recipe(request.recipe, request.overrides)
        return {
            "recipe": recipe.config.model_dump(mode="json"), "params": list(request.params),
            "sampler": request.sampler, "metric": request.metric, "minimize": request.minimize,
            "seed": request.seed,
        }  # fmt: skip


def check(request: SweepRequest) -> Sweep:
    """Refuse what cannot work, before the first trial.

    Raises: ConfigError naming the key, value, sampler or metric; MissingDependency.
    """
    if request.sampler not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise ConfigError("unknown-sampler", f"{request.sampler!r} is no sampler (known: {known})")
    samplers.require(request.sampler)
    space = tuple(map(search_space.parse, request.params))
    if not space:
        raise ConfigError(
            "bad-parameter", "a sweep needs a parameter: --param trainer.lr=1e-5:1e-3:log"
        )
    if len({p.key for p in space}) < len(space):
        raise ConfigError(
            "bad-parameter", "a key may be given once: " + ", ".join(p.key for p in space)
        )
    first = {k: g for p in space for k, g in _given(p.key, p.edges()[0]).items()}
    for param in space:
        for value in param.edges():
            config = read_recipe(request.recipe, request.overrides | first | _given(param.key, value)).config  # fmt: skip
    _check_metric(request.metric, config)
    return Sweep(request, space, _total(request, space))


def _given(key: str, value: Any) -> dict[str, Given]:  # Any: a JSON value
    return {key: Given(value, f"option --param {key}")}


def _check_metric(metric: str, config: Any) -> None:  # Any: RunConfig
    known = [*_RESULTS, *config.evaluation.metrics]
    if metric not in known:
        raise ConfigError(
            "unknown-metric",
            f"{metric!r} is measured by no trial (known: {', '.join(known)}); evaluation.metrics adds more",
        )
    data = config.data
    if metric == "eval_loss" and data.eval_share == 0 and data.eval_path is None:
        raise ConfigError(
            "no-evaluation-data", "eval_loss needs held-out rows, but data.eval_share is 0",
            hint="stead sweep --eval-share 0.1",
        )  # fmt: skip


def _total(request: SweepRequest, space: tuple[Param, ...]) -> int:
    asked = request.trials
    if request.sampler != "grid":
        return 20 if asked is None else asked
    whole = len(search_space.combinations(space))
    return whole if asked is None else min(asked, whole)


def train_trial(
    request: SweepRequest, number: int, params: Values, folder: Path, emit: Emit
) -> Mapping[str, Any]:  # Any: JSON values
    """Train one trial in a worker of its own; one that was stopped goes on where it was."""
    values = {k: Given(v, f"sweep trial {number}") for k, v in params.items()}
    given = {
        "name": Given(f"{folder.parents[1].name}-{number}", "sweep"),
        "out": Given(str(folder), "sweep"),
    }
    plan = make_plan(request.recipe, request.overrides | given | values).placed(folder)
    return supervise.train(
        {"plan": plan.to_json(), "resume": True}, folder, emit, plan.config.launch
    )


def run_sweep(
    request: SweepRequest,
    out: Path,
    emit: Emit = ignore,
    *,
    train: Train = train_trial,
    clock: Clock = time.monotonic,
) -> dict[str, Any]:  # Any: JSON values
    """Run the trials that are missing, write `best.yaml`, return trials and best.

    Raises: ConfigError("other-sweep") when the folder holds another one; Interrupted after Ctrl-C:
    the same command goes on; ResourceError("disk-full") likewise; the last trial's error when every trial failed.
    """
    sweep = check(request)
    _claim(sweep, out)
    state = _Running(sweep, out.absolute(), emit, train, read_trials(out))
    emit(Started(stage="sweep", total=sweep.total, unit="trial"))
    end = None if request.timeout_s is None else clock() + request.timeout_s
    try:
        state.work(lambda: end is not None and clock() > end)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", _stopped(state.done)) from error
    except ResourceError as error:
        if error.code not in _NO_ROOM:
            raise
        told = f"{error.message}; {_stopped(state.done)}"
        raise ResourceError("disk-full", told, hint=f"df -h {shlex.quote(str(out))}", **error.details) from error  # fmt: skip
    return _conclude(sweep, state.done, out, emit)


def _stopped(done: Sized) -> str:
    trials = "1 trial" if len(done) == 1 else f"{len(done)} trials"
    return f"the sweep was stopped after {trials}; the same command goes on"


def _claim(sweep: Sweep, out: Path) -> None:
    """Write down which sweep this folder holds, or check that it is this one."""
    place = out / SWEEP
    if not place.is_file():
        files.write_json(place, sweep.identity)
        return
    before, now = files.read_json(place), sweep.identity
    changed = [k for k in now if before.get(k) != now[k]]
    if changed:
        raise ConfigError(
            "other-sweep",
            f"{str(out)!r} holds another sweep: {', '.join(changed)} differ; give another --out",
        )


def read_trials(out: Path) -> list[Trial]:
    """Return the finished trials of a sweep's folder, by number."""
    place = out / TRIALS
    return [Trial.from_dict(t) for t in files.read_json(place)] if place.is_file() else []


def best_of(done: list[Trial], *, minimize: bool) -> Trial | None:
    """Return the best complete trial, the earlier of equals."""
    sign = 1.0 if minimize else -1.0
    found = [t for t in done if t.state == "complete" and t.value is not None]
    return min(found, key=lambda t: (sign * float(t.value or 0.0), t.number), default=None)


def _conclude(sweep: Sweep, done: list[Trial], out: Path, emit: Emit) -> dict[str, Any]:
    best = best_of(done, minimize=sweep.request.minimize)
    if best is None:
        errors = [t.error for t in done if t.error is not None]
        raise ConfigError("no-trial", f"no trial gave a value; the last one: {errors[-1] if errors else 'none was run'}")  # fmt: skip
    values = {k: Given(v, "sweep") for k, v in best.params.items()}
    config = read_recipe(sweep.request.recipe, sweep.request.overrides | values).config
    load.dump(out / BEST, config.model_dump(mode="json", exclude_unset=True))
    emit(Saved(stage="sweep", path=str(out / BEST), what="recipe"))
    request, page = sweep.request, out / "report.html"
    write_sweep(done, best, request.metric, minimize=request.minimize, path=page)
    emit(Finished(stage="sweep", result={"best": best.to_dict()}))
    return {
        "out": str(out), "metric": sweep.request.metric, "best": best.to_dict(), "recipe": str(out / BEST), "report": str(page),
        "trials": [t.to_dict() for t in done],
    }  # fmt: skip


class _Pruned(BaseException):
    """The trial is worse than most were at the same step. No Exception: its worker has not failed."""


class _Stopped(BaseException):
    """Somebody pressed Ctrl-C. No Exception, as KeyboardInterrupt is none."""


class _Running:
    """The trials that are done and those on their way. Trials run in threads, each with a worker process."""

    def __init__(
        self, sweep: Sweep, out: Path, emit: Emit, train: Train, done: list[Trial]
    ) -> None:
        self._train = train
        self.sweep = sweep
        self.out = out
        self.emit = emit
        self.done = done
        self._stopping = threading.Event()
        self._next = self._numbers()

    def _numbers(self) -> list[int]:
        known = {t.number for t in self.done}
        return [n for n in range(self.sweep.total) if n not in known]

    def work(self, out_of_time: Callable[[], bool]) -> None:
        """Run until nothing is left to start and everything has ended."""
        pending: set[Future[Trial]] = set()
        with ThreadPoolExecutor(self.sweep.request.parallel, "trial") as pool:
            try:
                while True:
                    while self._next and len(pending) < self.sweep.request.parallel and not out_of_time():  # fmt: skip
                        number = self._next.pop(0)
                        params = self.sweep.propose(number, list(self.done))
                        if params is not None:
                            pending.add(pool.submit(self._trial, number, params))
                    if not pending:
                        return
                    ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in ended:
                        self._keep(future.result())
            except BaseException:
                self._stopping.set()
                raise

    def _keep(self, trial: Trial) -> None:
        self.done = sorted([*self.done, trial], key=lambda t: t.number)
        files.write_json(self.out / TRIALS, [t.to_dict() for t in self.done])
        request = self.sweep.request
        best = best_of(self.done, minimize=request.minimize)
        values = (
            {} if best is None or best.value is None else {f"best {request.metric}": best.value}
        )
        told = f"{request.metric} {trial.value:.5g}" if trial.value is not None else trial.state
        if trial.error is not None:
            told += f": {trial.error}"
        self.emit(Note(stage="sweep", message=f"trial {trial.number}: {told}  {search_space.shown(trial.params)}"))  # fmt: skip
        self.emit(Progress(stage="sweep", done=len(self.done), values=values))

    def _trial(self, number: int, params: Values) -> Trial:
        """Train with these values; what cannot be trained is a failed trial."""
        same = next((t for t in self.done if t.params == params and t.state == "complete"), None)
        if same is not None:
            return Trial(number, params, "complete", same.value, same.folder, 0.0, same.reports)
        name = f"{number:03d}-{files.hash_value(params)[:6]}"
        reports: dict[int, float] = {}
        began = time.monotonic()
        watch = self._watch(reports)
        try:
            folder = self.out / "trials" / name
            result = self._train(self.sweep.request, number, params, folder, watch)
            value = value_of(result, self.sweep.request.metric)
            state, error = ("complete", None) if value is not None else ("failed", "the metric is no number")  # fmt: skip
        except _Pruned:
            state, error, value = "pruned", None, None
        except Interrupted:
            raise
        except SteadError as failure:
            if (
                failure.code in _NO_ROOM
            ):  # no fault of the values; the next trial has no room either
                raise
            state, error, value = "failed", failure.message, None
        seconds = round(time.monotonic() - began, 3)
        return Trial(number, params, state, value, f"trials/{name}", seconds, reports, error)  # type: ignore[arg-type] # one of State

    def _watch(self, reports: dict[int, float]) -> Emit:
        """Return a subscriber that notes held-out losses, and ends a trial that is hopeless."""
        request = self.sweep.request

        def watch(event: AnyEvent) -> None:
            if self._stopping.is_set():
                raise _Stopped
            if not isinstance(event, Progress) or request.metric not in event.values:
                return
            value = event.values[request.metric]
            reports[event.done] = value
            if request.prune and samplers.is_hopeless(event.done, value, self.done, minimize=request.minimize):  # fmt: skip
                raise _Pruned

        return watch


def value_of(result: Mapping[str, Any], metric: str) -> float | None:  # Any: JSON values
    """Return a trial's value: a result of training, or a score of its evaluation."""
    score = result.get("scores", {}).get(metric)
    found = result.get(metric) if score is None else score.get("tuned", score.get("value"))
    return float(found) if isinstance(found, int | float) else None
