"""Ids for tool calls of protocols that have none: the same call always gets the same one.

Knows nothing about protocols.
"""

import hashlib


def stable_id(*parts: str | int) -> str:
    """Return an id made of what a call is: its answer, its place, its name, its arguments."""
    text = "\0".join(str(p) for p in parts).encode("utf-8", "surrogatepass")
    return "call_" + hashlib.blake2s(text, digest_size=12).hexdigest()
