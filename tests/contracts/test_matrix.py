"""Every method with every adapter: trained, stopped, resumed and loaded again, or refused with a reason.

The names come from the registries, so a new file is in the matrix before its author writes a test.
"""

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from tests.fakes import matrix

from stead.config import pairing
from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.core.errors import ConfigError
from stead.hub.inspect import inspect
from stead.models.adapters.freeze import Freeze, FreezeConfig
from stead.models.adapters.full import Full, FullConfig
from stead.models.load import attach, load_model
from stead.models.writing.likelihood import score
from stead.training.method import Columns, Loss, Model
from stead.training.methods.sft import SFT, SFTConfig
from stead.values import LoadedModel, PreparedData

CELLS = [(m, a) for m in registry("method").names() for a in registry("adapter").names()]
PROBE = [[5, 9, 30, 7, 12, 41], [8, 8, 100, 3]]


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(tiny_model, dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def base_hash(tiny_model: Path) -> str:
    return inspect(tiny_model, tokenizer=False).hash


@pytest.fixture(scope="module")
def rows(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("rows")
    made: dict[str, PreparedData] = {}

    def of(kind: str) -> PreparedData:
        if kind not in made:
            made[kind] = matrix.data(kind, tiny_model, folder)
        return made[kind]

    return of


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with matrix.judge() as url:
        yield url


def killed_after_two(whole: Path, cut: Path) -> None:
    """Leave in `cut` what a run leaves that is killed after its checkpoint of step two."""
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "final")
    (cut / "result.json").unlink()
    steps = sorted((cut / "checkpoints").iterdir())
    assert steps[0].name == "step-00000002"
    for later in steps[1:]:
        shutil.rmtree(later)


def again(base: LoadedModel, final: Path, kind: str) -> LoadedModel:
    """Load what a run left behind, as a fresh process would."""
    if kind == "model":
        return load_model(final, dtype="fp32", device="cpu")
    fresh = replace(base, model=copy.deepcopy(base.model), meta={})
    attach(fresh, final)
    return fresh


def flat(loaded: LoadedModel) -> list[float]:
    return [value for row in score(loaded, PROBE) for value in row]


@pytest.mark.parametrize(("method", "adapter"), CELLS)
def test_a_cell_trains_resumes_and_loads_again_or_says_why_not(
    method: str, adapter: str, base: LoadedModel, base_hash: str, rows: Any, judge: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    prepared = rows(registry("method").get(method).kinds[0])
    cell = {"method": method, "adapter": adapter, "base_hash": base_hash, "url": judge}
    reason = pairing.refusal(method, adapter)
    if reason is not None:
        with pytest.raises(ConfigError) as caught:
            matrix.train(base, prepared, tmp_path / "refused", **cell)
        assert caught.value.message == reason
        return

    proofs = adapter == "lora"  # packing and accumulation are exact with every method
    check_cell(base, prepared, tmp_path, cell, proofs=proofs)


def check_cell(
    base: LoadedModel, prepared: PreparedData, tmp_path: Path, cell: dict[str, Any], *,
    proofs: bool = False,
) -> None:  # fmt: skip
    """Train four steps, go back to two and resume: the same bytes; what is loaded is what was trained."""
    trained, whole = matrix.train(
        base, prepared, tmp_path / "whole", proofs=proofs, checkpoint_every=2, **cell
    )
    killed_after_two(tmp_path / "whole", tmp_path / "cut")
    events: list[Any] = []
    _, resumed = matrix.train(
        base, prepared, tmp_path / "cut", resume=True, checkpoint_every=2, emit=events.append, **cell
    )  # fmt: skip

    assert any("resumed after step 2 of 4" in getattr(e, "message", "") for e in events)

    assert whole["steps"] == resumed["steps"] == 4
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["resume_level"] == "exact"
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    expected = flat(trained)
    loaded = again(base, Path(whole["final"]), whole["kind"])
    assert flat(loaded) == pytest.approx(expected, abs=1e-5)  # float32, other order of sums
    assert flat(base) != pytest.approx(expected, abs=1e-4)  # four steps did change it


VARIANTS = [
    ("lora", {"dora": True}),
    ("lora", {"init": "pissa"}),
    ("lora", {"lora_plus": 8.0, "init": "gaussian", "rslora": True}),
    ("lora", {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"up_proj": 4.0}, "layers": (1,)}),
    ("lora", {"modules_to_save": ("lm_head", "model.norm")}),
    ("qlora", {"bits": 8, "dora": True}),
    ("qlora", {"init": "loftq", "double_quant": False}),
    ("qlora", {"quant_type": "fp4", "modules_to_save": ("embed_tokens",)}),
    ("adalora", {"tinit": 1, "tfinal": 1, "target_r": 1}),
    ("ia3", {"target_modules": ("q_proj", "up_proj"), "feedforward_modules": ("up_proj",)}),
    ("freeze", {"layers": -1, "names": ("model.norm.*",)}),
]


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize(("adapter", "config"), VARIANTS)
def test_variants_of_adapters_train_resume_and_load_again(
    method: str, adapter: str, config: dict[str, Any], base: LoadedModel, base_hash: str,
    rows: Any, tmp_path: Path,
) -> None:  # fmt: skip
    prepared = rows(registry("method").get(method).kinds[0])
    cell = {"method": method, "adapter": adapter, "adapter_config": config, "base_hash": base_hash}

    check_cell(base, prepared, tmp_path, cell)


class TopConfig(FreezeConfig):
    """Trains the last layer by default."""

    type: Literal["top"] = "top"
    layers: int = 1


class Top(Freeze):
    """An adapter of somebody else's."""

    config: TopConfig


class CalmConfig(SFTConfig):
    """How calm."""

    type: Literal["calm"] = "calm"
    factor: float = 0.5


class Calm(SFT):
    """A method of somebody else's: learns from half the loss."""

    config: CalmConfig

    def loss(self, model: Model, batch: Columns) -> Loss:
        return Loss(super().loss(model, batch).total * self.config.factor)


@pytest.mark.spec("001-071", "002-035", "003-002")
def test_a_class_and_its_registration_are_all_a_new_method_or_adapter_needs(
    monkeypatch: pytest.MonkeyPatch, base: LoadedModel, base_hash: str, rows: Any, tmp_path: Path
) -> None:
    for kind in ("method", "adapter"):
        for held in ("_added", "_loaded"):
            monkeypatch.setattr(registry(kind), held, dict(getattr(registry(kind), held)))
    registry("method").register("calm", Calm)
    registry("adapter").register("top", Top)
    cell = {"base_hash": base_hash, "adapter": "top"}

    _, calm = matrix.train(base, rows("messages"), tmp_path / "calm", method="calm", **cell)
    _, plain = matrix.train(base, rows("messages"), tmp_path / "sft", method="sft", **cell)

    assert RunConfig(method="calm", adapter="top").adapter.layers == 1
    firsts = [
        json.loads((tmp_path / n / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for n in ("calm", "sft")
    ]
    assert firsts[0] == pytest.approx(firsts[1] / 2)
    assert calm["kind"] == plain["kind"] == "model"


class PickyConfig(SFTConfig):
    """Its settings."""

    type: Literal["picky"] = "picky"


class Picky(SFT):
    """Needs what no adapter of the house lacks."""

    config: PickyConfig
    needs: ClassVar[tuple[str, ...]] = ("fresh air",)


class StuffyConfig(FullConfig):
    """Its settings."""

    type: Literal["stuffy"] = "stuffy"


class Stuffy(Full):
    """Lacks it, and says why."""

    config: StuffyConfig
    cannot: ClassVar[Mapping[str, str]] = {"fresh air": "the windows are painted shut"}


def test_a_pair_that_makes_no_sense_is_refused_with_the_adapters_reason(
    monkeypatch: pytest.MonkeyPatch, base: LoadedModel, rows: Any, tmp_path: Path
) -> None:
    for kind, name, extension in (("method", "picky", Picky), ("adapter", "stuffy", Stuffy)):
        monkeypatch.setitem(registry(kind)._added, name, ("here", lambda e=extension: e))

    assert pairing.refusal("picky", "lora") is None
    assert pairing.refusal("sft", "stuffy") is None
    with pytest.raises(ConfigError, match="windows are painted shut") as caught:
        matrix.train(base, rows("messages"), tmp_path, method="picky", adapter="stuffy", base_hash="")  # fmt: skip
    assert caught.value.code == "bad-pair"
    with pytest.raises(ValueError, match="windows are painted shut"):
        RunConfig(method={"type": "picky"}, adapter={"type": "stuffy"})


@pytest.mark.parametrize(
    ("method", "adapter", "lr"),
    [
        ("sft", "lora", 2e-4), ("sft", "qlora", 2e-4), ("sft", "freeze", 2e-5), ("sft", "ia3", 3e-3),
        ("dpo", "full", 5e-7), ("ppo", "lora", 1.41e-5),
    ],
)  # fmt: skip
def test_the_classes_say_how_fast_to_learn(method: str, adapter: str, lr: float) -> None:
    assert pairing.default_lr(method, adapter) == pytest.approx(lr)
    assert pairing.default_lr(method, adapter, "lion") == pytest.approx(lr * 0.3)
    assert pairing.default_lr(method, adapter, "sgd") == pytest.approx(lr * 100)
