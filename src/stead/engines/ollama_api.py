"""Ollama's own API as a client: list, show, pull, create, load, unload, delete, and who runs.

Knows nothing about chats; those go through a dialect. Source: ollama docs/api.md.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core.errors import BackendError, ModelError, NotFound
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.core.http import Answer, Http, Waits
from stead.engines.modelfile import Modelfile

FOREVER = -1  # keep_alive: until it is unloaded
_PART_BYTES = 1 << 20
_LINE_LIMIT_BYTES = 1 << 20
_ASK = Waits(connect_s=2.0, first_s=30.0, between_s=30.0)
_WORK = Waits(connect_s=2.0, first_s=None, between_s=None)  # loading and pulling take their time


@dataclass(frozen=True, slots=True)
class Stored:
    """One model of an Ollama server; `loaded_bytes` is 0 unless it is in memory."""

    name: str
    size_bytes: int
    digest: str
    loaded_bytes: int = 0


class OllamaApi:
    """One Ollama server. Close it when done; every method raises BackendError when it is not there."""

    def __init__(self, url: str, http: Http | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = Http() if http is None else http

    async def version(self) -> str:
        """Return the server's version."""
        return str((await self._ask("GET", "/api/version"))["version"])

    async def stored(self) -> list[Stored]:
        """Return the models that it has, and how much of each is in memory."""
        loaded = await self.loaded()
        return [
            Stored(
                m["name"], int(m.get("size", 0)), str(m.get("digest", "")), loaded.get(m["name"], 0)
            )
            for m in await self._models("/api/tags")
        ]

    async def loaded(self) -> dict[str, int]:
        """Return the models in memory, with their bytes."""
        return {m["name"]: int(m.get("size", 0)) for m in await self._models("/api/ps")}

    async def show(self, name: str) -> dict[str, Any]:  # Any: JSON values
        """Return what the server knows of a model. Raises: NotFound("ollama-unknown-model")."""
        return await self._ask("POST", "/api/show", {"model": name}, name=name)

    async def load(self, name: str, keep_alive: int | str = FOREVER) -> None:
        """Bring a model into memory and keep it for `keep_alive` seconds; -1: until it is unloaded."""
        body = {"model": name, "keep_alive": keep_alive, "stream": False}
        await self._ask("POST", "/api/generate", body, name=name, waits=_WORK)

    async def unload(self, name: str) -> None:
        """Take a model out of memory once its requests are done."""
        await self.load(name, keep_alive=0)

    async def delete(self, name: str) -> None:
        """Remove a model from the store."""
        await self._ask("DELETE", "/api/delete", {"model": name}, name=name)

    async def pull(self, name: str, emit: Emit = ignore) -> None:
        """Fetch a model, telling the progress in bytes. Raises: BackendError("ollama-failed")."""
        await self._told("/api/pull", {"model": name}, f"pull {name}", emit)

    async def create(self, name: str, modelfile: Modelfile, emit: Emit = ignore) -> None:
        """Make a model from a Modelfile; GGUF files are sent to the server, each once.

        Raises: ModelError("no-file") for a file that is not there.
        """
        body: dict[str, Any] = {"model": name} | modelfile.fields()
        for field, paths in (("files", modelfile.files()), ("adapters", modelfile.adapters())):
            sent = {path.name: await self.send(path) for path in paths}
            if sent:
                body[field] = sent
        await self._told("/api/create", body, f"create {name}", emit)

    async def send(self, path: Path) -> str:
        """Put a file into the server's store unless it is there; return its digest."""
        digest, size = await asyncio.to_thread(_digest, path)
        route = f"/api/blobs/{digest}"
        async with await self._open("HEAD", route, None, _ASK) as answer:
            if answer.status == 200:
                return digest
        answer = await self._http.open(
            "POST",
            self.url + route,
            headers={"Content-Length": str(size)},
            waits=_WORK,
            upload=_parts(path),
        )
        async with answer:
            if answer.status not in (200, 201):
                raise await self._refused(answer, path.name)
        return digest

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _models(self, route: str) -> list[dict[str, Any]]:
        return list((await self._ask("GET", route)).get("models") or [])

    async def _ask(
        self,
        method: str,
        route: str,
        body: dict[str, Any] | None = None,
        *,
        name: str = "",
        waits: Waits = _ASK,
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        async with await self._open(method, route, data, waits) as answer:
            if answer.status != 200:
                raise await self._refused(answer, name)
            text = await answer.read()
        return self._decoded(text) if text.strip() else {}

    async def _open(self, method: str, route: str, body: bytes | None, waits: Waits) -> Answer:
        kind = {"Content-Type": "application/json"} if body is not None else None
        return await self._http.open(method, self.url + route, headers=kind, body=body, waits=waits)

    async def _told(self, route: str, body: dict[str, Any], stage: str, emit: Emit) -> None:
        """Follow a streamed job to its end. Raises: BackendError("ollama-failed" | "stream-cut")."""
        data = json.dumps(body | {"stream": True}).encode()
        status, part = "", ""
        async with await self._open("POST", route, data, _WORK) as answer:
            if answer.status != 200:
                raise await self._refused(answer, str(body["model"]))
            async for line in _lines(answer):
                said = self._decoded(line)
                if "error" in said:
                    raise BackendError("ollama-failed", f"{stage}: {said['error']}")
                status = str(said.get("status", ""))
                part = _tell(said, part, emit)
        if status != "success":
            raise BackendError("stream-cut", f"{stage}: ended after {status!r}, without success")

    async def _refused(self, answer: Answer, name: str) -> Exception:
        text = (await answer.read()).decode(errors="replace")
        try:
            why = str(json.loads(text)["error"])
        except (ValueError, KeyError, TypeError):
            why = text[:200]
        if answer.status == 404 and name:
            return NotFound(
                "ollama-unknown-model",
                f"Ollama has no model {name!r}: {why}",
                hint=f"stead ollama pull {name}",
            )
        return BackendError(
            "ollama-failed", f"{self.url} answered {answer.status}: {why}", status=answer.status
        )

    def _decoded(self, text: bytes) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise BackendError("bad-answer", f"{self.url} sent no JSON: {text[:80]!r}") from error
        if not isinstance(found, dict):
            raise BackendError("bad-answer", f"{self.url} sent no JSON object: {text[:80]!r}")
        return found


def _tell(said: dict[str, Any], former: str, emit: Emit) -> str:
    """Tell the progress of one part, by the first digits of its digest; return that part's name."""
    if "total" not in said:
        return former
    part = str(said.get("digest", "sha256:file")).removeprefix("sha256:")[:10]
    done, total = int(said.get("completed", 0)), int(said["total"])
    if part != former:
        emit(Started(stage=part, total=total, unit="bytes"))
    emit(Progress(stage=part, done=done))
    if done == total:
        emit(Finished(stage=part))
    return part


async def _lines(answer: Answer) -> AsyncIterator[bytes]:
    """Yield the lines of an NDJSON answer, however it was cut into parts."""
    rest = b""
    async for part in answer:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > _LINE_LIMIT_BYTES:
            raise BackendError("answer-too-large", f"a line of over {_LINE_LIMIT_BYTES} bytes")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def _digest(path: Path) -> tuple[str, int]:
    if not path.is_file():
        raise ModelError("no-file", f"there is no file {str(path)!r}")
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}", path.stat().st_size


async def _parts(path: Path) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:  # noqa: ASYNC230 - parts of 1 MiB from the local disk
        while part := file.read(_PART_BYTES):
            yield part
