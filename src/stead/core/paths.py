"""Where things lie on disk, and the only way to turn a name from outside into a path.

Knows nothing about what the files hold. Layout: docs/concepts/data-directory.md.
"""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from stead.core.errors import ResourceError, UnsafeError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10)}


def safe_name(name: str) -> str:
    """Return `name` if it is fit to be one path component, else refuse.

    Raises: UnsafeError("invalid-name"): separators, dots first or last, reserved Windows names,
    control characters, over 96 characters, not NFC.
    """
    bad = (
        not _NAME.fullmatch(name)  # `$` would let a newline through
        or name.endswith(".")
        or name.split(".", maxsplit=1)[0].lower() in _RESERVED
        or unicodedata.normalize("NFC", name) != name
    )
    if bad:
        raise UnsafeError(
            "invalid-name",
            f"{name[:100]!r} is no valid name (letters, digits, '.', '_', '-'; at most 96)",
        )
    return name


def inside(root: Path, relative: str) -> Path:
    """Join a relative path from outside to `root`, refusing every way out of it.

    Raises: UnsafeError("outside"): absolute, `..`, backslash, NUL, or a symlink on the way.
    """
    parts = relative.split("/")
    if not relative or "\0" in relative or "\\" in relative or ".." in parts or "" in parts:
        raise UnsafeError("outside", f"{relative[:200]!r} is not a plain relative path")
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise UnsafeError("outside", f"{str(path)!r} is a symbolic link")
    return path


@dataclass(frozen=True, slots=True)
class Home:
    """The data directory; each property is one place in it. Nothing is created by asking."""

    root: Path

    @classmethod
    def find(cls, environment: dict[str, str] | None = None) -> "Home":
        """Return the home named by STEAD_HOME, else ~/.stead."""
        env = dict(os.environ) if environment is None else environment
        given = env.get("STEAD_HOME", "")
        return cls(Path(given).expanduser() if given else Path.home() / ".stead")

    def ensure(self) -> "Home":
        """Create the root, readable by its owner only, and return self.

        Raises: ResourceError("not-writable") when this user may not write there.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            writable = os.access(self.root, os.W_OK | os.X_OK)
        except PermissionError:
            writable = False
        if not writable:
            raise ResourceError(
                "not-writable", f"the data directory {str(self.root)!r} may not be written by this user",
                hint="export STEAD_HOME=~/stead-data",
            )  # fmt: skip
        return self

    def hide(self, text: str) -> str:
        """Return a text for others to read: where on this machine the data directory lies is left out."""
        return text.replace(f"{self.root}/", "").replace(str(self.root), "the data directory")

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.root / "config.yaml"

    @property
    def database(self) -> Path:
        """The store, where no other database is named."""
        return self.root / "stead.db"

    @property
    def blobs(self) -> Path:
        """Content store: one read-only copy of each file, by hash."""
        return self.root / "models" / "blobs" / "sha256"

    @property
    def refs(self) -> Path:
        """Acquired models: `<source>/<name>@<rev>/manifest.json`."""
        return self.root / "models" / "refs"

    @property
    def versions(self) -> Path:
        """Registered model versions: `<name>/<n>/manifest.json`."""
        return self.root / "models" / "versions"

    @property
    def datasets(self) -> Path:
        """Prepared data sets: `<name>/<hash>/`."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def reports(self) -> Path:
        """Evaluations of endpoints."""
        return self.root / "reports"

    @property
    def cache(self) -> Path:
        """Safe to delete."""
        return self.root / "cache"

    @property
    def scans(self) -> Path:
        """Notes of `data/scan`: which rows of a source are usable and held out."""
        return self.cache / "system" / "scans"

    @property
    def logs(self) -> Path:
        """Log files by kind."""
        return self.root / "logs"

    @property
    def plugins(self) -> Path:
        """`<kind>/<name>.py`, used only once enabled."""
        return self.root / "plugins"

    @property
    def state(self) -> Path:
        """The running server's address and token."""
        return self.root / "state"
