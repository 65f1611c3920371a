"""The adapters in some places, by name: adapter folders themselves, or folders of adapter folders.

Knows nothing about what is in an adapter. A run's last checkpoint, `NAME/final`, has its run's name.
"""

from collections.abc import Sequence
from pathlib import Path

_CONFIG = "adapter_config.json"  # PEFT's


def adapter_folders(places: Sequence[Path]) -> dict[str, Path]:
    """Return the folders of all adapters there now, by name; of equal names the first counts."""
    found: dict[str, Path] = {}
    for place in places:
        for folder in [place] if (place / _CONFIG).is_file() else _children(place):
            whole = folder.resolve()
            name = whole.parent.name if whole.name == "final" else whole.name
            found.setdefault(name, folder)
    return found


def _children(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(p.parent for p in place.glob(f"*/{_CONFIG}"))
