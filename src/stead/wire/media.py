"""Images inside messages: what kind some bytes are, and `data:` URLs apart and together.

Knows nothing about protocols. Source: RFC 2397 (data URLs); the file signatures are those of
PNG (ISO/IEC 15948, 5.2), JPEG (ITU-T T.81, B.1.1.3), GIF89a (section 17) and WebP (RFC 9649, 2.4).
"""

import base64
import binascii

_HEADS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))
_GIFS = (b"GIF87a", b"GIF89a")


def media_type(data: bytes) -> str | None:
    """Return the media type of an image by its first bytes; None when it is none that is known."""
    for head, kind in _HEADS:
        if data.startswith(head):
            return kind
    if data.startswith(_GIFS):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def media_type_of_base64(text: str) -> str | None:
    """Return the media type of an image in base64; None when it is neither."""
    try:
        return media_type(base64.b64decode(text[:24], validate=True))
    except (binascii.Error, ValueError):
        return None


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return media type and base64 text of a `data:` URL; None when it is another kind of URL."""
    head, comma, text = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head[len("data:") : -len(";base64")], text


def data_url(kind: str, text: str) -> str:
    """Return the `data:` URL of base64 text."""
    return f"data:{kind};base64,{text}"
