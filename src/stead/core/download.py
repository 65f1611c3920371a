"""Fetch one file from a URL that somebody gave: address checked, resumable, bounded, hashed.

Knows nothing about models. No cookies, no credentials, no proxy from the environment, no compressed
bodies; at most three redirects, each checked again. What arrived stays beside the target until it is
whole, and the next call goes on from there if the server still has the same file (its ETag).
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from stead.core import address, files, room
from stead.core.errors import BackendError, ModelError, NotFound, ResourceError, UnsafeError
from stead.core.events import Emit, Progress, Started, ignore

STAGE = "download"
_REDIRECTS = (301, 302, 303, 307, 308)
_PART_BYTES = 1 << 20
_CAUGHT = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a download may do. `expected` is the SHA-256 (hex) the file must have, if known."""

    limit_bytes: int = 1 << 40
    expected: str | None = None
    allow_private: bool = False
    redirects: int = 3
    attempts: int = 4  # without a byte of progress
    timeout_s: float = 30.0


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """The transfer stopped early; what arrived is kept."""


def download(url: str, target: Path, rules: Rules, emit: Emit = ignore) -> str:
    """Fetch `url` into `target` and return its SHA-256.

    Raises: UnsafeError("bad-url" | "private-address" | "too-many-redirects"); NotFound("http-404");
    BackendError("http-<status>" | "connection-lost" | "bad-answer"); ResourceError("disk-full");
    ModelError("hash-mismatch") with both hashes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    left = rules.attempts
    while True:
        before = _size(part)
        try:
            _attempt(url, part, rules, emit)
            break
        except _Broken as error:
            left = rules.attempts if _size(part) > before else left - 1
            if left <= 0:
                raise BackendError(
                    "connection-lost",
                    f"{url!r} broke off {rules.attempts} times at byte {_size(part)}: {error}",
                ) from error
    digest = files.hash_file(part)
    if rules.expected is not None and digest != rules.expected:
        _forget(part)
        raise ModelError(
            "hash-mismatch", f"{url!r} has SHA-256 {digest}, expected {rules.expected}"
        )
    files.publish(part, target)
    _forget(part)
    return digest


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, rules: Rules, emit: Emit) -> None:
    """Ask for what is missing and append it to `part`."""
    tag = _note(part).read_text() if _note(part).exists() else ""
    have = _size(part) if tag else 0
    wanted = {"Range": f"bytes={have}-", "If-Range": tag} if have else {}
    with _answered(url, wanted, rules) as answer:
        if answer.status == 416:  # the file changed, or what we have is whole: begin again
            _forget(part)
            raise _Broken("the server has no such range")
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise BackendError("bad-answer", f"{url!r} is sent compressed, which was not asked for")
        start = _start(url, answer, have)
        total = _total(url, answer, start, rules)
        if not start:
            _forget(part)
            if answer.getheader("ETag", "").startswith('"'):  # a weak tag does not name bytes
                files.write_text(_note(part), answer.getheader("ETag", ""))
        need = 0 if total is None else total - start
        room.require(part.parent, need, what=url)
        emit(Started(stage=STAGE, total=total, unit="byte", info={"url": url}))
        _copy(answer, part, start, total, rules, emit)


def _start(url: str, answer: http.client.HTTPResponse, have: int) -> int:
    """Return the byte the body begins at. Raises: BackendError("bad-answer")."""
    if answer.status == 200:
        return 0
    said = answer.getheader("Content-Range", "")
    if not have or not said.startswith(f"bytes {have}-"):
        raise BackendError("bad-answer", f"{url!r} sent the range {said!r}, asked from {have}")
    return have


def _total(url: str, answer: http.client.HTTPResponse, start: int, rules: Rules) -> int | None:
    """Return the whole size if the server says it, within the limit."""
    if answer.length is None:
        return None
    total = start + answer.length
    if total > rules.limit_bytes:
        raise ResourceError(
            "too-large", f"{url!r} has {total} bytes, allowed are {rules.limit_bytes}"
        )
    return total


def _copy(
    answer: http.client.HTTPResponse,
    part: Path,
    start: int,
    total: int | None,
    rules: Rules,
    emit: Emit,
) -> None:
    done = start
    with open(part, "ab") as file:
        while True:
            try:
                data = answer.read1(_PART_BYTES)
            except _CAUGHT as error:
                raise _Broken(str(error)) from error
            if not data:
                break
            done += len(data)
            if done > rules.limit_bytes:
                raise ResourceError("too-large", f"more than {rules.limit_bytes} bytes arrive")
            try:
                file.write(data)
            except OSError as error:
                raise files.disk_full(part, error) from error
            emit(Progress(stage=STAGE, done=done))
    if total is not None and done < total:
        raise _Broken(f"the body ended at byte {done} of {total}")


@contextmanager
def _answered(
    url: str, headers: dict[str, str], rules: Rules
) -> Iterator[http.client.HTTPResponse]:
    """Yield the answer to a GET, following checked redirects. Raises: as `download`."""
    here = url
    for _ in range(rules.redirects + 1):
        target = address.check(here, allow_private=rules.allow_private)
        connection = _connection(target, rules.timeout_s)
        try:
            connection.request(
                "GET", target.path, headers={"Accept-Encoding": "identity"} | headers
            )
            answer = connection.getresponse()
        except _CAUGHT as error:
            connection.close()
            raise _Broken(f"{type(error).__name__}: {error}") from error
        try:
            if answer.status in _REDIRECTS:
                here = urljoin(here, answer.getheader("Location", ""))
                continue
            _refuse(here, answer.status)
            yield answer
            return
        finally:
            answer.close()  # it holds the socket once the connection let go of it
            connection.close()
    raise UnsafeError("too-many-redirects", f"{url!r} redirects more than {rules.redirects} times")


def _refuse(url: str, status: int) -> None:
    if status in (200, 206, 416):
        return
    if status in (408, 429) or status >= 500:
        raise _Broken(f"the server answers {status}")
    kind = NotFound if status in (404, 410) else BackendError
    raise kind(f"http-{status}", f"{url!r} answers {status}")


def _connection(target: address.Target, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection that goes to the checked address and nowhere else."""

    def connect(_: tuple[str, int], *args: object, **kwargs: object) -> socket.socket:
        return socket.create_connection((target.address, target.port), timeout_s)

    if target.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            target.host, target.port, timeout=timeout_s, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
    connection._create_connection = connect  # type: ignore[attr-defined]  # the library's own seam
    return connection
