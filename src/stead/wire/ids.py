"""Ids of tool calls: made where a protocol has none, and signed where a thought belongs to a call.

Knows nothing about protocols. A client gives an id back with the call and with its answer, whatever
protocol it speaks, so an id is what can carry a vendor's signature there and back. Other vendors are
not told signatures: some refuse long ids.
"""

import hashlib
from typing import Final

from msgspec.structs import replace

from stead.messages import GenerateRequest, Message

_SIGNED: Final = "~thought~"  # between an id and its signature; base64 has no such character


def stable_id(*parts: str | int) -> str:
    """Return an id made of what a call is: its answer, its place, its name, its arguments."""
    text = "\0".join(str(p) for p in parts).encode("utf-8", "surrogatepass")
    return "call_" + hashlib.blake2s(text, digest_size=12).hexdigest()


def signed(id_: str, signature: str) -> str:
    """Return an id with a signature at its end."""
    return id_ + _SIGNED + signature if signature else id_


def split(id_: str) -> tuple[str, str]:
    """Return an id without its signature, and the signature ("" for none)."""
    bare, _, signature = id_.partition(_SIGNED)
    return bare, signature


def without_signatures(request: GenerateRequest) -> GenerateRequest:
    """Return the request with bare ids: the same object when there is nothing to take off."""
    messages = request.messages
    if messages is None or not any(_SIGNED in c.id for m in messages for c in m.tool_calls):
        return request
    return replace(request, messages=tuple(_bare(m) for m in messages))


def _bare(message: Message) -> Message:
    calls = tuple(replace(c, id=split(c.id)[0]) for c in message.tool_calls)
    answered = message.tool_call_id
    return replace(
        message, tool_calls=calls, tool_call_id=None if answered is None else split(answered)[0]
    )
