"""Supervisors as processes of their own, their workers below one folder, and an end to all of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from tests.fakes import counting_jobs


class Place:
    def __init__(self, stores, folder):
        self.stores, self.folder, self.started = stores, folder, []
        folder.mkdir()

    def submit(self, **spec):
        return counting_jobs.submit(self.stores, self.folder, **spec)

    def supervise(self, lease_s=1.0, jobs=4):
        url = self.stores.database.url.render_as_string(hide_password=False)
        program = Path(counting_jobs.__file__)
        log = (self.folder / "supervisors.log").open("ab")
        child = subprocess.Popen(
            [sys.executable, str(program), url, str(lease_s), str(jobs)],
            stdout=log,
            stderr=log,
            env=dict(os.environ),
        )
        log.close()
        self.started.append(child)
        return child

    def ready(self, child):
        """Wait until a supervisor has begun to look for jobs; return it."""
        log = self.folder / "supervisors.log"
        self.until(lambda: f"ready {child.pid}\n" in log.read_text(), timeout_s=60.0)
        return child

    def workers(self):
        """Return the living workers below the folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if any(str(self.folder) in part and part.endswith("job.json") for part in line):
                found.append(process)
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def until(self, check, timeout_s=20.0):
        end = time.monotonic() + timeout_s
        while not (found := check()):
            assert time.monotonic() < end, (self.folder / "supervisors.log").read_text()[-3000:]
            time.sleep(0.02)
        return found

    def state(self, job, *states, timeout_s=20.0):
        """Wait until a job is in one of the states."""
        return self.until(
            lambda: (j := self.stores.jobs.get(job.id)).state in states and j, timeout_s
        )

    def put_to_sleep(self, holder, job, timeout_s=20.0):
        """Stop a supervisor until another one has its job.

        One that is stopped inside a write keeps the lock of all writers: it is let go on for a moment.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            holder.send_signal(signal.SIGSTOP)
            patience = time.monotonic() + 2.0
            while time.monotonic() < patience:
                if self.stores.jobs.get(job.id).attempt >= 2:
                    return
                time.sleep(0.02)
            holder.send_signal(signal.SIGCONT)
            time.sleep(0.004)
        raise AssertionError((self.folder / "supervisors.log").read_text()[-3000:])

    def step(self, job):
        return self.stores.runs.get(job.run).step

    def clean(self):
        for child in self.started:
            child.send_signal(signal.SIGKILL)
            child.wait()
        for worker in self.workers():
            worker.kill()
