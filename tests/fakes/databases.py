"""PostgreSQL and Redis servers for one test session, on loopback or a socket; skipped where not installed."""

import os
import pwd
import shutil
import signal
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


class Cluster:
    """A PostgreSQL cluster of its own, whose server may be killed as a machine's end kills it."""

    def __init__(self, server, data, who):
        self._server, self.data, self._who = server, data, who
        self.port = _port()
        self._process = None
        self.url = f"postgresql://stead@127.0.0.1:{self.port}/postgres"

    def start(self, *, answers=True):
        """Start the server; by default wait until it answers."""
        options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        self._process = subprocess.Popen(
            [self._server, "-D", self.data / "c", "-p", str(self.port), "-k", str(self.data), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, **self._who,
        )  # fmt: skip
        _until(lambda: not answers or self._answers(), self._process, "PostgreSQL")

    def signal(self, number):
        """Send a signal to the server and every process of it."""
        os.killpg(self._process.pid, number)

    def kill(self):
        """End all of it at once, as the machine's end would."""
        self.signal(signal.SIGKILL)
        self._process.wait(20)
        self._process = None

    def stop(self):
        """End it in order."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)

    def _answers(self):
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_cluster():
    """Run a cluster of its own."""
    pytest.importorskip("psycopg", reason="not run: psycopg is not installed")
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        pytest.skip("not run: PostgreSQL is not installed")
    who = _user()
    # below /tmp: another user cannot enter a test's folder
    data = Path(tempfile.mkdtemp(prefix="stead-pg-", dir="/tmp"))
    if who:
        os.chown(data, who["user"], who["group"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"} | who
    made = [initdb, "-D", data / "c", "-U", "stead", "--auth=trust", "--no-sync"]
    subprocess.run(made, check=True, **quiet)
    cluster = Cluster(server, data, who)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def postgres_url(folder):
    """Run a cluster of its own; yields its URL."""
    with postgres_cluster() as cluster:
        yield cluster.url


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
