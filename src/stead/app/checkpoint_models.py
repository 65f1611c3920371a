"""A run's saved state as a model that can be asked: the state's tensors under the names of the run's final adapter.

Knows nothing about training. Only adapters whose final file holds what the state holds, tensor by tensor, become
models; any other state is for going on from, and is not offered.
"""

import json
import re
import shutil
import struct
from pathlib import Path

from stead.core import files, manifest
from stead.core.errors import ModelError, SteadError
from stead.hub import safetensors_header

MARK = ":ckpt-step-"
"""Between a model's name and the step, as OpenAI's API names its checkpoints."""
_CONFIG, _WEIGHTS, _STATE = "adapter_config.json", "adapter_model.safetensors", "model.safetensors"
_WRAPPED = "base_model.model."  # PEFT wraps the model twice; its keys keep both names
_STEP = re.compile(r"[1-9]\d{0,9}")
_KIND = "checkpoint-model"


def split(name: str) -> tuple[str, int] | None:
    """Return the model and the step that a name means; None for a name of another kind."""
    model, mark, step = name.rpartition(MARK)
    return (model, int(step)) if mark and _STEP.fullmatch(step) else None


def is_askable(run: Path, step: int) -> bool:
    """Say whether the state of a step can become a model."""
    try:
        return bool(_names(run, step))
    except (SteadError, OSError):
        return False


def model_of(run: Path, step: int) -> Path:
    """Return the adapter's folder for a step, made when it is first asked for.

    Raises: ModelError("no-checkpoint-model") when the state is gone, or is no adapter's.
    """
    target = run / "answering" / f"step-{step:08d}"
    if target.is_dir():
        return target
    try:
        names = _names(run, step)
    except (SteadError, OSError) as error:
        raise _missing(run, step) from error
    if not names:
        raise _missing(run, step)

    def fill(folder: Path) -> None:
        shutil.copyfile(run / "final" / _CONFIG, folder / _CONFIG)
        _renamed(_state(run, step), folder / _WEIGHTS, names)

    try:
        manifest.commit(target, _KIND, fill, {"step": step})
    except (SteadError, OSError):
        if not target.is_dir():  # another request has made it meanwhile
            raise
    return target


def _state(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}" / _STATE


def _missing(run: Path, step: int) -> ModelError:
    return ModelError("no-checkpoint-model", f"{run.name!r} has no model of step {step}")


def _names(run: Path, step: int) -> dict[str, str]:
    """Return the final adapter's name of each of the state's tensors; empty when they do not pair."""
    final = safetensors_header.read(run / "final" / _WEIGHTS).tensors
    state = safetensors_header.read(_state(run, step)).tensors
    plain = {_plain(name): name for name in final}
    if (run / "final" / _CONFIG).is_file() and plain.keys() == state.keys() and all(
        (final[plain[n]].dtype, final[plain[n]].shape) == (one.dtype, one.shape) for n, one in state.items()
    ):  # fmt: skip
        return {name: plain[name] for name in state}
    return {}


def _plain(name: str) -> str:
    return name.removeprefix(_WRAPPED).removesuffix(".weight")


def _renamed(source: Path, target: Path, names: dict[str, str]) -> None:
    """Copy a safetensors file with other names; its numbers stay byte for byte."""
    with open(source, "rb") as file, files.replacing(target) as out:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))
        told = {names[name]: entry for name, entry in head.items() if name in names}
        data = json.dumps({"__metadata__": {"format": "pt"}} | told, separators=(",", ":")).encode()
        data += b" " * (-len(data) % 8)  # numbers begin at a multiple of 8, as the format asks
        out.write(struct.pack("<Q", len(data)) + data)
        shutil.copyfileobj(file, out, 1 << 20)
