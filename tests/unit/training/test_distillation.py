"""Distillation runs: who teaches, what is learnt, exact resume, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.conftest import make_tiny_model
from tests.fakes import training

from stead.config.kinds import registry
from stead.core.errors import ConfigError, Interrupted, ModelError
from stead.core.events import AnyEvent
from stead.core.process import stop_requested
from stead.models.load import load_model
from stead.values import PreparedData


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    make_tiny_model(folder, seed=5)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    made = training.rows(12)
    return training.prepared(tmp_path / "data", made, made[:3])


def run(model: Path, data: PreparedData, out: Path, method: dict[str, Any], **more: Any) -> Any:
    return training.run(model, data, out, method="distillation", method_config=method, **more)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if getattr(event, "done", None) == step:
            stop_requested.set()

    return watch


def test_labels_alone_are_supervised_fine_tuning(
    tiny_model: Path, teacher: Path, data: PreparedData, tmp_path: Path
) -> None:
    same = {"adapter_config": {"dropout": 0.1}}
    method = {"teacher": str(teacher), "alpha": 1.0}

    run(tiny_model, data, tmp_path / "a", method, **same)
    training.run(tiny_model, data, tmp_path / "b", **same)

    found, expected = ([x["loss"] for x in lines(tmp_path / n)] for n in "ab")
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_first_loss_is_the_divergence_from_the_teacher(
    tiny_model: Path, teacher: Path, data: PreparedData, tmp_path: Path
) -> None:
    """Computed here from transformers' own logits, one row at a time."""
    run(tiny_model, data, tmp_path / "run", {"teacher": str(teacher), "alpha": 0.0},
        batch_rows=12, shuffle=False, max_steps=1)  # fmt: skip

    total, count = 0.0, 0
    models = [load_model(m, dtype="fp32", device="cpu").model for m in (teacher, tiny_model)]
    for ids, mask in training.rows(12):
        with torch.no_grad():
            p, q = (torch.log_softmax(m(torch.tensor([ids])).logits[0], -1) for m in models)
        places = np.flatnonzero(mask[1:])
        total += float((p.exp() * (p - q)).sum(-1)[places].sum())
        count += len(places)
    assert lines(tmp_path / "run")[0]["loss"] == pytest.approx(total / count, rel=1e-4)


# What the matrix of all methods and adapters (tests/contracts) does not reach by small settings.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "jsd": ({"divergence": "jsd", "top_k": 20, "temperature": 2.0}, {}),
    "feature": ({"kind": "feature", "layers": ((1, 2),)}, {"adapter": "full", "lr": 1e-3}),
    "ema": ({"kind": "self", "ema": 0.5, "alpha": 0.1}, {}),
    "own-answers": ({"on_policy": 0.5, "max_new_tokens": 5}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_resumes_to_the_bit(
    case: str, tiny_model: Path, teacher: Path, data: PreparedData, tmp_path: Path
) -> None:
    method, settings = CASES[case]
    if method.get("kind") != "self":
        method = method | {"teacher": str(teacher)}

    whole = run(tiny_model, data, tmp_path / "whole", method, **settings)
    with pytest.raises(Interrupted):
        run(tiny_model, data, tmp_path / "cut", method, emit=stop_after(3), **settings)
    stop_requested.clear()
    last = run(tiny_model, data, tmp_path / "cut", method, resume=True, **settings)

    assert last["weights_sha256"] == whole["weights_sha256"]
    log, expected = (tmp_path / n / "metrics.jsonl" for n in ("cut", "whole"))
    assert log.read_bytes() == expected.read_bytes()
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path / "whole"))


