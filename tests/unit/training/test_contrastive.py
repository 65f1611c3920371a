"""Contrastive runs: the loss in closed form, who competes, exact resume, vectors of the saved model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training

from stead.config.kinds import registry
from stead.config.run import DataSection
from stead.core.errors import ConfigError, DataError, Interrupted
from stead.core.events import AnyEvent
from stead.core.process import stop_requested
from stead.data.prepare import prepare
from stead.data.tokenizer import TextTokenizer
from stead.models.load import load_model
from stead.models.writing.likelihood import embed
from stead.values import PreparedData

QUESTIONS = ("the quick fox", "two plus two", "a small model", "the lazy dog", "one token", "four")
ANSWERS = ("jumps over", "is four", "learns from examples", "what is small", "after another", "two")
ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in zip(QUESTIONS, ANSWERS, strict=True)
    ],
    "preference": [
        {"prompt": q, "chosen": a, "rejected": f"not {a}"}
        for q, a in zip(QUESTIONS, ANSWERS, strict=True)
    ],
    "text": [{"text": f"{q} {a}"} for q, a in zip(QUESTIONS, ANSWERS, strict=True)],
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture
def rows(tiny_model: Path, tmp_path: Path) -> Any:
    def make(kind: str, **section: Any) -> PreparedData:
        path = tmp_path / f"{kind}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in ROWS[kind]))
        settings = DataSection(path=str(path), eval_share=0.0, **section)
        return prepare(settings, tiny_model, tmp_path / kind)

    return make


def run(model: Path, data: PreparedData, out: Path, method: Any = None, **more: Any) -> Any:
    settings = {"batch_rows": 6, "shuffle": False, "adapter_config": {"dropout": 0.0}} | more
    return training.run(model, data, out, method="contrastive", method_config=method, **settings)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]


def vectors(model: Path, texts: tuple[str, ...]) -> torch.Tensor:
    """Return what the serving side makes of texts."""
    loaded = load_model(model, dtype="fp32", device="cpu")
    tokenizer = TextTokenizer.open(loaded.folder)
    return torch.tensor(embed(loaded, [tokenizer.encode(t).ids for t in texts]))


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("kind", ["messages", "preference"])
def test_the_first_loss_is_info_nce_of_the_models_own_vectors(
    kind: str, both_ways: bool, tiny_model: Path, rows: Any, tmp_path: Path
) -> None:
    run(tiny_model, rows(kind), tmp_path / "run", {"temperature": 0.1, "both_ways": both_ways}, max_steps=1)  # fmt: skip

    texts = ANSWERS if kind == "messages" else (*ANSWERS, *(f"not {a}" for a in ANSWERS))
    scores = vectors(tiny_model, QUESTIONS) @ vectors(tiny_model, texts).t() / 0.1
    own = torch.arange(6)
    expected = torch.nn.functional.cross_entropy(scores, own)
    if both_ways:
        back = torch.nn.functional.cross_entropy(scores[:, :6].t(), own)
        expected = (expected + back) / 2
    found = lines(tmp_path / "run")[0]
    assert found["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert found["accuracy"] == pytest.approx(float((scores.argmax(1) == own).float().mean()))


def test_two_views_of_a_text_differ_by_dropout_alone(
    tiny_model: Path, rows: Any, tmp_path: Path
) -> None:
    data = rows("text")

    with pytest.raises(ConfigError, match="differ by dropout alone") as caught:
        run(tiny_model, data, tmp_path / "a")
    run(tiny_model, data, tmp_path / "b", adapter_config={"dropout": 0.2}, max_steps=3, epochs=9.0, lr=0.05)  # fmt: skip

    assert caught.value.code == "no-dropout"
    first, *_, last = lines(tmp_path / "b")
    assert first["similarity"] == pytest.approx(1.0, abs=1e-6)  # B is zero: nothing differs yet
    assert last["similarity"] < 1.0 - 1e-6


def test_noise_on_the_words_makes_views_for_full_fine_tuning(
    tiny_model: Path, rows: Any, tmp_path: Path
) -> None:
    run(tiny_model, rows("text"), tmp_path / "run", adapter="full", adapter_config={}, lr=1e-3,
        neftune_alpha=5.0, max_steps=1)  # fmt: skip

    assert lines(tmp_path / "run")[0]["similarity"] < 0.999


def test_equal_texts_do_not_compete(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": "two"}]
             for q in QUESTIONS[:2]]  # fmt: skip
    path.write_text("".join(json.dumps({"messages": m}) + "\n" for m in turns))
    data = prepare(DataSection(path=str(path), eval_share=0.0), tiny_model, tmp_path / "data")

    run(tiny_model, data, tmp_path / "run", max_steps=1)

    assert lines(tmp_path / "run")[0]["loss"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("adapter", "pooling"), [("lora", "last"), ("full", "mean")])
def test_a_trained_model_gives_vectors_that_find_their_pairs(
    adapter: str, pooling: str, tiny_model: Path, rows: Any, tmp_path: Path
) -> None:
    more = {"lr": 3e-3} if adapter == "lora" else {"lr": 3e-3, "adapter_config": {}}
    run(tiny_model, rows("preference"), tmp_path / "run", {"pooling": pooling}, adapter=adapter,
        epochs=25.0, **more)  # fmt: skip
    final = tmp_path / "run" / "final"

    where = {"adapter": final} if adapter == "lora" else {}
    loaded = load_model(final if adapter == "full" else tiny_model, dtype="fp32", device="cpu", **where)  # fmt: skip
    tokenizer = TextTokenizer.open(tiny_model)
    made = [
        torch.tensor(embed(loaded, [tokenizer.encode(t).ids for t in texts]))
        for texts in (QUESTIONS, ANSWERS)
    ]
    assert (made[0] @ made[1].t()).argmax(1).tolist() == list(range(6))
    assert lines(tmp_path / "run")[-1]["accuracy"] == 1.0


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if getattr(event, "done", None) == step:
            stop_requested.set()

    return watch


@pytest.mark.parametrize(("adapter", "kind"), [("lora", "text"), ("prefix", "preference")])
def test_a_run_resumes_to_the_bit(
    adapter: str, kind: str, tiny_model: Path, rows: Any, tmp_path: Path
) -> None:
    config = {"dropout": 0.1} if adapter == "lora" else {"tokens": 3}
    settings = {"adapter": adapter, "adapter_config": config, "epochs": 4.0, "shuffle": True}
    if adapter == "prefix":
        settings["neftune_alpha"] = 3.0
    data = rows(kind)

    whole = run(tiny_model, data, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        run(tiny_model, data, tmp_path / "cut", emit=stop_after(2), **settings)
    stop_requested.clear()
    last = run(tiny_model, data, tmp_path / "cut", resume=True, **settings)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["resume_level"] == "exact"


def test_lanes_do_not_change_who_competes(tiny_model: Path, rows: Any, tmp_path: Path) -> None:
    data = rows("messages")
    run(tiny_model, data, tmp_path / "one", max_steps=1)
    torch.set_num_threads(2)
    run(tiny_model, data, tmp_path / "two", max_steps=1)

    found = [lines(tmp_path / n)[0]["loss"] for n in ("one", "two")]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_documents_are_views_cut_at_their_length_without_an_end(
    tiny_model: Path, rows: Any
) -> None:
    from stead.training.rows.batches import Columns
    from stead.training.teaching.views import ViewsOf

    tokenizer = TextTokenizer.open(tiny_model)
    views = ViewsOf(Columns(rows("text"), "train", ("tokens",)), tokenizer, 5)

    found = views.of([0])  # one block of six documents

    expected = [tuple(tokenizer.encode(r["text"]).ids[:5]) for r in ROWS["text"]]
    assert sorted(a for a, _ in found) == sorted(expected)
    assert all(a == b for a, b in found)


def test_a_row_without_a_question_is_named(tiny_model: Path, rows: Any) -> None:
    from stead.data.row import Row
    from stead.messages import Message
    from stead.training.rows.batches import Columns
    from stead.training.teaching.views import ViewsOf

    views = ViewsOf(
        Columns(rows("messages"), "train", ("tokens",)), TextTokenizer.open(tiny_model), 9
    )
    row = Row("messages", "rows.jsonl:1", messages=(Message(role="assistant", content="four"),))

    with pytest.raises(DataError, match=r"rows\.jsonl:1 has no question"):
        views.pair(row)


def test_preferences_reach_it_as_they_are() -> None:
    assert registry("method").get("contrastive").takes_as_is
