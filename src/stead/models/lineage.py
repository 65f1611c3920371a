"""Which base an adapter was trained on, as recorded beside it, against the base it is put on.

Knows nothing about weights. PEFT records a path only, which says nothing about the content; training
here records the content's hash, too.
"""

from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import ModelError

RECORD = "stead.json"


def recorded(adapter: Path) -> dict[str, Any]:  # Any: JSON values
    """Return what training recorded beside an adapter; {} when it recorded nothing."""
    path = adapter / RECORD
    return dict(files.read_json(path)) if path.is_file() else {}


def recorded_hash(adapter: Path, config: dict[str, Any]) -> str | None:  # Any: JSON values
    """Return the base's hash that training recorded beside the adapter, if it did."""
    found = recorded(adapter).get("base_hash", config.get("base_hash"))
    return str(found) if found else None  # "" is how training says that it did not know


def check_base(base: Path, adapter: Path, config: dict[str, Any]) -> None:  # Any: JSON values
    """Refuse a base whose content is not the recorded one; nothing recorded is no reason.

    Raises: ModelError("wrong-base") with both names and hashes.
    """
    from stead.hub.inspect import inspect

    want = recorded_hash(adapter, config)
    if want is None:
        return
    have = inspect(base, tokenizer=False).hash
    if have == want:
        return
    name = recorded(adapter).get("base", config.get("base_model_name_or_path"))
    raise ModelError(
        "wrong-base",
        f"the adapter {str(adapter)!r} was trained on {name!r} with hash {want[:12]}…, "
        f"{str(base)!r} has {have[:12]}…",
        hint=f"stead model show {str(name)!r}",
        recorded=want,
        found=have,
    )


def check_plain(base: Path, config: dict[str, Any], because: str) -> None:  # Any: JSON values
    """Refuse a base whose weights are stored rounded. Raises: ModelError("base-quantized")."""
    method = config.get("quantization_config")
    if method:
        name = method.get("quant_method", "?") if isinstance(method, dict) else method
        bits = [k for k in ("load_in_4bit", "load_in_8bit") if isinstance(method, dict) and method.get(k)]  # fmt: skip
        how = ", ".join([repr(name), *bits])
        raise ModelError("base-quantized", f"{str(base)!r} is quantized already ({how}); {because}")
