"""Find a model and say what it is, from its configuration and headers alone: no weights, no code.

Knows nothing about loading. `locate` turns what people write (folder, file, run, name) into a path;
`inspect` turns the path into a `ModelInfo`.
"""

import difflib
from pathlib import Path

from stead.core.errors import ModelError, NotFound, UnsafeError
from stead.core.paths import Home
from stead.hub import adapter_folder, gguf_file, library, model_folder, sbs_file, untrusted
from stead.hub.info import ModelInfo

__all__ = ["ModelInfo", "inspect", "locate"]


def inspect(path: str | Path, *, tokenizer: bool = True, home: Home | None = None) -> ModelInfo:
    """Return what the model at `path` is; `path` is anything `locate` accepts.

    With `tokenizer`, a model folder without one is refused. Raises: ModelError("no-config" |
    "no-weights" | "no-tokenizer" | "truncated" | "bad-…") with the file; UnsafeError for pickles.
    """
    home = Home.find() if home is None else home
    found = locate(path, home=home)
    if found.is_file():
        if _head(found).startswith(sbs_file.MAGIC):
            return sbs_file.describe(found, home)
        return gguf_file.describe(found, home)
    if (found / adapter_folder.CONFIG).exists():
        return adapter_folder.describe(found, home, base_of=_base(home))
    return model_folder.describe(found, home, tokenizer=tokenizer)


def _base(home: Home) -> adapter_folder.BaseOf:
    """Return the function that describes an adapter's base, or None when it is not here."""

    def describe(name: str, folder: Path) -> ModelInfo | None:
        for candidate in (name, str(folder.parent / name)):
            try:
                found = locate(candidate, home=home)
            except (NotFound, ModelError, UnsafeError):
                continue
            if found.is_dir() and not (found / adapter_folder.CONFIG).exists():
                return model_folder.describe(found, home, tokenizer=False)
        return None

    return describe


def locate(path: str | Path, *, home: Home | None = None) -> Path:
    """Return the model folder, adapter folder or GGUF file that `path` means.

    Accepts such a folder or file, a run folder (then its `final/`), a folder with exactly one GGUF
    file, or the name or ref of an added model. Raises: NotFound("unknown-model") with near names;
    NotFound("run-unfinished"); ModelError("not-a-model"); UnsafeError("pickle-refused").
    """
    given = Path(path).expanduser()
    if given.is_dir():
        return _in_folder(given)
    if given.is_file():
        return _file(given)
    if given.exists():
        raise UnsafeError("not-regular", f"{str(given)!r} is neither a folder nor a file")
    return _named(str(path), Home.find() if home is None else home)


def _in_folder(folder: Path) -> Path:
    if (folder / adapter_folder.CONFIG).exists() or (folder / model_folder.CONFIG).exists():
        return folder
    if (folder / "final").is_dir():
        return _in_folder(folder / "final")
    if (folder / "job.json").exists() or (folder / "plan.json").exists():
        raise NotFound(
            "run-unfinished",
            f"the run {str(folder)!r} has no final/ model yet",
            hint=f"stead train {folder / 'run.yaml'} --resume",
        )
    models = sorted(folder.glob("*.gguf"))
    if len(models) == 1:
        return models[0]
    pickles = [p for p in sorted(folder.iterdir()) if p.suffix in untrusted.PICKLE_SUFFIXES]
    if pickles and not list(folder.glob("*.safetensors")):
        raise untrusted.refuse_pickle(pickles[0])
    if list(folder.glob("*.safetensors")):
        raise ModelError(
            "no-config",
            f"{str(folder)!r} has weights but no config.json",
            hint=f"ls -l {folder}",
        )
    raise ModelError(
        "not-a-model",
        f"{str(folder)!r} is no model: no config.json, adapter_config.json, final/ or single .gguf",
        hint=f"stead model discover {folder}",
    )


def _file(path: Path) -> Path:
    head = _head(path)
    if head.startswith((gguf_file.MAGIC, sbs_file.MAGIC)) or path.suffix == ".gguf":
        return path
    plain = path.suffix == ".safetensors" and head[8:9] == b"{"  # a length may look like a pickle
    pickled = untrusted.looks_pickled(head) or path.suffix in untrusted.PICKLE_SUFFIXES
    if pickled and not plain:
        raise untrusted.refuse_pickle(path)
    if path.suffix in (".safetensors", ".json") and (path.parent / model_folder.CONFIG).is_file():
        return path.parent
    raise ModelError(
        "not-a-model",
        f"{str(path)!r} is neither a GGUF or .sbs file nor part of a model folder",
        hint=f"stead model discover {path.parent}",
    )


def _head(path: Path) -> bytes:
    with untrusted.opened(path) as (file, _):
        return file.read(16)


def _named(name: str, home: Home) -> Path:
    entry = library.find(home, name)
    if entry is not None:
        return _file(entry.path) if entry.path.is_file() else _in_folder(entry.path)
    known = sorted({e.name for e in library.entries(home)})
    near = difflib.get_close_matches(name, known, n=3)
    ask = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    remote = name.startswith("hf:")
    raise NotFound(
        "unknown-model",
        f"there is no model {name!r}: no such folder or file, and no added model of that name{ask}",
        hint=f"stead model add {name}" if remote else "stead model list",
        near=near,
    )
