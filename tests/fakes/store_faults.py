"""SQLite under faults: writers with a full disk, with calls that fail, killed; and what must hold afterwards."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from tests.fakes import store_writer

from stead.store.db import Database
from stead.store.migrate import migrate

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate")
ERRORS = ("ENOSPC", "EIO")


def made(folder):
    """Return the URL of a new database."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder / 'stead.db'}"
    database = Database(url)
    migrate(database)
    database.close()
    return url


def cannot_trace():
    """Say why no call can be made to fail on this machine, or None: a container may forbid to trace."""
    strace = shutil.which("strace")
    if strace is None:
        return "not run: strace is not installed"
    done = subprocess.run(
        [strace, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False
    )
    return (
        None
        if done.returncode == 0
        else f"not run: strace cannot trace here: {done.stderr[-200:]!r}"
    )


def start(url, count, *, limit_bytes=None, inject=None, trace=None):
    """Start a writer; `inject` is (call, error, ordinal): that call fails once."""
    line = [sys.executable, store_writer.__file__, url, str(count)]
    line += [] if limit_bytes is None else [str(limit_bytes)]
    if inject is not None:
        call, error, ordinal = inject
        fault = f"inject={call}:error={error}:when={ordinal}"
        line = [shutil.which("strace"), "-qq", "-o", str(trace), "-e", f"trace={call}", "-e", fault, *line]  # fmt: skip
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process, timeout_s=120):
    """Wait for a writer; return the acknowledged ids, the codes of its errors, its status, its last words."""
    out, error = process.communicate(timeout=timeout_s)
    lines = out.splitlines()
    ids = [line for line in lines if not line.startswith("!") and len(line) == 12]
    return ids, [line[2:] for line in lines if line.startswith("!")], process.returncode, error[-2000:]  # fmt: skip


def was_injected(trace):
    """Say whether the fault fell into the writer's life."""
    return "(INJECTED)" in Path(trace).read_text(errors="replace")


def broken(url, ids):
    """Return what does not hold: a damaged file, a row without its run, an acknowledged job that is missing."""
    database = Database(url)
    try:
        with database.read() as connection:
            whole = connection.exec_driver_sql("PRAGMA integrity_check").scalar_one()
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            jobs = set(connection.execute(sa.text("SELECT id FROM jobs")).scalars())
            runs = set(connection.execute(sa.text("SELECT job FROM runs")).scalars())
    finally:
        database.close()
    found = [] if whole == "ok" else [f"integrity: {whole}"]
    found += [f"orphan: {row}" for row in orphans]
    found += [f"lost: {name}" for name in ids if name not in jobs]
    return found + [f"half: {name}" for name in jobs ^ runs]
