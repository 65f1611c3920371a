"""List, show, work off, cancel, pause, resume, retry and reorder jobs.

Knows nothing about what jobs do; `app/jobs` and `app/supervisor` do.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console

if TYPE_CHECKING:
    from stead.app.jobs import Jobs
    from stead.store.job_states import Job

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]


@contextmanager
def _jobs() -> "Iterator[Jobs]":
    from stead.app.jobs import Jobs
    from stead.core.paths import Home

    jobs = Jobs.open(Home.find().ensure())
    try:
        yield jobs
    finally:
        jobs.close()


def _act(act: "Callable[[Jobs], Job]", as_json: bool) -> None:
    with _jobs() as jobs:
        job = act(jobs)
    if as_json:
        console.out_json(_shown(job))
        return
    asked = "" if job.request is None else f", asked to {job.request}"
    console.out(f"{job.id}  {job.state}{asked}")


def _shown(job: "Job") -> dict[str, Any]:  # Any: JSON values
    from dataclasses import asdict

    hidden = ("fingerprint", "realm", "until", "pid_started", "spec")
    return {name: value for name, value in asdict(job).items() if name not in hidden}


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


@app.command("list")
def list_jobs(
    state: Annotated[
        str | None,
        typer.Option(
            help="Only queued, running, pausing, paused, succeeded, failed or cancelled ones."
        ),
    ] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="Only those given up after too many failures.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: console.Json = False,
) -> None:
    """List jobs, newest first."""
    with _jobs() as jobs:
        page = jobs.list(state=state, dead=True if dead else None, limit=limit)
    if as_json:
        console.out_json({"items": [_shown(job) for job in page.items], "total": page.total})
        return
    for job in page.items:
        share = "" if job.progress is None else f"{job.progress:.0%}"
        console.out(f"{job.id}  {job.kind:<10}  {job.state:<9}  {share:>4}  {job.title}")
    if not page.items:
        console.note("no jobs")


@app.command()
def show(name: Name, as_json: console.Json = False) -> None:
    """Show one job: state, attempts, error, result."""
    with _jobs() as jobs:
        found = _shown(jobs.get(name))
    if as_json:
        console.out_json(found)
        return
    for key, value in found.items():
        if value is not None:
            told = _when(value) if key.endswith("_at") else value
            console.out(f"{key:<15} {told}")


@app.command()
def work(
    jobs_at_once: Annotated[
        int, typer.Option("--jobs", min=1, help="How many workers at once.")
    ] = 4,
    drain: Annotated[bool, typer.Option("--drain", help="End when no job is left.")] = False,
    lease_s: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds after which another supervisor takes over from a dead one."
        ),
    ] = 10.0,
) -> None:
    """Carry out jobs until Ctrl-C; workers that are at work then go on, and the next start follows them."""
    from stead.app.indexing import index
    from stead.app.supervisor import Rhythm, Supervisor, capacity

    stop = threading.Event()
    former = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with _jobs() as jobs:
            rhythm = Rhythm(lease_s=lease_s, beat_s=lease_s / 5)
            supervisor = Supervisor(
                jobs.stores, capacity(jobs.home, jobs_at_once), rhythm=rhythm, clock=jobs.clock
            )
            index(jobs.stores, jobs.home)
            console.note("working; Ctrl-C ends this, not the workers")
            supervisor.run(stop, drain=drain)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@app.command()
def cancel(
    name: Name,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for its worker to end.")
    ] = 0.0,
    as_json: console.Json = False,
) -> None:
    """Cancel a job; a worker saves and ends first."""

    def act(jobs: "Jobs") -> "Job":
        job, end = jobs.cancel(name), time.monotonic() + wait_s
        while not job.is_over and time.monotonic() < end:
            time.sleep(0.1)
            job = jobs.get(job.id)
        return job

    _act(act, as_json)


@app.command()
def pause(name: Name, as_json: console.Json = False) -> None:
    """Let a job's worker save and end; the job waits until it is resumed."""
    _act(lambda jobs: jobs.pause(name), as_json)


@app.command()
def resume(name: Name, as_json: console.Json = False) -> None:
    """Queue a paused job again; it goes on where it stopped."""
    _act(lambda jobs: jobs.resume(name), as_json)


@app.command()
def retry(name: Name, as_json: console.Json = False) -> None:
    """Queue a failed or cancelled job again, as a new job; a run goes on where it stopped."""
    _act(lambda jobs: jobs.retry(name), as_json)


@app.command()
def priority(
    name: Name,
    value: Annotated[int, typer.Argument(help="Higher goes first; 0 at the start.")],
    as_json: console.Json = False,
) -> None:
    """Let a job go before those of lower priority."""
    _act(lambda jobs: jobs.prioritize(name, value), as_json)
