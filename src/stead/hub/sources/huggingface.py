"""Models from a Hugging Face hub, through `huggingface_hub`: its cache, its resumable transfer.

Knows nothing about the protocol. The files stay in that library's cache; ours checks their hashes
against the hub's listing on arrival. What the environment says of the hub is `hub/door.py`'s.
"""

import fnmatch
import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stead.core import room
from stead.core.errors import (
    BackendError,
    ModelError,
    NotFound,
    ResourceError,
)
from stead.core.events import Emit
from stead.core.lazy import lazy
from stead.core.paths import Home, inside
from stead.hub import fingerprint, untrusted
from stead.hub.bars import bars
from stead.hub.door import Door
from stead.hub.git_hash import git_sha1
from stead.hub.hub_cache import cache_folder
from stead.hub.refs import Ref
from stead.hub.source import Fetched, Found, Listing, RemoteFile, Source

hub = lazy("huggingface_hub", extra="all")

_PATTERNS = ("README.md", "*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
_NOT_WANTED = ("consolidated*", "training_args*", "trainer_state*", "*.onnx.json")
_MAIN = "main"


class HuggingFace(Source):
    """A hub that speaks Hugging Face's protocol.

    `patterns` adds file names to fetch, for instance `*Q4_K_M.gguf`. `environment` is asked instead
    of the process's own, so a test passes a loopback hub without patching.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        offline: bool = False,
        patterns: tuple[str, ...] = (),
    ) -> None:
        env = dict(os.environ) if environment is None else dict(environment)
        self._door = Door.of(env, offline=offline)
        self.cache = cache_folder(env)
        self._patterns = patterns

    def search(self, query: str, *, limit: int = 20) -> list[Found]:
        """Ask the hub's search, most downloaded first."""
        self._door.online(query)
        with self._door.translated(query, _MAIN):
            found = self._door.api().list_models(search=query, limit=limit, sort="downloads")
            return [
                Found(
                    m.id,
                    m.downloads if m.downloads is not None else 0,
                    m.likes if m.likes is not None else 0,
                    str(m.last_modified)[:10] if m.last_modified is not None else "",
                    tuple(m.tags if m.tags is not None else ()),
                )
                for m in found
            ]

    def listing(self, ref: Ref) -> Listing:
        """Resolve the revision to a commit and choose the files that a loader needs."""
        if self._door.offline:
            return self._cached(ref)
        revision = _revision(ref)
        with self._door.translated(ref.name, revision):
            commit = str(self._door.api().repo_info(ref.name, revision=revision).sha)
            tree = list(self._door.api().list_repo_tree(ref.name, recursive=True, revision=commit))
        offered = [_remote(entry) for entry in tree if hasattr(entry, "blob_id")]
        return self._chosen(ref, commit, offered)

    def open(self, ref: Ref, name: str, *, limit_bytes: int = 16 << 20) -> bytes:
        """Return one file of the repository, through the cache."""
        with self._door.translated(ref.name, _revision(ref), name):
            path = hub.hf_hub_download(
                ref.name,
                name,
                revision=_revision(ref),
                cache_dir=self.cache,
                endpoint=self._door.endpoint,
                token=self._door.token,
                local_files_only=self._door.offline,
            )
        size = Path(path).stat().st_size
        if size > limit_bytes:
            raise ResourceError("too-large", f"{name!r} has {size} bytes, over {limit_bytes}")
        return Path(path).read_bytes()

    def fetch(self, ref: Ref, listing: Listing, home: Home, emit: Emit) -> Fetched:
        """Bring the files into the library's cache and check them against the hub's hashes."""
        folder = self._snapshot(ref.name, listing.revision)
        missing = [f for f in listing.files if not (folder / f.name).exists()]
        if missing and not self._door.offline:
            size = sum(f.size_bytes for f in missing)
            room.require(self.cache, size, what=ref.text)
            self._download(ref, listing, emit)
        paths = {f.name: inside_snapshot(folder, f.name) for f in listing.files}
        for file in listing.files:
            _check(folder / file.name, file, home, emit)
        return Fetched(paths, "hub-cache", new=bool(missing))

    def forget(self, name: str, revision: str) -> int:
        """Delete the revision from the library's cache; return the freed bytes."""
        if not self._snapshot(name, revision).exists():
            return 0
        plan = hub.scan_cache_dir(self.cache).delete_revisions(revision)
        freed = int(plan.expected_freed_size)
        plan.execute()
        return freed

    def _download(self, ref: Ref, listing: Listing, emit: Emit) -> None:
        total = sum(f.size_bytes for f in listing.files)
        with self._door.translated(ref.name, _revision(ref)):
            folder = hub.snapshot_download(
                ref.name,
                revision=_revision(ref),
                cache_dir=self.cache,
                endpoint=self._door.endpoint,
                token=self._door.token,
                allow_patterns=[glob.escape(f.name) for f in listing.files],
                max_workers=4,
                tqdm_class=bars(emit, total, ref.text),
            )
        if Path(folder).name != listing.revision:
            raise BackendError(
                "moved",
                f"{ref.text!r} moved to {Path(folder).name} while it was fetched; try again",
            )

    def _snapshot(self, name: str, revision: str) -> Path:
        repository = "models--" + name.replace("/", "--")  # the cache's documented layout
        return self.cache / repository / "snapshots" / revision

    def _chosen(self, ref: Ref, commit: str, offered: list[RemoteFile]) -> Listing:
        """Keep what loaders need. Raises: UnsafeError("pickle-refused"); NotFound("no-weights")."""
        patterns = (*_PATTERNS, *self._patterns)
        wanted = [f for f in offered if _matches(f.name, patterns)]
        weights = [f for f in wanted if f.name.endswith((".safetensors", ".gguf"))]
        skipped = tuple(f.name for f in offered if f not in wanted)
        if weights:
            return Listing(commit, tuple(wanted), skipped)
        pickles = [n for n in skipped if n.endswith(untrusted.PICKLE_SUFFIXES)]
        if pickles:
            raise untrusted.refuse_pickle(Path(pickles[0]))
        gguf = [n for n in skipped if n.endswith(".gguf")]
        raise NotFound(
            "no-weights",
            f"{ref.text!r} has no safetensors files" + (f", but {len(gguf)} GGUF" if gguf else ""),
            hint=f"stead model add {ref.text} --file '{gguf[0]}'" if gguf else None,
        )

    def _cached(self, ref: Ref) -> Listing:
        """List what the cache holds of the revision. Raises: NotFound("offline-missing")."""
        revision = _revision(ref)
        repository = self._snapshot(ref.name, "x").parent.parent
        pointer = repository / "refs" / revision
        commit = pointer.read_text().strip() if pointer.is_file() else revision
        folder = self._snapshot(ref.name, commit)
        names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        offered = [
            RemoteFile(n, (folder / n).stat().st_size) for n in names if (folder / n).is_file()
        ]
        missing = _missing(folder)
        if missing:
            raise NotFound(
                "offline-missing",
                f"{missing!r} of {ref.text!r} is not on this machine, and offline is set",
                hint=f"HF_HUB_OFFLINE=0 stead model add {ref.text}",
                file=missing,
            )
        return self._chosen(ref, commit, offered)


def inside_snapshot(folder: Path, name: str) -> Path:
    """Return where the cache really keeps a file: its blob, through the snapshot's link."""
    return (folder / name).resolve(strict=True)


def _revision(ref: Ref) -> str:
    return _MAIN if ref.revision is None else ref.revision


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a file at the top of the repository is wanted; loaders look nowhere else."""
    plain = "/" not in name and not name.startswith(".")
    wanted = any(fnmatch.fnmatch(name, p) for p in patterns)
    return plain and wanted and not any(fnmatch.fnmatch(name, p) for p in _NOT_WANTED)


def _remote(entry: Any) -> RemoteFile:  # Any: huggingface_hub.RepoFile
    """Return a file of the hub's listing; its name may not lead out of the folder."""
    inside(Path("repository"), entry.path)
    sha256 = entry.lfs.sha256 if entry.lfs is not None else None
    size = entry.lfs.size if entry.lfs is not None else entry.size
    return RemoteFile(entry.path, int(size), sha256, None if sha256 else entry.blob_id)


def _missing(folder: Path) -> str | None:
    """Name a file that a complete snapshot would have, or None."""
    if any(folder.glob("*.gguf")):
        return None
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        return "config.json"
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return None if any(folder.glob("*.safetensors")) else "model.safetensors"
    named = untrusted.read_json(index).get("weight_map")
    shards = sorted({str(s) for s in named.values()}) if isinstance(named, dict) else []
    return next((s for s in shards if "/" in s or not (folder / s).is_file()), None)


def _check(path: Path, file: RemoteFile, home: Home, emit: Emit) -> None:
    """Compare a file with the hub's hash of it; a wrong one is removed from the cache.

    Raises: ModelError("hash-mismatch") with both hashes.
    """
    real = path.resolve(strict=True)
    if file.sha256 is not None:
        got, wanted = fingerprint.of(real, home, emit), file.sha256
    elif file.git_sha1 is not None:
        got, wanted = git_sha1(real), file.git_sha1
    else:
        return
    if got != wanted:
        path.unlink(missing_ok=True)
        real.unlink(missing_ok=True)
        raise ModelError(
            "hash-mismatch",
            f"{file.name!r} has the hash {got}, the hub says {wanted}; it is removed",
        )
