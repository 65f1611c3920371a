"""Use cases of jobs: submit once, look, cancel, pause, resume, retry, reorder.

Knows nothing about how jobs are carried out (`app/supervisor`) or shown. What is submitted is checked and
planned first, so that a refusal comes at once.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stead.app.database import open_stores
from stead.app.job_kinds import KINDS, Prepared
from stead.core import files
from stead.core.errors import ConfigError
from stead.core.paths import Home
from stead.core.suggest import nearest
from stead.store.job_states import Job, refused
from stead.store.rows import Page
from stead.store.stores import Stores

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Json = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of one data directory. Threads may share it."""

    stores: Stores
    home: Home
    clock: Callable[[], float] = time.time

    @classmethod
    def open(cls, home: Home) -> "Jobs":
        """Open the store that the settings name. Raises: as `open_stores`."""
        return cls(open_stores(home), home)

    def submit(
        self,
        kind: str,
        spec: Json,
        *,
        title: str | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
        owner: str | None = None,
    ) -> Job:
        """Queue a job; return it at once. The same key and request again give the same job.

        Kinds and their requests: `app/job_kinds`. A key counts for its owner alone.
        Raises: ConfigError("unknown-job-kind") and what the kind's checks raise;
        UsageError("idempotency-conflict", status 409).
        """
        if kind not in KINDS:
            near = nearest(kind, KINDS)
            ask = f"; did you mean {near!r}?" if near else f" ({', '.join(KINDS)})"
            raise ConfigError("unknown-job-kind", f"there is no kind of job {kind!r}{ask}")
        fingerprint = files.hash_value({"kind": kind, "spec": spec})
        key = (
            None
            if idempotency_key is None
            else f"{'' if owner is None else owner}:{idempotency_key}"
        )
        known = None if key is None else self.stores.jobs.keyed(key, fingerprint)
        if known is not None:
            return known
        at, job_id = self.clock(), new_id()
        made = KINDS[kind].prepare(spec, self.stores, self.home, job_id, at)
        job = Job(
            id=job_id, kind=kind, state="queued", title=made.title if title is None else title,
            spec=made.spec, fingerprint=fingerprint, created_at=at, owner=owner, priority=priority,
            idempotency_key=key, memory_bytes=made.memory_bytes, gpus=made.gpus,
            folder=str(made.folder), run=None if made.run is None else made.run.id,
        )  # fmt: skip
        return self.stores.jobs.submit(job, lambda connection: self._rows(connection, made, owner))

    def _rows(self, connection: "Connection", made: Prepared, owner: str | None) -> None:
        if made.run is not None:
            self.stores.runs.add(replace(made.run, owner=owner), connection)
        if made.evaluation is not None:
            self.stores.evaluations.add(replace(made.evaluation, owner=owner), connection)

    def get(self, job_id: str) -> Job:
        """Return a job. Raises: NotFound("no-job")."""
        return self.stores.jobs.get(job_id)

    def list(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        q: str | None = None,
        dead: bool | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Job]:
        """Return jobs, newest first."""
        return self.stores.jobs.list(
            state=state, kind=kind, q=q, dead=dead, limit=limit, after=after
        )

    def cancel(self, job_id: str) -> Job:
        """Cancel: at once when it only waits; else its worker is asked to save and end.

        Raises: NotFound("no-job"); UsageError("job-state", status 409).
        """
        return self.stores.jobs.ask(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Let the worker save and end, and keep the job until it is resumed. Raises: as `cancel`."""
        return self.stores.jobs.ask(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on where it stopped. Raises: as `cancel`."""
        return self.stores.jobs.ask(job_id, "resume")

    def prioritize(self, job_id: str, priority: int) -> Job:
        """Let a job go before those of lower priority. Raises: as `cancel`."""
        return self.stores.jobs.set_priority(job_id, priority)

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Queue a failed or cancelled job again as a new one; a run goes on in its folder.

        Raises: NotFound("no-job"); UsageError("job-state", status 409) while it is not over, or went well.
        """
        old = self.get(job_id)
        if old.state not in ("failed", "cancelled"):
            raise refused(old, "tried again")
        key = f"retry:{old.id}" if idempotency_key is None else f"retry:{old.id}:{idempotency_key}"
        job = Job(
            id=new_id(), kind=old.kind, state="queued", title=old.title, spec=old.spec,
            fingerprint=old.fingerprint, created_at=self.clock(), owner=old.owner,
            priority=old.priority, idempotency_key=key, memory_bytes=old.memory_bytes, gpus=old.gpus,
            folder=old.folder, tail=old.tail, run=old.run,
            retry_of=old.id if old.retry_of is None else old.retry_of,
        )  # fmt: skip

        def point(connection: "Connection") -> None:
            if job.run is not None:
                self.stores.runs.change(
                    job.run, connection, job=job.id, state="queued", error=None, finished_at=None
                )

        return self.stores.jobs.submit(job, point)

    def close(self) -> None:
        """Close the store."""
        self.stores.close()


def new_id() -> str:
    """Return a fresh job id that sorts by time."""
    return time.strftime("j%Y%m%d%H%M%S", time.gmtime()) + uuid.uuid4().hex[:10]
