"""Preference losses against formulas over slow log-probabilities: transformers alone, row by row."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes import preference, training

from stead.config.kinds import registry
from stead.core import manifest
from stead.core.errors import ConfigError, Interrupted
from stead.core.events import AnyEvent, Note, Progress, ignore
from stead.core.process import stop_requested
from stead.core.seeds import stream
from stead.models.layers import layers, lowrank
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.training.loop.tools import Tools
from stead.training.methods.kto import partners
from stead.training.rows.batches import Columns
from stead.training.teaching.preference import judged
from stead.values import PreparedData

PAIRS = preference.pairs(7)
ANSWERS = preference.labelled(7)
MARGINS = [0.0, 0.5, 1.0, -0.5, 0.25, 0.0, 2.0]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def pair_data(folder: Path) -> PreparedData:
    return preference.prepared_pairs(folder / "data", PAIRS, margins=MARGINS)


def tools_for(
    tiny_model: Path, data: PreparedData, run: Path, columns: Any, *, adapter: str = "lora",
    emit: Any = ignore,
) -> Tools:  # fmt: skip
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    made = registry("adapter").create(adapter, config=registry("adapter").config_of(adapter)())
    made.wrap(loaded.model, layers, 42)
    train = Columns(data, "train", columns)
    return Tools(Learner(loaded), loaded, made, train, None, 1, 42, run / "method", emit)


def method_for(name: str, **config: Any) -> Any:
    return registry("method").create(name, config=registry("method").config_of(name)(**config))


def trained(tools: Tools) -> None:
    """Move the adapter away from the start, so that model and reference differ."""
    generator = torch.Generator().manual_seed(stream(3, 0, "move"))
    with torch.no_grad():
        for name, parameter in tools.loaded.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def slow(tools: Tools, rows: Any, *, plain: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities and lengths of rows by the model itself, whole and one by one."""
    tools.model.close()
    former = lowrank.set_draw(lowrank.Draw(plain=plain))
    with torch.no_grad():
        found = [preference.slow_log_prob(tools.loaded.model, row) for row in rows]
    lowrank.set_draw(former)
    tools.model.open()
    return torch.stack([f for f, _ in found]).double(), torch.tensor([n for _, n in found])


def log_sigmoid(x: Any) -> Any:
    return -torch.log1p(torch.exp(-x))


def formula(policy: Any, reference: Any, lengths: Any, config: dict[str, Any]) -> Any:
    """Return each pair's loss as the papers write it."""
    loss, beta = config.get("loss", "sigmoid"), config.get("beta", 0.1)
    epsilon, gamma = config.get("label_smoothing", 0.0), config.get("gamma", 0.5)
    ratio = policy if loss == "simpo" or config.get("reference_free") else policy - reference
    if config.get("length_normalize", loss in ("ipo", "simpo")):
        ratio = ratio / lengths
    c, r = ratio[:, 0], ratio[:, 1]
    h = c - r
    found = {
        "sigmoid": -(1 - epsilon) * log_sigmoid(beta * h) - epsilon * log_sigmoid(-beta * h),
        "robust": (-(1 - epsilon) * log_sigmoid(beta * h) + epsilon * log_sigmoid(-beta * h))
        / (1 - 2 * epsilon),
        "hinge": (1 - beta * h).clamp(min=0),
        "ipo": (h - 1 / (2 * beta)) ** 2,
        "simpo": -log_sigmoid(beta * h - gamma),
        "apo_zero": 1 - torch.sigmoid(beta * c) + torch.sigmoid(beta * r),
        "apo_down": torch.sigmoid(beta * c) + 1 - torch.sigmoid(beta * h),
    }[loss]
    return found + config.get("sft_weight", 0.0) * -(policy[:, 0] / lengths[:, 0])


