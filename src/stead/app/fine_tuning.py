"""Fine-tuning as OpenAI's API orders it: files and a model's name become a run of the queue, checked first.

Knows nothing about HTTP. The run is the same as the platform's own; what is particular here is only how it is asked
for, whose it is, and under which name its model answers.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stead.app import run_control, tuned_told
from stead.app.identity import OWNER, Who
from stead.app.orders import Orders
from stead.app.platform import Platform
from stead.app.tuned import Tuned, TunedStore, folder_of
from stead.app.tuned_begin import METHODS, Settling
from stead.config.pairing import default_lr
from stead.config.recipe import read_recipe
from stead.core.errors import ModelError, NotFound, RateLimited, SteadError, UsageError
from stead.hub.inspect import inspect, locate
from stead.serving.access import Caller
from stead.serving.file_store import FileStore
from stead.serving.fine_tuning import Asked, Steered
from stead.serving.guard import refused
from stead.store.job_states import TERMINAL
from stead.store.runs import Run
from stead.wire.dialect import RequestRefused
from stead.wire.openai_shape import refuse

Json = dict[str, Any]  # Any: JSON values
_UNFINISHED = 20  # jobs of one key that are not over
_MICRO = 8  # rows at once; larger batches are accumulated


@dataclass(frozen=True, slots=True)
class FineTuner:
    """Tunes on one platform. `served`: models by the name that the server gives them."""

    here: Platform
    files: FileStore
    served: Mapping[str, str] = field(default_factory=dict)
    store: TunedStore = field(init=False)
    settling: Settling = field(init=False)

    def __post_init__(self) -> None:
        """Open what was tuned before; go on with what a former server had begun to read."""
        store = TunedStore(self.files)
        object.__setattr__(self, "store", store)
        object.__setattr__(self, "settling", Settling(self.here, self.files, store))
        for tuned in store.unsettled():
            self.settling.begin(tuned)

    def create(self, caller: Caller, asked: Asked) -> Json:
        """Order a job; its files are read afterwards. Raises: RequestRefused 400 with `param`; RateLimited."""
        who = self._who(caller)
        method = "supervised" if asked.method is None else asked.method.type
        if asked.integrations:
            raise refuse("integrations", "no integrations here; ask for trackers with 'stead'")
        self._check_room(caller)
        path = self._model(caller, asked.model)
        training = self._file(caller, asked.training_file, "training_file")
        config = _recipe(asked, method, path, training)
        if asked.validation_file is not None:
            evaluation = self._file(caller, asked.validation_file, "validation_file")
            config["data"]["eval_path"] = str(evaluation)
        if asked.stead:
            Orders(self.here, who).check_paths(asked.stead)
            config = run_control.changed(config, asked.stead)
        try:
            read_recipe(config, None, "request")
        except UsageError as error:
            raise RequestRefused(error.code, self.here.home.hide(error.message)) from error
        id_ = f"ftjob-{uuid.uuid4().hex[:24]}"
        tuned = Tuned(
            id=id_, owner=caller.key, by=who.name, name=_name(asked, id_), model=asked.model,
            training_file=asked.training_file, validation_file=asked.validation_file, method=method,
            created_at=self.here.clock(), seed=config["trainer"]["seed"], metadata=asked.metadata,
            hyperparameters=msgspec.to_builtins(asked.learning), config=config,
            tags=["fine_tuning", *([] if asked.suffix is None else [asked.suffix])],
        )  # fmt: skip
        self.store.save(tuned)
        self.here.audit.add(who.name, "POST /v1/fine_tuning/jobs", id_)
        self.settling.begin(tuned)
        return self._told(tuned)

    def jobs(self, caller: Caller, metadata: dict[str, str] | None) -> list[Json]:
        """Return a caller's jobs, the newest first; only those with that metadata."""
        owned = self.store.owned(caller.key)
        if metadata is not None:
            owned = [one for one in owned if metadata.items() <= _given(one.metadata).items()]
        found = [one for one in owned if not one.run or self._run(one) is not None]
        return [self._told(one) for one in found]

    def job(self, caller: Caller, id_: str) -> Json:
        """Return a job; the file of its results is made when it is first seen to be done. Raises: NotFound("no-such-job")."""
        tuned = self._get(caller, id_)
        told = self._told(tuned)
        if told["result_files"]:
            self._keep_results(tuned)
        return told

    def _keep_results(self, tuned: Tuned) -> None:
        id_ = tuned_told.results_id(tuned)
        try:
            self.files.get(tuned.owner, id_)
        except NotFound:
            with self.files.spool() as file:
                file.write(tuned_told.results(tuned, self.here.stores.runs))
                self.files.keep(tuned.owner, file, "step_metrics.csv", "fine-tune-results", id_=id_)

    def steer(self, caller: Caller, id_: str, what: Steered) -> Json:
        """Steer a job; return it. Raises: NotFound; RequestRefused 400 when its state does not allow it."""
        who, tuned = self._who(caller), self._get(caller, id_)
        run = self._run(tuned)
        if tuned.ended_at is not None or (run is not None and run.state in TERMINAL):
            raise refuse("fine_tuning_job_id", f"Job has already completed: {id_}", "job-over")
        self.here.audit.add(who.name, f"POST /v1/fine_tuning/jobs/{what}", id_)
        if run is None:
            return self._told(self.settling.steer(tuned, what))
        steering = {"cancel": self.here.jobs.cancel, "pause": self.here.jobs.pause,
                    "resume": self.here.jobs.resume}  # fmt: skip
        try:
            steering[what](str(run.job))
        except UsageError as error:  # the vendor's client asks again after 409
            raise refuse("fine_tuning_job_id", error.message, error.code) from error
        return self._told(tuned)

    def events(self, caller: Caller, id_: str, after: str | None, limit: int) -> list[Json]:
        """Return at most `limit` events, the newest first, those older than `after`."""
        return tuned_told.events(self._get(caller, id_), self.here.stores.runs, after, limit)

    def checkpoints(self, caller: Caller, id_: str) -> list[Json]:
        """Return a job's saved states, the newest first."""
        tuned, runs = self._get(caller, id_), self.here.stores.runs
        return tuned_told.checkpoints(tuned, runs.get(tuned.run), runs) if tuned.run else []

    def _get(self, caller: Caller, id_: str) -> Tuned:
        found = self.store.get(caller.key, id_)
        if found.run and self._run(found) is None:
            raise NotFound("no-such-job", f"Could not find fine tune: {id_}")
        return found

    def _told(self, tuned: Tuned) -> Json:
        return tuned_told.job(tuned, self._run(tuned), self.here.clock())

    def _run(self, tuned: Tuned) -> Run | None:
        return self.here.stores.runs.find(tuned.run) if tuned.run else None

    def _who(self, caller: Caller) -> Who:
        """Return who orders. Raises: RequestRefused 403 for keys without a user, and for viewers.

        Where nobody is asked for a key, and with a key of the command line, it is the owner, who may name no paths.
        """
        if not caller.key or caller.key.startswith("key-"):
            return Who(OWNER, OWNER, "member", "token")
        user_id: str | None = caller.key.removeprefix("user-")
        if user_id == caller.key:
            row = self.here.accounts.keys.find(caller.key)
            user_id = None if row is None else row.user_id
        user = None if user_id is None else self.here.users.find(user_id)
        if user is None or user.disabled_at is not None:
            raise refused(403, "no-user-of-key", "this key may ask models only: it has no user")
        who = Who(user.id, user.name, user.role, "token")
        if not who.may("member"):
            raise refused(403, "role-too-low", f"this needs the role member, you are {who.role}")
        return who

    def _check_room(self, caller: Caller) -> None:
        owned = self.store.owned(caller.key)
        runs = [self._run(one) for one in owned]
        waiting = sum(run is not None and run.state not in TERMINAL for run in runs)
        waiting += sum(not one.is_settled for one in owned)
        if waiting >= _UNFINISHED:
            words = f"{waiting} jobs of this key are not over yet; wait or cancel one"
            raise RateLimited("too-many-jobs", words)

    def _model(self, caller: Caller, name: str) -> str:
        """Return the place of a model that can be tuned. Raises: RequestRefused 400, param model."""
        missing = refuse(
            "model", f"Model {name[:200]} is not available for fine-tuning or does not exist.",
            "model-not-available",
        )  # fmt: skip
        known = self.store.named().get(name)
        if not caller.may(name):
            raise missing
        if known is not None:
            place = str(folder_of(self.here.home, known))
        else:
            place = (
                self.served[name]
                if name in self.served
                else Orders(self.here, self._who(caller)).model(name)
            )
        try:
            info = inspect(locate(place, home=self.here.home), home=self.here.home)
        except (NotFound, ModelError) as error:
            raise missing from error
        if info.kind == "gguf":
            raise missing
        if info.kind == "adapter":
            words = f"Model {name[:200]} is an adapter, which cannot be tuned further: merge it into its base first"
            raise refuse("model", words, "model-not-available")
        return str(info.path)

    def _file(self, caller: Caller, id_: str, param: str) -> Path:
        """Return an uploaded file for tuning. Raises: RequestRefused 400."""
        try:
            facts = self.files.get(caller.key, id_)
        except SteadError as error:
            raise refuse(param, f"invalid {param}: {id_}", "invalid-file") from error
        if facts.purpose != "fine-tune":
            words = f"invalid {param}: the purpose of {id_} is {facts.purpose!r}, not 'fine-tune'"
            raise refuse(param, words, "invalid-file-purpose")
        return self.files.path(caller.key, id_)


