"""Prepared data, settings and whole runs on the tiny model, for tests of the training room."""

import copy
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stead.config.run import SamplesSection
from stead.core import manifest
from stead.core.events import AnyEvent, ignore
from stead.values import PreparedData

Rows = Sequence[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Settings:
    """TrainerSection's attributes, with small numbers."""

    type: str = "native"
    epochs: float = 1.0
    max_steps: int | None = None
    batch_tokens: Any = "auto"
    batch_rows: int | None = 2
    accumulation: int = 1
    lr: Any = 5e-3
    schedule: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    optimizer: str = "adamw"
    betas: tuple[float, float] | None = None
    seed: int = 42
    shuffle: bool = True
    gradient_checkpointing: bool = False
    checkpoint_every: Any = 1000
    keep: int = 3
    log_every: int = 1
    eval_every: int | None = None
    logits_chunk: Any = "auto"
    momentum: float | None = None
    lr_floor: float = 0.0
    decay_share: float = 0.2
    cycles: int = 1
    power: float = 1.0
    label_smoothing: float = 0.0
    neftune_alpha: float = 0.0
    patience: int | None = None
    min_delta: float = 0.0
    keep_best: bool = False
    ema: float | None = None
    samples: Any = field(default_factory=SamplesSection)
    trackers: Any = ()
    on_nan: str = "stop"
    on_spike: str = "warn"
    spike_factor: float = 10.0
    proofs: bool = False
    allow: tuple[str, ...] = ()


def rows(count: int, seed: int = 0, vocabulary: int = 300) -> Rows:
    """Return (tokens, mask) pairs of 6 to 20 tokens, the second half trained."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        half = draw.randrange(3, 11)
        made.append(
            ([draw.randrange(5, vocabulary) for _ in range(2 * half)], [0] * half + [1] * half)
        )
    return made


def prepared(path: Path, train: Rows, held_out: Rows = (), kind: str = "messages") -> PreparedData:
    """Write rows in the layout of `data/prepare`."""

    def fill(folder: Path) -> None:
        for split, part in (("train", train), ("eval", held_out)):
            head = f"{folder}/{split}.tokens"
            np.array([x for t, _ in part for x in t], dtype="<u4").tofile(f"{head}.tokens.bin")
            np.array([x for _, m in part for x in m], dtype="u1").tofile(f"{head}.mask.bin")
            ends = np.cumsum([0, *(len(t) for t, _ in part)])
            ends.astype("<i8").tofile(f"{head}.offsets.bin")

    splits = {"train": len(train), "eval": len(held_out)}
    manifest.commit(path, "prepared-data", fill, {"kind": kind, "splits": splits})
    return PreparedData.open(path)


@cache
def _read(model: Path, dtype: str, written: int) -> Any:
    from stead.models.load import load_model

    return load_model(model, dtype=dtype, device="cpu")


def _copy_of(model: Path, dtype: str) -> Any:
    """Return a model as it would be loaded; reading it from disk each time is most of a tiny run."""
    written = (model / "model.safetensors").stat().st_mtime_ns
    read = _read(model, dtype, written)
    return replace(read, model=copy.deepcopy(read.model), meta=dict(read.meta))


def run(
    model: Path,
    data: PreparedData,
    out: Path,
    *,
    resume: Any = False,
    adapter: str = "lora",
    adapter_config: dict[str, Any] | None = None,
    method: str = "sft",
    method_config: dict[str, Any] | None = None,
    dtype: str = "fp32",
    emit: Callable[[AnyEvent], None] = ignore,
    world: Any = None,
    to_gguf: Any = None,
    **settings: Any,
) -> dict[str, Any]:
    """Load the model and train; return fit's result."""
    from stead.hub.inspect import inspect
    from stead.training.fit import fit

    return fit(
        trainer=replace(Settings(), **settings),
        method_name=method,
        method_config=method_config or {},
        adapter_name=adapter,
        adapter_config=adapter_config or {},
        prepared=data,
        loaded=_copy_of(model, dtype),
        run_dir=out,
        resume=resume,
        emit=emit,
        lineage={"base_hash": inspect(model, tokenizer=False).hash},
        world=world,
        to_gguf=to_gguf,
    )


def child(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a Python child that runs `code` with the repository on its path."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
