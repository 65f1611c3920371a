"""PostgreSQL and Redis servers for one test session, on loopback or a socket; skipped where not installed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest


def _binary(name):
    found = shutil.which(name)
    if found is not None and name != "initdb":
        return found
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(places[-1]) if places else found


def _port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _until(ready, process, what):
    end = time.monotonic() + 30
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{what} did not start: {process.returncode}")
        time.sleep(0.05)


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _user():
    """PostgreSQL refuses to run as root: another user, if there is one."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    return {}


@contextmanager
def postgres_url(folder):
    """Run a cluster of its own; yields its URL."""
    pytest.importorskip("psycopg", reason="not run: psycopg is not installed")
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        pytest.skip("not run: PostgreSQL is not installed")
    who = _user()
    data = Path(
        tempfile.mkdtemp(prefix="stead-pg-", dir="/tmp")
    )  # another user cannot enter `folder`
    if who:
        os.chown(data, who["user"], who["group"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"} | who
    subprocess.run(
        [initdb, "-D", data / "c", "-U", "stead", "--auth=trust", "--no-sync"], check=True, **quiet
    )
    port = _port()
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
    process = subprocess.Popen(
        [server, "-D", data / "c", "-p", str(port), "-k", str(data), *options], **quiet
    )
    try:
        _until(lambda: _listens(port), process, "PostgreSQL")
        time.sleep(0.3)
        yield f"postgresql://stead@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def redis_url(folder):
    """Run a server of its own; yields its URL."""
    pytest.importorskip("redis", reason="not run: the library redis is not installed")
    server = _binary("redis-server")
    if server is None:
        pytest.skip("not run: Redis is not installed")
    port = _port()
    process = subprocess.Popen(
        [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        _until(lambda: _listens(port), process, "Redis")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)
