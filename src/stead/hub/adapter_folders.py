"""The adapters in some places, by name: adapter folders themselves, or folders of adapter folders.

Knows nothing about what is in an adapter. A run's last checkpoint, `NAME/final`, has its run's name.
"""

from collections.abc import Sequence
from pathlib import Path

from stead.hub.info import ModelInfo

_CONFIG = "adapter_config.json"  # PEFT's
_PRODUCTS = (".lora_A.weight", ".lora_B.weight")


def adapter_folders(places: Sequence[Path]) -> dict[str, Path]:
    """Return the folders of all adapters there now, by name; of equal names the first counts."""
    found: dict[str, Path] = {}
    for place in places:
        for folder in [place] if (place / _CONFIG).is_file() else _children(place):
            whole = folder.resolve()
            name = whole.parent.name if whole.name == "final" else whole.name
            found.setdefault(name, folder)
    return found


def place_of(folder: Path) -> Path:
    """Return the place in which an adapter's folder is found, and those that come beside it later."""
    return folder.parent.parent if folder.name == "final" else folder.parent


def adapter_name(folder: Path, places: Sequence[Path]) -> str | None:
    """Return the name that a folder has among the places' adapters, or None."""
    whole = folder.resolve()
    named = adapter_folders(places).items()
    return next((name for name, found in named if found.resolve() == whole), None)


def is_switchable(adapter: ModelInfo) -> bool:
    """Say whether an adapter is products of two matrices alone, which can be added per request."""
    config, init = adapter.config, adapter.config.get("init_lora_weights")
    plain = config.get("peft_type") == "LORA" and config.get("use_dora") in (None, False)
    drawn = not (isinstance(init, str) and init.startswith("pissa"))
    return plain and drawn and all(name.endswith(_PRODUCTS) for name in adapter.tensors)


def _children(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    found = (place.glob(f"{inner}{_CONFIG}") for inner in ("*/", "*/final/"))
    return sorted(p.parent for paths in found for p in paths)
