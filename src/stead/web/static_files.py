"""The web pages: files that are built into the package, read once, sent with headers that let no other origin in.

Knows nothing about the pages. Only names that were there at the start can be asked for, so no path leads out.
"""

import gzip
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parent / "static"
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
SAFE: list[tuple[bytes, bytes]] = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_INDEX = "/index.html"
_HASHED = "/assets/"  # Vite puts a hash of the content into these names
_PACKED_BYTES = 1024  # smaller files fit a packet as they are
_FOREVER = b"public, max-age=31536000, immutable"
_MISSING = b"<!doctype html><title>stead</title><p>The pages are not built (make ui). The API is at /api and /v1.\n"


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    packed: bytes | None
    kind: bytes
    cache: bytes


class StaticFiles:
    """An ASGI app for GET and HEAD; a path without a file is a page of the app itself."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            f"/{p.relative_to(folder).as_posix()}": _read(p, folder) for p in _paths(folder)
        }
        self._index = self._files.get(
            _INDEX, _File(_MISSING, None, b"text/html; charset=utf-8", b"no-cache")
        )

    @property
    def is_built(self) -> bool:
        """Say whether the pages are there."""
        return _INDEX in self._files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD"):
            await _send(send, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        found = self._files.get(path)
        if found is None and "." in path.rpartition("/")[2]:
            await _send(send, 404, [(b"content-type", b"text/plain")], b"there is no such file\n")
            return
        file = self._index if found is None else found
        headers = [
            (b"content-type", file.kind),
            (b"cache-control", file.cache),
            (b"vary", b"accept-encoding"),
        ]
        data = file.data
        if file.packed is not None and _takes_gzip(scope):
            data = file.packed
            headers.append((b"content-encoding", b"gzip"))
        await _send(send, 200, headers, data if method == "GET" else b"", len(data))


def _paths(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [p for p in found if p.is_file() and not p.is_symlink() and p.suffix != ".gz"]


def _read(path: Path, folder: Path) -> _File:
    guessed = mimetypes.guess_type(path.name)[0]
    kind = "application/octet-stream" if guessed is None else guessed
    if kind.startswith("text/") or kind.endswith("javascript"):
        kind += "; charset=utf-8"
    is_hashed = f"/{path.relative_to(folder).as_posix()}".startswith(_HASHED)
    data = path.read_bytes()
    is_text = kind.endswith(("utf-8", "json", "xml")) and len(data) >= _PACKED_BYTES
    return _File(
        data, _packed(data) if is_text else None, kind.encode(),
        _FOREVER if is_hashed else b"no-cache",
    )  # fmt: skip


@cache
def _packed(data: bytes) -> bytes:
    """Return what goes over the wire: a third of it. Packed once per process."""
    return gzip.compress(data, 6, mtime=0)


def _takes_gzip(scope: Scope) -> bool:
    return any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])


async def _send(
    send: Send,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    size: int | None = None,
) -> None:
    length = str(len(body) if size is None else size).encode()
    whole = [*headers, *SAFE, (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": whole})
    await send({"type": "http.response.body", "body": body})
