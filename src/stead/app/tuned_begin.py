"""From an ordered fine-tuning job to a run of the queue: its files are read, then it is planned and queued, or has failed.

Knows nothing about HTTP. What a server had begun to read when it was killed is read again by the next one.
"""

import logging
import threading

from msgspec.structs import replace

from stead.app.identity import Who
from stead.app.orders import Orders
from stead.app.platform import Platform
from stead.app.tuned import Fault, Tuned, TunedStore
from stead.app.tuning_files import check_rows
from stead.core.errors import NotFound, SteadError
from stead.serving.file_store import FileStore
from stead.serving.fine_tuning import Steered
from stead.wire.openai_shape import refuse

METHODS = {"supervised": "sft", "dpo": "dpo"}
_AT_ONCE = 2  # files that are read
_AWAY = "database-unavailable"
_LOG = logging.getLogger("stead.jobs")


class Settling:
    """Threads that read files; each job is settled once, whatever is asked of it meanwhile."""

    def __init__(self, here: Platform, files: FileStore, store: TunedStore) -> None:
        self._here, self._files, self._store = here, files, store
        self._turn = threading.BoundedSemaphore(_AT_ONCE)
        self._changing = threading.Lock()

    def begin(self, tuned: Tuned) -> None:
        """Settle a job beside whatever else goes on."""
        name = f"stead-{tuned.id[:12]}"
        threading.Thread(target=self._settle, args=(tuned,), name=name, daemon=True).start()

    def steer(self, tuned: Tuned, what: Steered) -> Tuned:
        """Steer a job whose files are being read; return it. Raises: RequestRefused 400."""
        if what != "cancel":
            words = f"Job is validating its files, which cannot {what}: {tuned.id}"
            raise refuse("fine_tuning_job_id", words, "job-state")
        with self._changing:
            found = self._store.get(tuned.owner, tuned.id)
            if not found.is_settled:
                found = replace(found, ended_at=self._here.clock())
                self._store.save(found)
                return found
        self._here.jobs.cancel(str(self._here.stores.runs.get(found.run).job))
        return found

    def _settle(self, tuned: Tuned) -> None:
        with self._turn:
            fault = None
            try:
                self._check(tuned)
            except SteadError as error:
                fault = self._fault(error)
            try:
                with self._changing:
                    self._end(tuned, fault)
            except SteadError as error:  # the next server reads it again
                _LOG.warning("%s is not queued: %s", tuned.id, error)

    def _check(self, tuned: Tuned) -> None:
        """Read the files. Raises: RequestRefused with `param`; NotFound when one was deleted meanwhile."""
        for param, id_ in (("training_file", tuned.training_file), ("validation_file", tuned.validation_file)):  # fmt: skip
            if id_ is None:
                continue
            try:
                shown = self._files.get(tuned.owner, id_).filename
            except NotFound as error:
                raise refuse(param, f"invalid {param}: {id_}", "invalid-file") from error
            check_rows(self._files.path(tuned.owner, id_), shown, param, tuned.method)

    def _end(self, tuned: Tuned, fault: Fault | None) -> None:
        found = self._store.get(tuned.owner, tuned.id)
        if found.is_settled:
            return  # cancelled
        run = ""
        if fault is None:
            try:
                run = self._queued(found)
            except SteadError as error:
                if error.code == _AWAY:
                    raise
                fault = self._fault(error)
        ended_at = self._here.clock() if fault is not None else None
        self._store.save(replace(found, run=run, fault=fault, ended_at=ended_at, config=None))

    def _queued(self, tuned: Tuned) -> str:
        # Whoever ordered has been looked at; the paths that are in the recipe are our own.
        ours = Orders(self._here, Who(tuned.by, tuned.by, "admin", "token"))
        made = ours.train(tuned.config, None, name=tuned.id, tags=tuned.tags, key=tuned.id)
        return str(made.run)

    def _fault(self, error: SteadError) -> Fault:
        param = error.details.get("param")
        words = self._here.home.hide(error.message)
        return Fault(error.code.replace("-", "_"), words, None if param is None else str(param))
