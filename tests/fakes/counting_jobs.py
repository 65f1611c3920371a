"""A kind of job whose worker counts, and a supervisor for it: `python counting_jobs.py URL LEASE_S [JOBS]`."""

import os
import sys
import threading
import uuid
from pathlib import Path

from stead.app.job_kinds import JobKind, Launch, Prepared
from stead.app.supervisor import Rhythm, Supervisor
from stead.store.artefacts import Artefact
from stead.store.db import Database
from stead.store.job_states import Capacity, Job
from stead.store.runs import Run
from stead.store.stores import Stores


class Counting(JobKind):
    """Its effect is one artefact with the job's id: a second one would break a unique key."""

    verb = "train"

    def prepare(self, given, stores, home, job, at):
        return Prepared(given, Path(given["folder"]), "counting")

    def launch(self, job, job_file):
        program = Path(__file__).with_name("job_worker.py")
        spec = job.spec | {"folder": job.folder}
        return Launch(self.verb, spec, [sys.executable, str(program), str(job_file)])

    def effects(self, connection, stores, job, result, at):
        made = Artefact(
            job.id, job.id, "count", str(job.folder), result["steps"], "", at, job=job.id
        )
        stores.artefacts.add(made, connection)


KINDS = {"count": Counting()}


def submit(stores, folder, *, run=True, **spec):
    """Queue one counting job with a run of its own."""
    name = uuid.uuid4().hex[:12]
    job = Job(name, "count", "queued", name, spec, "f", float(stores.jobs.list(limit=1).total), folder=str(folder / name),
              run=f"run-{name}" if run else None)  # fmt: skip
    row = Run(f"run-{name}", name, "queued", "", "", "", "", str(folder / name), 0.0, job=name)
    return stores.jobs.submit(job, lambda c: stores.runs.add(row, c) if run else None)


def supervisor(stores, lease_s=2.0, jobs=4, **more):
    """Return a supervisor that looks often."""
    rhythm = Rhythm(lease_s=lease_s, beat_s=lease_s / 5, poll_s=0.02, claim_s=0.05)
    return Supervisor(stores, Capacity(jobs=jobs), rhythm=rhythm, kinds=KINDS, **more)


def main(url, lease_s, jobs="4"):
    """Work until killed."""
    crew = supervisor(Stores.of(Database(url)), float(lease_s), int(jobs), name=str(os.getpid()))
    print(f"ready {os.getpid()}", flush=True)
    crew.run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
