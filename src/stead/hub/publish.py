"""Publish a model folder on a Hugging Face hub: make the repository, send, compare what arrived.

Knows nothing about how the folder was made. Nothing is deleted in the repository; a second upload is
one more commit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import BackendError, ConfigError, UnsafeError, UsageError
from stead.core.events import Emit, Note, Progress, Started, ignore
from stead.core.lazy import lazy
from stead.hub import refs, untrusted
from stead.hub.door import Door
from stead.hub.git_hash import git_sha1

hub = lazy("huggingface_hub", extra="all")

STAGE = "upload"
_BRANCH = "main"
_CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the hub's own fields say of a model; None and () are left out."""

    base_model: str | None = None
    library: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent, and what the hub says it has."""

    repository: str
    url: str
    commit: str
    files: tuple[str, ...]
    bytes: int
    private: bool


def describe(card: str, facts: Facts) -> str:
    """Return a card with the hub's metadata before it (YAML between two lines of dashes)."""
    data = hub.ModelCardData(
        base_model=facts.base_model,
        library_name=facts.library,
        license=facts.license,
        pipeline_tag="text-generation",
        tags=list(facts.tags) if facts.tags else None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{card}"


def contents(folder: Path) -> list[Path]:
    """Return what of a folder is published: its files, none hidden, none that runs when read.

    Raises: UnsafeError("pickle-refused"); ConfigError("nothing-to-upload").
    """
    found = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    for path in found:
        if path.suffix in untrusted.PICKLE_SUFFIXES:
            raise untrusted.refuse_pickle(path)
    if not any(p.suffix in (".safetensors", ".gguf") for p in found):
        raise ConfigError("nothing-to-upload", f"{str(folder)!r} has no weights to publish")
    return found


def repository_of(text: str) -> str:
    """Return `owner/name` of `hf:owner/name` or `owner/name`. Raises: ConfigError("bad-repository")."""
    name = text.removeprefix("hf:").removeprefix("huggingface:")
    try:
        ref = refs.parse(f"hf:{name}")
    except (UnsafeError, UsageError) as error:
        raise _bad(text) from error
    if ref.revision is not None:
        raise _bad(text)
    return name


def publish(
    folder: Path,
    repository: str,
    *,
    environment: Mapping[str, str],
    token: str | None = None,
    private: bool = False,
    message: str | None = None,
    offline: bool = False,
    emit: Emit = ignore,
) -> Published:
    """Send the folder as one commit, then compare each file's hash with what the hub lists.

    Raises: ConfigError("no-token"); NotFound("offline"); BackendError("hub-denied" | "hub-failed" |
    "hub-unreachable" | "upload-differs"); what `contents` raises.
    """
    door = Door.of(environment, offline=offline)
    door = door if token is None else replace(door, token=token)
    _may_write(door, folder, repository)
    sent = contents(folder)
    size = sum(p.stat().st_size for p in sent)
    emit(Started(stage=STAGE, total=size, unit="byte", info={"what": repository}))
    with door.translated(repository, _BRANCH, hint=f"stead upload {folder} {{name}}"):
        api = door.api()
        api.create_repo(repository, private=private, exist_ok=True)
        made = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[p.name for p in sent],
            commit_message=message if message is not None else f"Upload {folder.name}",
        )
        tree = list(api.list_repo_tree(repository, revision=made.oid))
    emit(Progress(stage=STAGE, done=size))
    _compare(sent, tree, repository)
    emit(Note(stage=STAGE, message=f"{len(sent)} files are at {made.oid[:12]}", code="published"))
    url = f"{door.endpoint if door.endpoint is not None else hub.constants.ENDPOINT}/{repository}"
    names = tuple(p.name for p in sent)
    return Published(repository, url, str(made.oid), names, size, private)


def _may_write(door: Door, folder: Path, repository: str) -> None:
    door.online(repository)
    if door.token is None:
        raise ConfigError(
            "no-token",
            f"publishing {repository!r} needs a token that may write, and none is set",
            hint=f"HF_TOKEN=hf_… stead upload {folder} {repository}",
        )


def _compare(sent: list[Path], tree: list[Any], repository: str) -> None:
    """Raises: BackendError("upload-differs") when the hub lists other bytes than were sent."""
    there = {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}
    for path in sent:
        entry = there.get(path.name)
        if entry is None:
            raise BackendError("upload-differs", f"{repository!r} does not list {path.name!r}")
        large = entry.lfs is not None
        wanted = files.hash_file(path) if large else git_sha1(path)
        got = entry.lfs.sha256 if large else entry.blob_id
        if got != wanted:
            raise BackendError(
                "upload-differs",
                f"{repository!r} has {path.name!r} with the hash {got}, sent was {wanted}",
            )


def card_of(folder: Path) -> str:
    """Return a folder's own card, or a heading where it has none."""
    path = folder / _CARD
    return path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.name}\n"


def _bad(text: str) -> ConfigError:
    return ConfigError(
        "bad-repository",
        f"{text[:100]!r} is no repository to publish to; it has the form owner/name",
        hint="stead upload run someone/my-model --private",
    )
