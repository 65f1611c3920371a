"""A real server with a real home for the pages: a tiny model, a data set and a finished run, made through its own doors.

A cloud vendor and a hub stand beside it on loopback. Knows nothing about single pages. Everything is skipped with a reason where Node, Chromium or `ui/node_modules` lack.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import hub_server
from tests.ui import loopback

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "ui"
CHROMIUM = os.environ.get("CHROMIUM", shutil.which("chromium") or "/usr/bin/chromium")
_START_S = 60
_PLUGIN = """from stead.inference.hooks import Hook


class Shout(Hook):
    pass
"""
_RUN_S = 120


def lacking() -> str | None:
    """Say what browser tests need and this machine does not have."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not Path(CHROMIUM).is_file():
        return "Chromium is not installed; set CHROMIUM to its program"
    if not (UI / "node_modules" / "playwright-core").is_dir():
        return "ui/node_modules is not there; run: make ui"
    if not (ROOT / "src/stead/web/static/index.html").is_file():
        return "the pages are not built; run: make ui"
    return None


@dataclass
class Platform:
    """A running server, asked as its owner."""

    url: str
    home: Path
    server: "Server"
    token: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    _csrf: str = ""

    def __post_init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(jar)

    def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json"
    ) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, "X-Stead-CSRF": self._csrf}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(
                    f"{method} {path}: {error.code} {error.read().decode()}"
                ) from error

    def enter(self, code: str) -> None:
        """Open a session by the printed link, and make a token, which unlike a link's code is good for many scripts."""
        self.ask("POST", "/api/login", {"token": code})
        self._csrf = self.ask("GET", "/api/me")["csrf"]
        self.token = self.ask("POST", "/api/tokens", {"name": "browser tests"})["token"]

    def wait(self, path: str, wanted: str = "succeeded") -> dict[str, Any]:
        until = time.monotonic() + _RUN_S
        while (found := self.ask("GET", path))["state"] not in (wanted, "failed", "cancelled"):
            assert time.monotonic() < until, f"{path} is still {found['state']}"
            time.sleep(0.3)
        assert found["state"] == wanted, found
        return found


def _stead(home: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stead", *arguments],
        env=_environment(home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _environment(home: Path, more: dict[str, str] | None = None) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    paths = [str(ROOT / "src"), *([] if inherited is None else [inherited])]
    return os.environ | {
        "STEAD_HOME": str(home), "STEAD_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths),
    } | ({} if more is None else more)  # fmt: skip


class Server:
    """`stead serve` as a program that can be ended and started again on the same home and port."""

    def __init__(self, home: Path, log: Path, *arguments: str, **environment: str) -> None:
        self._log, self._arguments = log, arguments
        self._environment = _environment(home, environment)
        self.home, self.url, self._port = home, "", "0"
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start; return the code of the printed link."""
        command = [sys.executable, "-m", "stead", "serve", "--port", self._port, "--json"]
        with self._log.open("ab") as errors:
            self._child = subprocess.Popen(
                [*command, *self._arguments], env=self._environment, stdout=subprocess.PIPE,
                stderr=errors, text=True,
            )  # fmt: skip
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, self._log.read_text()
        self.url, _, code = str(json.loads(line)["link"]).partition("/#token=")
        self._port = self.url.rpartition(":")[2]
        return code

    def stop(self) -> None:
        """End it as Ctrl-C would; kill it when it does not."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(_START_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


@contextmanager
def served(server: Server) -> Iterator[Platform]:
    """Run a server and enter it as its owner."""
    code = server.start()
    try:
        platform = Platform(server.url, server.home, server)
        platform.enter(code)
        yield platform
    finally:
        server.stop()


def _form(name: str, data: bytes) -> tuple[bytes, str]:
    edge = "stead-tests-edge"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n'.encode(),
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n",
        f"--{edge}--\r\n".encode(),
    ]
    return b"".join(parts), f"multipart/form-data; boundary={edge}"


def _furnish(platform: Platform, work: Path) -> None:
    """Make what the pages show: a model, a data set, a finished run."""
    rows = [{"question": f"What is {i} plus {i}?", "answer": str(i + i)} for i in range(40)]
    text = work / "sums.jsonl"
    text.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = work / "nano"
    _stead(platform.home, "model", "new", str(base), "--preset", "nano", "--text", str(text))
    _stead(platform.home, "model", "add", str(base), "--name", "nano")
    body, kind = _form("sums", text.read_bytes())
    data = platform.ask("POST", "/api/datasets", body, kind=kind)
    config = {
        "model": {"path": "nano"}, "data": {"path": data["name"]},
        "trainer": {"epochs": 1, "lr": 0.01, "seed": 1},
    }  # fmt: skip
    started = platform.ask("POST", "/api/runs", {"config": config, "name": "first"})
    run = platform.wait(f"/api/runs/{started['run']['id']}")
    platform.facts = {"model": "nano", "dataset": data["id"], "run": run["id"]}


@contextmanager
def furnished(work: Path) -> Iterator[Platform]:
    """A server on a home with a model, a data set and a finished run; beside it a vendor and a hub."""
    with loopback.vendor() as vendor, hub_server.serving() as hub:
        strategy = loopback.strategy(work, vendor.url + "/v1")
        plugin = work / "home" / "plugins" / "hook" / "shout.py"
        plugin.parent.mkdir(parents=True)
        plugin.write_text(_PLUGIN)
        server = Server(
            work / "home", work / "log", "--strategy", str(strategy), "--all-models",
            **loopback.ENVIRONMENT, HF_ENDPOINT=hub.url, HF_HOME=str(work / "hf"), STEAD_OFFLINE="0", HF_HUB_OFFLINE="0", HF_TOKEN="hf_x", HF_HUB_DISABLE_XET="1",
        )  # fmt: skip
        with served(server) as made:
            _furnish(made, work)
            card = {"README.md": b"---\nlicense: mit\n---\n# A tiny model\n\nFor *tests* only.\n"}
            hub.add(
                "makers/tiny", {p.name: p.read_bytes() for p in (work / "nano").iterdir()} | card
            )
            hub.pause_s = 0.05
            yield made


@pytest.fixture(scope="session")
def empty_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A server on a home where nothing was done yet."""
    work = tmp_path_factory.mktemp("empty")
    with served(Server(work / "home", work / "log")) as made:
        yield made


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The furnished server, shared by all scripts."""
    with furnished(tmp_path_factory.mktemp("platform")) as made:
        yield made