def _given(metadata: dict[str, str] | None) -> dict[str, str]:
    return {} if metadata is None else metadata


def _name(asked: Asked, id_: str) -> str:
    """Return the name of a job's model: ft:BASE:stead:SUFFIX:ID."""
    base = asked.model
    if base.startswith("ft:"):
        base = base.split(":")[1]
    base = Path(base).name if base.startswith(("/", ".", "~")) else base
    return f"ft:{base}:stead:{'' if asked.suffix is None else asked.suffix}:{id_[6:14]}"


def _recipe(asked: Asked, method: str, model: str, training: Path) -> Json:
    """Return the recipe that a job stands for."""
    learning = asked.learning
    trainer: Json = {"seed": 42 if asked.seed is None else asked.seed}
    if learning.n_epochs != "auto":
        trainer["epochs"] = learning.n_epochs
    if learning.batch_size != "auto":
        rows = max(n for n in range(1, _MICRO + 1) if learning.batch_size % n == 0)
        trainer |= {"batch_rows": rows, "accumulation": learning.batch_size // rows}
    kind: Json = {"type": METHODS[method]}
    if learning.learning_rate_multiplier != "auto":
        trainer["lr"] = default_lr(kind["type"], "lora") * learning.learning_rate_multiplier
    beta = getattr(learning, "beta", "auto")
    if beta != "auto":
        kind["beta"] = beta
    return {
        "model": {"path": model}, "data": {"path": str(training), "reader": "jsonl"}, "method": kind,
        "adapter": {"type": "lora"}, "trainer": trainer,
    }  # fmt: skip
