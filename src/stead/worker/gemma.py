"""The gemma.cpp program: one `.sbs` file by the pygemma wheel or a gemma program, served by `serving`.

Knows nothing about who asks. `python -m stead.worker.gemma`, the order on stdin. The wheel's
`completion` prints to stdout, so it lives in a child of its own (`… gemma inner`) whose stdout is read.
"""

import asyncio
import codecs
import ctypes
import json
import os
import secrets
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from stead.core import process
from stead.core.errors import BackendError, ModelError
from stead.core.lazy import folder_of, lazy
from stead.engines import child, hosting
from stead.engines.engine import ChildOrder
from stead.hub import sbs_file
from stead.inference import gemma_turns
from stead.inference.fill import Filled
from stead.inference.route import ByName
from stead.inference.spoken import Speaker, Spoken
from stead.messages import Sampling
from stead.serving.asgi import App
from stead.serving.settings import Settings

pygemma = lazy("pygemma", extra="gemma")

_READ_BYTES = 1 << 16
_MARK = b"\x1e"  # begins and ends what only we write: ASCII's record separator
_GRACE_S = 0.5  # nothing of the child is worth waiting for
_QUEUE, _QUEUE_WAIT_S = 16, 120.0
_MOST_TOKENS = 2048


class _Reader:
    """Text from a pipe, without the line ends that gemma.cpp puts around an answer."""

    def __init__(self, descriptor: int, mark: bytes | None) -> None:
        self._descriptor = descriptor
        self._mark = mark  # None: the answer ends with the pipe

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Yield the text as it comes. Raises: BackendError("engine-died")."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        rest, line_end, begun = b"", "", False
        while True:
            data = await asyncio.to_thread(os.read, self._descriptor, _READ_BYTES)
            rest += data
            found = -1 if self._mark is None else rest.find(self._mark)
            if not data and self._mark is not None and found < 0:
                raise BackendError("engine-died", "gemma.cpp ended within its answer")
            at = found if found >= 0 else (rest.find(_MARK) if self._mark is not None else -1)
            ours, rest = (rest, b"") if at < 0 else (rest[:at], rest[at:])
            text = decode(ours, final=found >= 0 or not data)
            text = text if begun else text.lstrip("\n")
            begun = begun or bool(text)
            piece = line_end + text
            line_end = "\n" if piece.endswith("\n") else ""  # the last one is not the answer's
            if piece.removesuffix("\n"):
                yield piece.removesuffix("\n")
            if found >= 0 or not data:
                return


class Wheel(Speaker):
    """The wheel in a child that stays; cut off within an answer it is ended and loaded anew."""

    def __init__(self, weights: Path, tokenizer: Path, variant: str) -> None:
        self._first = {
            "weights": str(weights), "tokenizer": str(tokenizer), "variant": variant,
        }  # fmt: skip
        self._child: process.Child | None = None
        self._loading: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Start the child and wait until the weights are in memory. Raises: ModelError("load-failed")."""
        folder = folder_of("pygemma")
        path = ":".join(p for p in (str(folder), os.environ.get("LD_LIBRARY_PATH", "")) if p)
        self._child = process.converse(
            process.python("stead.worker.gemma", "inner"),
            name="pygemma",
            env={"LD_LIBRARY_PATH": path},
        )
        try:
            async for _ in self._asked(self._first):
                pass  # the wheel's greeting
        except BackendError as error:
            await self.close()
            raise ModelError("load-failed", f"pygemma ended: {error.message}") from error

    async def speak(self, prompt: str, sampling: Sampling) -> AsyncGenerator[str, None]:
        """Answer piece by piece."""
        if self._loading is not None:
            await self._loading
            self._loading = None
        if self._child is None or self._child.poll() is not None:
            await self.load()
        whole = False
        try:
            async for piece in self._asked({"prompt": prompt}):
                yield piece
            whole = True
        finally:
            if not whole:  # it cannot be interrupted otherwise
                self._end()
                self._loading = asyncio.create_task(self.load())

    async def close(self) -> None:
        """End the child."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
            self._loading = None
        self._end()

    def _end(self) -> None:
        running, self._child = self._child, None
        if running is not None:
            running.stop(_GRACE_S)
            if running.process.stdout is not None:
                running.process.stdout.close()

    async def _asked(self, words: dict[str, str]) -> AsyncGenerator[str, None]:
        running = self._child
        if running is None or running.process.stdin is None or running.process.stdout is None:
            raise BackendError("engine-died", "pygemma does not run")
        mark = secrets.token_hex(16)
        try:
            running.process.stdin.write(json.dumps(words | {"mark": mark}).encode() + b"\n")
            running.process.stdin.flush()
        except OSError as error:
            raise BackendError("engine-died", f"pygemma has ended: {error.strerror}") from error
        reader = _Reader(running.process.stdout.fileno(), _MARK + mark.encode() + _MARK)
        async for piece in reader.pieces():
            yield piece


