"""A hook that signs every answer: the smallest plugin that does something.

Knows nothing about models. Install it, or copy this file to `plugins/hook/signed.py` in the data
directory; then `stead plugin enable hook/signed --set text="-- yours"`.
"""

from msgspec.structs import replace

from stead.inference.hooks import Hook
from stead.messages import Chunk, GenerateRequest, Reply


class Signed(Hook):
    """Adds a line to the end of every answer, whole or streamed."""

    version = "0.1.0"

    async def after(self, request: GenerateRequest, reply: Reply) -> Reply:
        """Return the answer with the line."""
        choices = tuple(
            replace(c, message=replace(c.message, content=c.message.text + self._line))
            for c in reply.choices
        )
        return replace(reply, choices=choices)

    def chunk(self, request: GenerateRequest, chunk: Chunk) -> Chunk:
        """Return the piece; the last one of a choice gets the line."""
        if chunk.finish_reason is None:
            return chunk
        return replace(chunk, text=chunk.text + self._line)

    @property
    def _line(self) -> str:
        return "\n" + str(self.options.get("text", "-- signed"))
