"""What is exported: a model folder, or an adapter over its base, as one stream of tensors.

Knows nothing about target formats. An adapter is merged while its tensors are read, in float32, so
no merged copy lies on disk in between.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import ModelError
from stead.data.template import ChatTemplate
from stead.data.template_files import read_object
from stead.hub.inspect import inspect, locate
from stead.models import merge
from stead.models.weights import Tensors, Weights


@dataclass(frozen=True, slots=True)
class Source:
    """A model to export: its folder, its base if it is an adapter, and identity."""

    folder: Path
    base: Path
    adapter: Path | None
    hash: str
    config: dict[str, Any]  # Any: config.json of the base

    @classmethod
    def open(cls, path: str | Path, *, base: str | Path | None = None) -> "Source":
        """Find the model, and the base of an adapter: `base` if given, else the recorded one.

        Raises: NotFound, ModelError("not-exportable" | "missing-base").
        """
        info = inspect(locate(path), tokenizer=False)
        if info.kind == "gguf":
            raise ModelError("not-exportable", f"{str(info.path)!r} is a GGUF file already")
        if info.kind == "model":
            return cls(info.path, info.path, None, info.hash, _config(info.path))
        found = info.base if base is None else locate(base)
        if found is None:
            raise _missing_base(info.path)
        return cls(info.path, found, info.path, info.hash, _config(found))

    def tensors(self) -> Tensors:
        """Return the tensors, merged when there is an adapter. Raises: ModelError of `models/merge`."""
        if self.adapter is not None:
            return merge.Merged.open(self.base, self.adapter)
        return Weights.open(self.base)

    @property
    def tokenizer(self) -> Path:
        """The folder whose tokenizer the model was trained with: the adapter's own, if it has one."""
        if self.adapter is not None and (self.adapter / "tokenizer.json").is_file():
            return self.adapter
        return self.base

    @property
    def name(self) -> str:
        """What people call the model: the run's or folder's name, never its place."""
        given = (self.facts.get("lineage") or {}).get("name")
        folder = self.folder.parent if self.folder.name == "final" else self.folder
        return str(given) if given else folder.name

    @property
    def template(self) -> str:
        """The chat template that training and evaluation render with."""
        return ChatTemplate.open(self.tokenizer).source

    @property
    def facts(self) -> dict[str, Any]:  # Any: JSON values
        """What training recorded about the model (`stead.json`); {} when it recorded nothing."""
        return read_object(self.folder / "stead.json")


def _config(folder: Path) -> dict[str, Any]:  # Any: JSON values
    found: dict[str, Any] = files.read_json(folder / "config.json")
    return found


def _missing_base(adapter: Path) -> ModelError:
    name = merge.read_config(adapter).get("base_model_name_or_path")
    return ModelError(
        "missing-base",
        f"the base {name!r} of the adapter {str(adapter)!r} is not here",
        hint=f"stead model add {name}" if name else None,
        base=name,
    )