class Binary(Speaker):
    """A gemma program, started for each answer: the prompt on its stdin, the answer on its stdout."""

    def __init__(self, program: str, weights: Path, tokenizer: Path | None) -> None:
        self._argv = [program, "--weights", str(weights), "--verbosity", "0"]
        if tokenizer is not None:
            self._argv += ["--tokenizer", str(tokenizer)]

    async def speak(self, prompt: str, sampling: Sampling) -> AsyncGenerator[str, None]:
        """Answer piece by piece. Temperature 0 is the likeliest token, as everywhere."""
        end = f"end-{secrets.token_hex(8)}"
        running = process.converse(
            [*self._argv, *_choosing(sampling), "--eot_line", end], name="gemma"
        )
        pipe = running.process
        if pipe.stdin is None or pipe.stdout is None:
            raise BackendError("engine-died", "the gemma program has no pipes")
        try:
            pipe.stdin.write(f"{prompt}\n{end}\n".encode())
            pipe.stdin.close()
            async for piece in _Reader(pipe.stdout.fileno(), None).pieces():
                yield piece
            status = await asyncio.to_thread(running.wait)
            if status:
                raise BackendError("engine-died", f"the gemma program ended with status {status}")
        except BrokenPipeError as error:
            raise BackendError(
                "engine-died", "the gemma program ended before its prompt"
            ) from error
        finally:
            running.stop(_GRACE_S)
            pipe.stdout.close()

    async def close(self) -> None:
        """Do nothing: no program outlives its answer."""


def _choosing(sampling: Sampling) -> list[str]:
    """Return the arguments that say how tokens are chosen. Source: gemma.cpp gemma/gemma_args.h."""
    limit = _MOST_TOKENS if sampling.max_tokens is None else sampling.max_tokens
    given = ["--max_generated_tokens", str(limit)]
    if sampling.temperature == 0:
        return [*given, "--top_k", "1"]
    if sampling.temperature is not None:
        given += ["--temperature", str(sampling.temperature)]
    return given if sampling.top_k is None else [*given, "--top_k", str(sampling.top_k)]


def serve(given: ChildOrder, ready: child.Ready) -> None:
    """Load the weights and answer until told to stop. Raises: ModelError("no-tokenizer")."""
    weights = Path(given.order.model)
    tokenizer = sbs_file.tokenizer_of(weights)
    if given.program is not None:
        speaker: Speaker = Binary(given.program.argv[0], weights, tokenizer)
        tuned = "pt" not in weights.stem.lower().replace("_", "-").split("-")
    else:
        if tokenizer is None:
            raise ModelError("no-tokenizer", f"there is no tokenizer.spm beside {str(weights)!r}")
        variant = sbs_file.variant(weights, sbs_file.read(weights))
        speaker, tuned = Wheel(weights, tokenizer, variant), variant.endswith("it")
        asyncio.run(speaker.load())  # before we say that we are ready
    name = given.order.name
    spoken = Spoken(speaker, name, gemma_turns.render if tuned else gemma_turns.plain)
    settings = Settings(
        api_keys=(given.token,), concurrency=1, queue=_QUEUE, queue_wait_s=_QUEUE_WAIT_S
    )
    hosting.host(App(ByName({name: (Filled(spoken, frozenset({"n"})), name)}), settings), ready)


def inner() -> int:
    """Answer prompts from stdin with the wheel, each answer followed by its mark."""
    first = json.loads(sys.stdin.readline())
    model = pygemma.Gemma()
    model.load_model(first["tokenizer"], first["weights"], first["variant"])
    _say(first["mark"])
    for line in sys.stdin:
        asked = json.loads(line)
        model.completion(asked["prompt"])
        _say(asked["mark"])
    return 0


def _say(mark: str) -> None:
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)  # the wheel's greeting waits in the C library's buffer
    os.write(sys.stdout.fileno(), _MARK + mark.encode() + _MARK)


if __name__ == "__main__":
    raise SystemExit(inner() if sys.argv[1:] == ["inner"] else child.run(serve))
