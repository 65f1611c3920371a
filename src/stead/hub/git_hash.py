"""Git's name of a file, which hubs list for files that are no large ones.

Knows nothing about repositories.
"""

import hashlib
from pathlib import Path


def git_sha1(path: Path) -> str:
    """Return SHA-1 over `blob <size>\\0` and the content (git-hash-object), as hex digits."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
