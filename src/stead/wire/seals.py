"""Sealed reasoning across protocols: what a vendor signed comes back to it through foreign clients.

Knows nothing about one protocol. Clients hand a seal back unread, so one of another vendor travels
in the place of their own, marked with who issued it.
"""

import base64
import binascii

import msgspec

from stead.messages import Deviation, GenerateRequest, Message, Thought
from stead.wire.given import DROPPED

_MARK = "stead.seal."
_THOUGHT = msgspec.json.Decoder(Thought)


def write(thought: Thought, issuer: str, id_: str | None = None) -> str:
    """Return the seal for a client of `issuer`'s protocol; a foreign one is wrapped.

    One whose id cannot be said to the client (it knows it as `id_`) is wrapped too.
    """
    if thought.issuer == issuer and thought.id in (None, id_):
        return thought.seal
    bare = Thought(thought.issuer, thought.seal, id=thought.id, withheld=thought.withheld)
    return _MARK + base64.urlsafe_b64encode(msgspec.json.encode(bare)).decode()


def read(
    seal: str, issuer: str, text: str = "", *, id_: str | None = None, withheld: bool = False
) -> Thought:
    """Return the thought behind a seal, wrapped or not."""
    if seal.startswith(_MARK):
        try:
            inner = _THOUGHT.decode(base64.urlsafe_b64decode(seal[len(_MARK) :]))
        except (binascii.Error, msgspec.MsgspecError, ValueError):
            return Thought(issuer, seal, text, id_, withheld)
        return Thought(inner.issuer, inner.seal, text, inner.id, inner.withheld)
    return Thought(issuer, seal, text, id_, withheld)


def own(message: Message, issuer: str) -> tuple[Thought, ...]:
    """Return the thoughts that `issuer` sealed itself."""
    return tuple(t for t in message.thoughts if t.issuer == issuer)


def unsealed(request: GenerateRequest) -> bool:
    """Say whether a message has reasoning that no vendor has sealed."""
    return any(
        m.reasoning is not None and m.reasoning != "".join(t.text for t in m.thoughts)
        for m in request.messages or ()
    )


def dropped(request: GenerateRequest, issuer: str | None) -> tuple[Deviation, ...]:
    """Return what a vendor that takes only its own seals (None: no seals) is not told.

    Reasoning without a seal is no thought; a dialect says itself whether it carries that.
    """
    lost = {t.issuer for m in request.messages or () for t in m.thoughts if t.issuer != issuer}
    return tuple(
        Deviation(DROPPED, f"messages.thoughts sealed by {name} cannot be sent elsewhere")
        for name in sorted(lost)
    )