CASES: list[dict[str, Any]] = [
    {},
    {"beta": 0.5},
    {"label_smoothing": 0.2},
    {"loss": "robust", "label_smoothing": 0.2},
    {"loss": "hinge"},
    {"loss": "ipo"},
    {"loss": "ipo", "length_normalize": False, "beta": 0.7},
    {"loss": "simpo", "beta": 2.0, "gamma": 1.0},
    {"loss": "apo_zero"},
    {"loss": "apo_down"},
    {"reference_free": True},
    {"length_normalize": True},
    {"sft_weight": 0.5},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_dpo_loss_is_its_formula_over_separate_rows(
    case: dict[str, Any], tiny_model: Path, folder: Path
) -> None:
    """Trees, packed rows, the fused layers and the table, all against the slow way."""
    tools = tools_for(tiny_model, pair_data(folder), folder, ("chosen", "rejected"))
    method = method_for("dpo", **case)
    rows = [row for pair in PAIRS for row in pair]
    method.setup(tools)
    trained(tools)
    policy, lengths = (t.view(-1, 2) for t in slow(tools, rows, plain=False))
    reference = slow(tools, rows, plain=True)[0].view(-1, 2)

    batch = method.flatten(tools.train, range(len(PAIRS)))
    found = method.loss(tools.model, batch)

    expected = formula(policy, reference, lengths, case)
    assert method.weight(batch) == len(PAIRS)
    assert float(found.total.detach()) == pytest.approx(float(expected.sum()), rel=1e-5, abs=1e-5)


def test_a_tree_has_the_gradients_of_two_separate_rows(tiny_model: Path, folder: Path) -> None:
    tools = tools_for(tiny_model, pair_data(folder), folder, ("chosen", "rejected"))
    method = method_for("dpo", sft_weight=0.2)
    method.setup(tools)
    trained(tools)
    tree = method.flatten(tools.train, range(len(PAIRS)))["pairs"]
    apart = judged([[row] for pair in PAIRS for row in pair], range(2 * len(PAIRS)), {})
    apart = replace(apart, facts=tree.facts)
    weights = [p for _, p in tools.model.trained()]

    one, two = (method.loss(tools.model, {"pairs": batch}).total for batch in (tree, apart))

    assert len(tree.tokens) < len(apart.tokens)
    assert float((one - two).detach()) == pytest.approx(0, abs=1e-5)
    for a, b in zip(
        torch.autograd.grad(one, weights), torch.autograd.grad(two, weights), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_lanes_get_pairs_by_what_a_tree_costs(folder: Path) -> None:
    """A long prompt is computed once, so its pair costs less than its two rows have tokens."""
    prompt = list(range(10, 50))
    long = tuple(([*prompt, x], [0] * 40 + [1]) for x in (5, 6))
    short = tuple(([7] + [x] * 15, [0] + [1] * 15) for x in (8, 9))
    data = preference.prepared_pairs(folder / "data", [long, short, short, short])
    columns = Columns(data, "train", ("chosen", "rejected"))

    by_tokens = columns.deal(range(4), 2)
    by_cost = columns.deal(range(4), 2, method_for("dpo").lengths(columns))

    assert by_tokens == [[0], [1, 2, 3]]
    assert by_cost == [[0, 3], [1, 2]]


def test_the_logged_values_are_means_over_pairs(tiny_model: Path, folder: Path) -> None:
    tools = tools_for(tiny_model, pair_data(folder), folder, ("chosen", "rejected"))
    method, rows = method_for("dpo"), [row for pair in PAIRS for row in pair]
    method.setup(tools)
    trained(tools)
    policy = slow(tools, rows, plain=False)[0].view(-1, 2)
    rewards = 0.1 * (policy - slow(tools, rows, plain=True)[0].view(-1, 2))

    values = method.loss(tools.model, method.flatten(tools.train, range(len(PAIRS)))).values

    assert values == pytest.approx(
        {
            "rewards/chosen": float(rewards[:, 0].sum()),
            "rewards/rejected": float(rewards[:, 1].sum()),
            "rewards/margins": float((rewards[:, 0] - rewards[:, 1]).sum()),
            "rewards/accuracies": float((rewards[:, 0] > rewards[:, 1]).sum()),
            "logps/chosen": float(policy[:, 0].sum()),
            "logps/rejected": float(policy[:, 1].sum()),
        },
        rel=1e-4,
        abs=1e-4,
    )


def test_orpo_is_its_formula_over_separate_rows(tiny_model: Path, folder: Path) -> None:
    tools = tools_for(tiny_model, pair_data(folder), folder, ("chosen", "rejected"))
    method, rows = method_for("orpo", beta=0.3), [row for pair in PAIRS for row in pair]
    method.setup(tools)
    trained(tools)
    sums, lengths = slow(tools, rows, plain=False)
    p = torch.exp((sums / lengths).view(-1, 2))
    odds = p / (1 - p)

    found = method.loss(tools.model, method.flatten(tools.train, range(len(PAIRS))))

    expected = -torch.log(p[:, 0]) - 0.3 * torch.log(torch.sigmoid(torch.log(odds[:, 0] / odds[:, 1])))  # fmt: skip
    assert float(found.total.detach()) == pytest.approx(float(expected.sum()), rel=1e-5)


@pytest.mark.parametrize("case", [{}, {"centering": 0.1}, {"use_margin": False}], ids=str)
def test_reward_is_its_formula_over_separate_rows(
    case: dict[str, Any], tiny_model: Path, folder: Path
) -> None:
    tools = tools_for(tiny_model, pair_data(folder), folder, ("chosen", "rejected"))
    method = method_for("reward", **case)
    method.setup(tools)
    trained(tools)
    head = method.parameters()["reward_head"].detach()
    tools.model.close()
    rewards = []
    for row in [row for pair in PAIRS for row in pair]:
        with torch.no_grad():
            hidden = tools.loaded.model.get_decoder()(torch.tensor([row[0]])).last_hidden_state
        rewards.append(float(hidden[0, -1] @ head[0]))
    tools.model.open()
    chosen, rejected = torch.tensor(rewards).view(-1, 2).unbind(1)

    found = method.loss(tools.model, method.flatten(tools.train, range(len(PAIRS))))

    margin = torch.tensor(MARGINS) * case.get("use_margin", True)
    expected = -log_sigmoid(chosen - rejected - margin)
    expected = expected + case.get("centering", 0.0) * (chosen + rejected) ** 2
    assert float(found.total.detach()) == pytest.approx(float(expected.sum()), rel=1e-5)


def test_kto_is_its_formula_over_separate_rows(tiny_model: Path, folder: Path) -> None:
    data = preference.prepared_labelled(folder / "data", ANSWERS)
    tools = tools_for(tiny_model, data, folder, ("tokens",))
    method = method_for("kto", desirable_weight=1.2, undesirable_weight=0.7, beta=0.3)
    method.setup(tools)
    trained(tools)
    rows, labels = ANSWERS
    whose = partners(tools.train.stores["tokens"])
    foreign = [_joined(rows[i], rows[j]) for i, j in enumerate(whose)]
    ratio, drift = (
        slow(tools, x, plain=False)[0] - slow(tools, x, plain=True)[0] for x in (rows, foreign)
    )
    baseline = max(0.0, float(drift.mean()))

    parts = method.gather(tools, 0, [[0, 1, 2], [3, 4, 5, 6]])
    found = [method.loss(tools.model, part) for part in parts]

    good = torch.tensor(labels) == 1
    expected = torch.where(
        good,
        1.2 * (1 - torch.sigmoid(0.3 * (ratio - baseline))),
        0.7 * (1 - torch.sigmoid(0.3 * (baseline - ratio))),
    )
    assert sum(float(f.total.detach()) for f in found) == pytest.approx(float(expected.sum()), rel=1e-5)  # fmt: skip
    assert sum(f.values["kl"] for f in found) == pytest.approx(7 * baseline, rel=1e-4)
    assert sum(f.values["rewards/chosen"] for f in found) / 7 == pytest.approx(
        float((0.3 * ratio)[good].mean()), abs=1e-4
    )


def _joined(row: preference.Row, other: preference.Row) -> preference.Row:
    first, begin = row[1].index(1), other[1].index(1)
    limit = max(len(t) for t, _ in ANSWERS[0])
    return (row[0][:first] + other[0][begin:])[:limit], (row[1][:first] + other[1][begin:])[:limit]


def test_kto_judges_a_prompt_with_answers_of_other_prompts(folder: Path) -> None:
    """Rows 2i and 2i + 1 have one prompt, as converted pairs have."""
    data = preference.prepared_labelled(folder / "data", preference.labelled(6))
    same = preference.prepared_labelled(
        folder / "same", ([([7, 8, i], [0, 0, 1]) for i in range(3)], [1.0] * 3)
    )

    found = partners(Columns(data, "train", ("tokens",)).stores["tokens"])

    assert found.tolist() == [5, 5, 1, 1, 3, 3]
    one_prompt = partners(Columns(same, "train", ("tokens",)).stores["tokens"])
    assert one_prompt.tolist() == [2, 0, 1]


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_the_table_holds_what_a_live_reference_says(
    adapter: str, tiny_model: Path, folder: Path
) -> None:
    tools = tools_for(tiny_model, pair_data(folder), folder, ("chosen", "rejected"), adapter=adapter)  # fmt: skip
    tools.keep_reference()
    method = method_for("dpo")
    method.setup(tools)
    with torch.no_grad():
        for parameter in tools.loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)

    batch = method.flatten(tools.train, [4, 1])["pairs"]
    with tools.reference() as model:
        logps, _ = model.label_log_probs(batch)

    assert float(batch.facts["reference"].sum()) == pytest.approx(float(logps.sum()), rel=1e-5)


def test_a_table_is_computed_once_and_read_back_when_whole(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.training.teaching import reference

    monkeypatch.setattr(reference, "_ROWS", 3)  # three parts
    events: list[AnyEvent] = []
    data = pair_data(folder)

    def table() -> Any:
        tools = tools_for(tiny_model, data, folder, ("chosen", "rejected"), emit=events.append)
        method = method_for("dpo")
        method.setup(tools)
        return method._tables["train"]

    first = table()
    computed = [e for e in events if isinstance(e, Progress)]
    events.clear()
    again = table()
    quiet = [e for e in events if isinstance(e, Progress)]
    parts = sorted((folder / "method").iterdir())
    (parts[1] / "table.f32.bin").write_bytes(b"torn")
    shutil.copytree(parts[0], folder / "method" / ".partial-killed")
    mended = table()

    assert [e.done for e in computed] == [3, 6, 7]
    assert computed[0].values["seconds_left"] > 0
    assert computed[-1].values["seconds_left"] == 0
    assert quiet == []
    assert [e.code for e in events if isinstance(e, Note)] == ["reference-damaged"]
    assert np.array_equal(first, again)
    assert np.array_equal(first, mended)
    assert sorted((folder / "method").iterdir()) == parts
    assert all(manifest.verify(p, "reference-table") for p in parts)


def test_another_model_is_another_table(tiny_model: Path, folder: Path) -> None:
    from tests.conftest import make_tiny_model

    other = folder / "other"
    make_tiny_model(other, seed=1)
    data, found = pair_data(folder), []

    for model in (tiny_model, other):
        tools = tools_for(model, data, folder, ("chosen", "rejected"))
        method = method_for("dpo")
        method.setup(tools)
        found.append(method._tables["train"])

    assert len(list((folder / "method").iterdir())) == 2
    assert not np.allclose(*found)


def test_a_stop_while_the_table_is_computed_keeps_its_finished_parts(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.training.teaching import reference

    monkeypatch.setattr(reference, "_ROWS", 3)
    data = pair_data(folder)

    def watch(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.done == 6:
            stop_requested.set()

    tools = tools_for(tiny_model, data, folder, ("chosen", "rejected"), emit=watch)
    with pytest.raises(Interrupted, match="after 6 of 7 rows"):
        method_for("dpo").setup(tools)

    assert [p.name[-5:] for p in (folder / "method").iterdir()] == ["00000"]


def test_lanes_and_accumulation_do_not_change_the_losses(tiny_model: Path, folder: Path) -> None:
    data = preference.prepared_pairs(folder / "data", preference.pairs(8))
    labelled = preference.prepared_labelled(folder / "labelled", preference.labelled(8))
    same = {"shuffle": False, "adapter_config": {"dropout": 0.0}}

    for method, rows in (("dpo", data), ("kto", labelled)):
        found = []
        for lanes, cut in ((1, (4, 1)), (1, (1, 4)), (2, (2, 2))):
            torch.set_num_threads(lanes)
            out = folder / f"{method}-{lanes}-{cut[0]}"
            training.run(
                tiny_model, rows, out, method=method, batch_rows=cut[0], accumulation=cut[1], **same
            )
            found.append(training_losses(out))
        assert found[1] == pytest.approx(found[0], rel=1e-5)
        assert found[2] == pytest.approx(found[0], rel=1e-5)


def training_losses(out: Path) -> list[float]:
    import json

    return [json.loads(x)["loss"] for x in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_batch_budget_counts_a_prompt_once(tiny_model: Path, folder: Path) -> None:
    columns = Columns(pair_data(folder), "train", ("chosen", "rejected"))

    found = method_for("dpo").lengths(columns)

    batch = method_for("orpo").flatten(columns, range(len(PAIRS)))["pairs"]
    assert int(found.sum()) == len(batch.tokens) < int(columns.lengths.sum())


@pytest.mark.parametrize(
    ("method", "config", "message"),
    [
        ("dpo", {"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing=0.1 has no meaning"),
        ("dpo", {"loss": "robust", "label_smoothing": 0.5}, "less than 0.5"),
        ("dpo", {"loss": "kto"}, "loss"),
        ("kto", {"beta": 0}, "greater than 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(
    method: str, config: dict[str, Any], message: str, tiny_model: Path, folder: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        training.run(
            tiny_model, pair_data(folder), folder / "run", method=method, method_config=config
        )

    assert caught.value.code == "bad-method"


def test_the_first_loss_of_dpo_is_the_logarithm_of_two(tiny_model: Path, folder: Path) -> None:
    training.run(tiny_model, pair_data(folder), folder / "run", method="dpo", adapter_config={"dropout": 0.0})  # fmt: skip

    assert training_losses(folder / "run")[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(
    ("adapter", "config"),
    [("lora", {"init": "pissa"}), ("full", {}), ("qlora", {"init": "loftq"}), ("ia3", {})],
)
def test_every_adapter_starts_as_its_own_reference(
    adapter: str, config: dict[str, Any], tiny_model: Path, folder: Path
) -> None:
    """PiSSA moves a part of the weights into the adapter; switching it off is another model."""
    more = {"dropout": 0.0} if adapter in ("lora", "qlora") else {}

    training.run(
        tiny_model, pair_data(folder), folder / "run", method="dpo", adapter=adapter,
        adapter_config=config | more, max_steps=1,
    )  # fmt: skip

    assert training_losses(folder / "run")[0] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("good", "config", "said"),
    [
        (4, {}, None),
        (6, {}, "6 good and 2 bad answers weigh 6 to 2, not 1 to 4/3 times; method.undesirable_weight=3 balances"),
        (6, {"undesirable_weight": 3.0}, None),
        (8, {}, "8 good and 0 bad answers weigh 8 to 0, not 1 to 4/3 times"),
    ],
)  # fmt: skip
def test_kto_says_when_one_side_outweighs_the_other(
    good: int, config: dict[str, float], said: str | None, tiny_model: Path, folder: Path
) -> None:
    rows, labels = preference.labelled(8)[0], [float(i < good) for i in range(8)]
    data = preference.prepared_labelled(folder / "data", (rows, labels))
    events: list[AnyEvent] = []

    method_for("kto", **config).setup(
        tools_for(tiny_model, data, folder, ("tokens",), emit=events.append)
    )

    notes = [e.message for e in events if isinstance(e, Note) and e.code == "unbalanced-labels"]
    assert [n[: len(said)] for n in notes] == [said] if said else notes == []