def test_a_taught_student_comes_nearer_to_its_teacher(
    tiny_model: Path, teacher: Path, data: PreparedData, tmp_path: Path
) -> None:
    same = {"adapter": "full", "lr": 3e-3, "epochs": 12.0, "batch_rows": 12, "schedule": "constant"}
    for name, method in {
        "divergence": {"teacher": str(teacher), "alpha": 0.0},
        "distance": {"teacher": str(teacher), "alpha": 0.0, "kind": "feature"},
    }.items():
        run(tiny_model, data, tmp_path / name, method, **same)

        seen = [line[name] for line in lines(tmp_path / name)]
        assert seen[-1] < 0.7 * seen[0]


def test_one_teaches_oneself_nothing_at_first_and_stays_near(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    near = {}
    for alpha in (0.2, 0.99):
        method = {"kind": "self", "alpha": alpha}
        run(tiny_model, data, tmp_path / str(alpha), method, adapter="full", lr=1e-2, epochs=4.0)
        found = lines(tmp_path / str(alpha))
        assert found[0]["divergence"] == pytest.approx(0.0, abs=1e-6)
        near[alpha] = found[-1]["divergence"]

    assert near[0.2] < near[0.99]


MOVED: dict[str, dict[str, Any]] = {
    "full": {"lr": 1e-2},
    "lora": {"lr": 5e-2, "adapter_config": {"dropout": 0.0}},
    "prefix": {"lr": 5e-2, "adapter_config": {"tokens": 3}},  # its hooks are copied too
}


@pytest.mark.parametrize("adapter", MOVED)
def test_a_moving_teacher_follows_and_a_fixed_one_does_not(
    adapter: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    seen = {}
    for ema in (None, 0.0):  # 0: the teacher is the student of the step before
        method = {"kind": "self", "alpha": 0.9, "ema": ema}
        run(tiny_model, data, tmp_path / str(ema), method, adapter=adapter, epochs=4.0, **MOVED[adapter])  # fmt: skip
        seen[ema] = lines(tmp_path / str(ema))[-1]["divergence"]

    assert seen[0.0] == pytest.approx(0.0, abs=1e-6)
    assert seen[None] > 1e-4


def test_own_answers_count_by_their_distance_alone(
    tiny_model: Path, teacher: Path, data: PreparedData, tmp_path: Path
) -> None:
    method = {"teacher": str(teacher), "on_policy": 1.0, "max_new_tokens": 4}

    run(tiny_model, data, tmp_path / "run", method, max_steps=2)

    for line in lines(tmp_path / "run"):
        assert line.get("cross_entropy", 0.0) == 0.0
        assert line["loss"] == pytest.approx(line["divergence"], rel=1e-5)


def test_a_teacher_of_another_vocabulary_is_refused_with_both_sizes(
    tiny_model: Path, teacher: Path, data: PreparedData, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    make_tiny_model(other, seed=5)
    path = other / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"].pop("z")
    tokenizer["model"]["merges"] = []
    path.write_text(json.dumps(tokenizer))

    with pytest.raises(ModelError, match=r"\d+ words, the student has \d+") as caught:
        run(tiny_model, data, tmp_path / "run", {"teacher": str(other)})

    assert caught.value.code == "teacher-vocabulary"
    with pytest.raises(ModelError, match="the teacher has no layer 9"):
        run(tiny_model, data, tmp_path / "b",
            {"teacher": str(teacher), "kind": "feature", "layers": ((1, 9),)})  # fmt: skip


def test_without_a_teacher_nothing_begins(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="needs a teacher"):
        run(tiny_model, data, tmp_path / "run", {})


def test_an_adapter_on_a_base_can_teach(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    training.run(tiny_model, data, tmp_path / "taught", lr=0.05, epochs=3.0)
    method = {"teacher": str(tmp_path / "taught"), "alpha": 0.0}

    run(tiny_model, data, tmp_path / "run", method, max_steps=1)

    assert lines(tmp_path / "run")[0]["divergence"] > 1e-3  # else the base alone was asked


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "self", "teacher": "x"},
        {"teacher": "x", "ema": 0.9},
        {"teacher": "x", "layers": ((1, 1),)},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"method\."):
        registry("method").config_of("distillation")(**settings)
