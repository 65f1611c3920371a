"""Models that are on this machine already: a folder or a GGUF file, linked and never moved.

Knows nothing about their contents beyond the file names.
"""

from pathlib import Path

from stead.core import files
from stead.core.errors import NotFound, ResourceError
from stead.core.events import Emit
from stead.core.paths import Home, inside
from stead.hub import fingerprint, untrusted
from stead.hub.refs import Ref
from stead.hub.source import Fetched, Listing, RemoteFile, Source

_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja", ".gguf", ".sbs", ".tiktoken")


class Local(Source):
    """The file system. The revision is the hash of the content."""

    def __init__(self, home: Home | None = None) -> None:
        self._home = Home.find() if home is None else home

    def listing(self, ref: Ref) -> Listing:
        """Hash every file a loader could need; pickles and unknown files are left out."""
        path = Path(ref.name)
        if not path.exists():
            raise NotFound("no-file", f"there is no file or folder {ref.name!r}")
        folder = path if path.is_dir() else path.parent
        names = sorted(p.name for p in path.iterdir()) if path.is_dir() else [path.name]
        taken = [n for n in names if n.endswith(_SUFFIXES) and (folder / n).is_file()]
        found = tuple(
            RemoteFile(n, (folder / n).stat().st_size, fingerprint.of(folder / n, self._home))
            for n in taken
        )
        revision = files.hash_value({f.name: f.sha256 for f in found})
        skipped = [n for n in names if n not in taken and not n.startswith(".")]
        return Listing(revision, found, tuple(skipped))

    def open(self, ref: Ref, name: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """Return one file's bytes."""
        with untrusted.opened(inside(Path(ref.name), name)) as (file, size):
            if size > limit_bytes:
                raise ResourceError("too-large", f"{name!r} has {size} bytes, over {limit_bytes}")
            return file.read(limit_bytes)

    def fetch(self, ref: Ref, listing: Listing, home: Home, emit: Emit) -> Fetched:
        """Return the files where they are."""
        path = Path(ref.name)
        folder = path if path.is_dir() else path.parent
        paths = {f.name: folder / f.name for f in listing.files}
        return Fetched(paths, "link", new=False, folder=path)
