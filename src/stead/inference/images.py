"""Image parts given by URL, fetched for protocols that want bytes: guarded, bounded, images only.

Knows nothing about protocols. A URL comes from whoever asked, so it goes through the address guard
and the connection to the checked address; what arrives must begin as an image does.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

from msgspec.structs import replace

from stead.core import address
from stead.core.errors import BackendError, SteadError, UnsafeError
from stead.core.http import Http, Waits
from stead.inference.backend import left
from stead.messages import GenerateRequest, ImagePart, Message, Part
from stead.wire.media import data_url, media_type

_WAIT_S = 15.0  # for one image, redirects and all
_WAITS = Waits(connect_s=5.0, first_s=10.0, between_s=5.0)
_REDIRECTS = 3
_MOVED = (301, 302, 303, 307, 308)
_SCHEMES = ("http://", "https://")
Takes = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Images:
    """Fetches images. `allow_private` lets loopback and private addresses through."""

    limit_bytes: int = 20 * 2**20  # what the large vendors take
    allow_private: bool = False

    async def inline(
        self, request: GenerateRequest, takes_url: Takes, http: Http, deadline: float | None
    ) -> GenerateRequest:
        """Return the request with `data:` URLs in place of those the protocol does not take.

        Raises: BackendError("bad-image") with status 400, naming the URL.
        """
        wanted = [u for u in _urls(request) if u.startswith(_SCHEMES) and not takes_url(u)]
        if not wanted:
            return request
        wait_s = left(deadline, _WAIT_S)
        found = await asyncio.gather(*(self._fetch(http, u, wait_s) for u in wanted))
        data = dict(zip(wanted, found, strict=True))
        messages = tuple(_with(m, data) for m in request.messages or ())
        return replace(request, messages=messages)

    async def _fetch(self, http: Http, url: str, wait_s: float) -> str:
        try:
            async with asyncio.timeout(wait_s):
                body = await self._load(http, url, time.monotonic() + wait_s)
        except TimeoutError as error:
            raise _bad(url, f"nothing whole within {wait_s:.0f} s") from error
        except SteadError as error:
            raise _bad(url, error.message) from error
        kind = media_type(body)
        if kind is None:
            raise _bad(url, "it is no PNG, JPEG, GIF or WebP image")
        return data_url(kind, base64.b64encode(body).decode())

    async def _load(self, http: Http, url: str, deadline: float) -> bytes:
        """Return the bytes behind a URL; each redirect is checked like the first address."""
        here = url
        for _ in range(_REDIRECTS + 1):
            target = await asyncio.to_thread(address.check, here, allow_private=self.allow_private)
            answer = await http.open(
                "GET", here, waits=_WAITS, deadline=deadline, address=target.address
            )
            async with answer:
                if answer.status == 200:
                    return await answer.read(self.limit_bytes)
                if answer.status not in _MOVED:
                    raise BackendError("bad-image", f"{here!r} answers {answer.status}")
                here = urljoin(here, answer.headers.get("Location", ""))
        raise UnsafeError("too-many-redirects", f"it redirects more than {_REDIRECTS} times")


def _urls(request: GenerateRequest) -> list[str]:
    """Return each image's URL once, in order."""
    if request.messages is None:
        return []
    parts = [p for m in request.messages if isinstance(m.content, tuple) for p in m.content]
    return list(dict.fromkeys(p.url for p in parts if isinstance(p, ImagePart)))


def _with(message: Message, data: dict[str, str]) -> Message:
    if not isinstance(message.content, tuple):
        return message
    return replace(message, content=tuple(_part(p, data) for p in message.content))


def _part(part: Part, data: dict[str, str]) -> Part:
    if isinstance(part, ImagePart) and part.url in data:
        return replace(part, url=data[part.url])
    return part


def _bad(url: str, why: str) -> BackendError:
    return BackendError(
        "bad-image", f"the image {url[:200]!r} cannot be used: {why}", status=400, param="messages"
    )
