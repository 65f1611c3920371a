"""GGUF files by plain URL, fetched resumable into the content store.

Knows nothing about the file's contents. `#sha256=…` at the end of the URL states the expected hash.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from stead.core.download import Rules, download
from stead.core.errors import UsageError
from stead.core.events import Emit
from stead.core.paths import Home, safe_name
from stead.hub.refs import Ref
from stead.hub.source import Fetched, Listing, RemoteFile, Source


class Url(Source):
    """One file on a web server. `rules` says what the download may do."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = Rules() if rules is None else rules

    def listing(self, ref: Ref) -> Listing:
        """Return the one file the URL names. Raises: UsageError("not-gguf"); UnsafeError."""
        url, fragment = urldefrag(ref.name)
        name = safe_name(urlsplit(url).path.rsplit("/", maxsplit=1)[-1])
        if not name.endswith(".gguf"):
            raise UsageError("not-gguf", f"only .gguf files are fetched by URL, not {name!r}")
        expected = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
        if fragment and expected is None:
            raise UsageError("bad-ref", f"{fragment[:80]!r} is not sha256= and 64 hex digits")
        sha256 = expected.group(1) if expected is not None else None
        revision = hashlib.sha256(url.encode()).hexdigest() if sha256 is None else sha256
        return Listing(revision, (RemoteFile(name, 0, sha256),))

    def open(self, ref: Ref, name: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """Refuse: a GGUF file is no small file. Raises: UsageError."""
        raise UsageError("not-listed", f"{ref.name!r} is one file; fetch it whole")

    def fetch(self, ref: Ref, listing: Listing, home: Home, emit: Emit) -> Fetched:
        """Download the file; what arrived stays for the next try."""
        url, _ = urldefrag(ref.name)
        file = listing.files[0]
        target = self._staged(home, url) / file.name
        rules = replace(self._rules, expected=file.sha256)
        if not target.exists():
            download(url, target, rules, emit)
        return Fetched({file.name: target}, "blobs", new=True)

    def _staged(self, home: Home, url: str) -> Path:
        return home.cache / "models" / hashlib.sha256(url.encode()).hexdigest()[:32]
