"""A Backend that says what its engine cannot obey: each such parameter that is asked for is a deviation.

Knows nothing about particular engines; each engine names its own.
"""

from collections.abc import AsyncIterator

from stead.inference.backend import Backend
from stead.inference.strict import note, refusal, with_reply, with_stream
from stead.inference.wrapper import Wrapper
from stead.messages import Chunk, Deviation, GenerateRequest, Reply, Sampling

_UNSET = Sampling()
_ITS_OWN_WAY = ("parallel_tool_calls", True)


class Lacking(Wrapper):
    """`inner`, whose engine ignores the fields `drops` of `Sampling`, `ignores` of `extra`.

    Strict requests are refused.
    """

    def __init__(
        self,
        inner: Backend,
        drops: frozenset[str],
        *,
        ignores: frozenset[str] = frozenset(),
        estimated: bool = False,
    ) -> None:
        super().__init__(inner)
        self._drops = drops
        self._ignores = ignores
        self._estimated = estimated

    async def generate(self, request: GenerateRequest, deadline: float | None = None) -> Reply:
        """Answer a request whole. Raises: BackendError("deviation") when strict."""
        found = self._declared(request)
        return with_reply(await self.inner.generate(request, deadline), found)

    def stream(
        self, request: GenerateRequest, deadline: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Answer piece by piece; the first piece carries the deviations."""
        found = self._declared(request)
        chunks = self.inner.stream(request, deadline)
        return with_stream(chunks, found) if found else chunks

    def _declared(self, request: GenerateRequest) -> tuple[Deviation, ...]:
        asked = [n for n in sorted(self._drops) if _is_asked(request.sampling, n)]
        if request.extra:
            asked += sorted(n for n in self._ignores & request.extra.keys() if _is_told(request, n))
        found = tuple(
            Deviation("param_dropped", f"{n}: the engine decides it itself") for n in asked
        )
        if found and request.strict:
            raise refusal(found, asked[0])
        if self._estimated:
            found += (Deviation("usage_estimated", "the engine does not count tokens"),)
        note(request, found)
        return found


def _is_told(request: GenerateRequest, name: str) -> bool:
    """Say whether a further field asks for anything: several calls at once are the engines' own way."""
    return request.extra[name] is not None and (name, request.extra[name]) != _ITS_OWN_WAY


def _is_asked(sampling: Sampling, name: str) -> bool:
    return bool(getattr(sampling, name) != getattr(_UNSET, name))
