"""Proofs before training, on a real model with its own template: faults stop the run, sound ones pass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import TEMPLATE, make_tiny_model
from tests.fakes import training

from stead.config.run import DataSection
from stead.core.errors import DataError, TrainingError
from stead.core.events import AnyEvent, Note
from stead.data import examples, pack
from stead.data import prepare as preparing
from stead.training.method import Columns, Loss, Model
from stead.training.methods.sft import SFT
from stead.values import PreparedData


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rows(path: Path) -> Path:
    lines = [
        {"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"what is {i} plus {i}?"},
            {"role": "assistant", "content": f"it is {2 * i}."},
            {"role": "user", "content": "and one more?"},
            {"role": "assistant", "content": f"{2 * i + 1}, dog"},
        ]}
        for i in range(24)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def prepare(model: Path, folder: Path, **more: Any) -> PreparedData:
    section = DataSection(path=str(rows(folder / "rows.jsonl")), eval_share=0.0)
    return preparing.prepare(section, model, folder / "data", kind_wanted="messages", **more)


def start(model: Path, data: PreparedData, out: Path, **more: Any) -> list[Note]:
    """Train two steps with proofs; return what was noted."""
    events: list[AnyEvent] = []
    training.run(model, data, out, proofs=True, max_steps=2, emit=events.append, **more)
    return [e for e in events if isinstance(e, Note)]


def states(out: Path) -> dict[str, str]:
    found = json.loads((out / "proofs.json").read_text())["proofs"]
    return {one["name"]: one["state"] for one in found}


def figures(out: Path, name: str) -> dict[str, float]:
    found = json.loads((out / "proofs.json").read_text())["proofs"]
    return dict(next(one for one in found if one["name"] == name)["figures"])


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_sound_run_passes_every_proof(
    adapter: str, dtype: str, tiny_model: Path, tmp_path: Path
) -> None:
    data = prepare(tiny_model, tmp_path)

    notes = start(tiny_model, data, tmp_path / "run", adapter=adapter, dtype=dtype)

    assert set(states(tmp_path / "run").values()) == {"passed"}
    assert [n.code for n in notes if n.level == "warning"] == []
    if dtype == "fp32":
        assert figures(tmp_path / "run", "packing")["max_difference"] <= 1e-6
        assert figures(tmp_path / "run", "accumulation")["max_difference"] <= 1e-6
        assert figures(tmp_path / "run", "packing")["max_gradient"] > 1e-3
        assert figures(tmp_path / "run", "packing")["loss_difference"] <= 1e-6


def test_proofs_change_no_bit_of_the_run(tiny_model: Path, tmp_path: Path) -> None:
    data = prepare(tiny_model, tmp_path)
    more = {"adapter_config": {"dropout": 0.1}, "max_steps": 4}

    results = [
        training.run(tiny_model, data, tmp_path / str(proofs), proofs=proofs, **more)
        for proofs in (True, False)
    ]

    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]


def _shift(masked: Any) -> Any:
    return examples.replace(masked, mask=bytearray([*masked.mask[1:], 0]))


def _prompt(masked: Any) -> Any:
    return examples.replace(masked, mask=bytearray(b"\1" * len(masked.ids)))


def _no_end(masked: Any) -> Any:
    mask = [int(m and i != 2) for i, m in zip(masked.ids, masked.mask, strict=True)]
    return examples.replace(masked, mask=bytearray(mask))


def _answers_first_token_only(masked: Any) -> Any:
    pairs = zip(masked.mask, [0, *masked.mask], strict=False)
    return examples.replace(masked, mask=bytearray(int(m and not p) for m, p in pairs))


def _double_bos(masked: Any) -> Any:
    return examples.replace(masked, ids=[0, 0, *masked.ids], mask=bytearray(2) + masked.mask)


def _truncated(masked: Any) -> Any:
    return examples.replace(masked, ids=masked.ids[:-12], mask=masked.mask[:-12])


def _header(masked: Any) -> Any:
    """Train the generation prompt, which the model never writes."""
    n = 12
    mask = [int(any(masked.mask[i : i + n])) for i in range(len(masked.mask))]
    return examples.replace(masked, mask=bytearray(mask))


MASKS: dict[str, Callable[[Any], Any]] = {
    "mask shifted by one": _shift,
    "prompt trained": _prompt,
    "end token masked, as when it is the pad token": _no_end,
    "only the first token of answers trained": _answers_first_token_only,
    "double BOS": _double_bos,
    "answers cut silently": _truncated,
    "generation prompt trained": _header,
}


@pytest.mark.parametrize("fault", MASKS)
def test_a_planted_fault_of_the_mask_stops_the_run(
    fault: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = examples.mask_tokens
    monkeypatch.setattr(examples, "mask_tokens", lambda *a: MASKS[fault](real(*a)))
    data = prepare(tiny_model, tmp_path)

    with pytest.raises(DataError) as caught:
        start(tiny_model, data, tmp_path / "run")

    assert caught.value.code == "mask-proof-failed"
    assert "rows.jsonl:" in caught.value.message
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_template_that_drops_the_system_turn_is_told(tmp_path: Path) -> None:
    model = tmp_path / "model"
    loop = "{% for message in messages %}"
    make_tiny_model(model, template=TEMPLATE.replace(loop, loop + "{% if message.role != 'system' %}", 1)
                    .replace("{% endfor %}", "{% endif %}{% endfor %}", 1))  # fmt: skip
    data = prepare(model, tmp_path)

    notes = start(model, data, tmp_path / "run")

    assert any(n.code == "proof-mask" and "Be brief." in n.message for n in notes)


def _across_rows(labels: Any, batch: Any) -> None:
    if len(batch.starts) > 2:
        labels[batch.starts[1] - 1] = batch.tokens[batch.starts[1]]


def _twice_shifted(labels: Any, batch: Any) -> None:
    labels[:-1] = labels[1:].copy()


def _last_dropped(labels: Any, batch: Any) -> None:
    labels[batch.starts[1:] - 2] = pack.IGNORED


LABELS = {
    "label of the next row's first token": _across_rows,
    "labels shifted twice": _twice_shifted,
    "last token dropped": _last_dropped,
}


@pytest.mark.parametrize("fault", LABELS)
def test_a_planted_fault_of_the_labels_stops_the_run(
    fault: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.training.rows import batches

    real = batches.make_batch

    def broken(*arguments: Any) -> pack.Batch:
        batch = real(*arguments)
        LABELS[fault](batch.labels, batch)
        return batch

    data = prepare(tiny_model, tmp_path)
    monkeypatch.setattr(batches, "make_batch", broken)

    with pytest.raises(DataError) as caught:
        start(tiny_model, data, tmp_path / "run")

    assert caught.value.code == "labels-proof-failed"


def test_packing_that_lets_rows_see_one_another_is_switched_off(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.models.learner import Learner
    from stead.models.segments import Segments

    real = Learner._forward

    def blind(self: Learner, tokens: Any, positions: Any, segments: Any) -> Any:
        return real(self, tokens, positions, Segments((0, len(tokens))))

    monkeypatch.setattr(Learner, "_forward", blind)
    data = prepare(tiny_model, tmp_path)

    notes = start(tiny_model, data, tmp_path / "run")

    assert states(tmp_path / "run")["packing"] == "switched"
    assert figures(tmp_path / "run", "packing")["leak"] > 1e-3
    assert any(n.code == "proof-packing" and "one by one" in n.message for n in notes)


def test_positions_that_go_on_across_rows_are_found(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.training.rows import batches

    real = batches.make_batch

    def broken(*arguments: Any) -> pack.Batch:
        batch = real(*arguments)
        batch.positions[:] = np.arange(len(batch.positions))
        return batch

    data = prepare(tiny_model, tmp_path)
    monkeypatch.setattr(batches, "make_batch", broken)

    with pytest.raises(DataError, match="positions"):
        start(tiny_model, data, tmp_path / "run")


def test_accumulation_that_averages_each_micro_batch_is_found(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault of transformers before 4.46: a short row counted as much as a long one."""
    real = SFT.loss

    def mean(self: SFT, model: Model, batch: Columns) -> Loss:
        return Loss(real(self, model, batch).total / SFT.weight(self, batch))

    data = prepare(tiny_model, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(SFT, "loss", mean)
        patch.setattr(SFT, "weight", lambda self, batch: 1.0)
        with pytest.raises(TrainingError) as caught:
            start(tiny_model, data, tmp_path / "run")

    assert caught.value.code == "accumulation-proof-failed"


def test_rows_without_anything_to_learn_stop_the_run(tiny_model: Path, tmp_path: Path) -> None:
    empty = [(tokens, [0] * len(tokens)) for tokens, _ in training.rows(8)]
    data = training.prepared(tmp_path / "d", empty)

    with pytest.raises(DataError, match="train on nothing"):
        start(tiny_model, data, tmp_path / "run")


def test_a_failed_proof_can_be_allowed_by_name_and_is_still_told(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = examples.mask_tokens
    with monkeypatch.context() as patch:
        patch.setattr(examples, "mask_tokens", lambda *a: _no_end(real(*a)))
        data = prepare(tiny_model, tmp_path)

    notes = start(tiny_model, data, tmp_path / "run", allow=("mask",))

    assert states(tmp_path / "run")["mask"] == "allowed"
    assert any(n.code == "proof-mask" and n.level == "warning" for n in notes)


def test_a_limit_of_length_is_no_fault_when_it_was_reported(
    tiny_model: Path, tmp_path: Path
) -> None:
    data = prepare(tiny_model, tmp_path, max_length=48)

    start(tiny_model, data, tmp_path / "run")

    assert states(tmp_path / "run")["mask"] == "passed"
    assert figures(tmp_path / "run", "mask")["cut"] > 0


def test_nothing_is_checked_when_the_recipe_says_so(tiny_model: Path, tmp_path: Path) -> None:
    data = prepare(tiny_model, tmp_path)

    training.run(tiny_model, data, tmp_path / "run", proofs=False, max_steps=1)

    assert not (tmp_path / "run" / "proofs.json").exists()
