"""A program that writes jobs and prints each id once it is acknowledged: `python store_writer.py URL COUNT [BYTES]`.

An error of ours is printed as `! code`, and the next one is tried; any other error is its end, with status 1.
BYTES: files may grow to so many and no further, as on a full disk.
"""

import resource
import signal
import sys
import uuid

from stead.core.errors import SteadError
from stead.store.db import Database
from stead.store.job_states import Job
from stead.store.runs import Run
from stead.store.stores import Stores


def main(url, count, limit_bytes=None):
    """Write `count` jobs, each with a run, one transaction each."""
    if limit_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
    try:
        stores = Stores.of(Database(url))
    except SteadError as error:
        print("!", error.code, flush=True)
        return
    for at in range(int(count)):
        name = uuid.uuid4().hex[:12]
        run = Run(f"run-{name}", name, "queued", "", "", "", "x" * 2000, name, 0.0, job=name)
        job = Job(name, "count", "queued", name, {}, "f", float(at), folder=name, run=run.id)
        try:
            stores.jobs.submit(job, lambda connection, run=run: stores.runs.add(run, connection))
        except SteadError as error:
            print("!", error.code, flush=True)
            continue
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
