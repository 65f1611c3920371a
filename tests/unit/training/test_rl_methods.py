"""Methods that learn from their own answers: exact resume, cutting, bad input, first-pass ratios."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import rl

from stead.config.run import DataSection
from stead.core.errors import ConfigError, Interrupted, SteadError
from stead.core.events import AnyEvent, Note
from stead.core.process import stop_requested
from stead.data.pack import TokenStore
from stead.data.prepare import prepare
from stead.models.writing import rollout
from stead.training.rl.rollout_prompts import Prompts
from stead.values import PreparedData

DROPOUT = {"adapter_config": {"dropout": 0.1}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {"beta": 0.04}),
    "grpo-twice": ("grpo", {"beta": 0.04, "num_iterations": 2}),
    "dapo": ("grpo", {"dynamic_sampling": 1, "epsilon_high": 0.28, "steps_per_generation": 2}),
    "rloo": ("rloo", {}),
    "rloo-twice": ("rloo", {"num_iterations": 2}),
    "ppo": ("ppo", {"num_iterations": 1, "num_generations": 2}),
    "ppo-twice": ("ppo", {"num_iterations": 2, "num_generations": 2}),
}
STEPS = 5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return rl.rows(tmp_path_factory.mktemp("rl"), tiny_model)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if getattr(event, "done", None) == step:
            stop_requested.set()

    return watch


@pytest.mark.parametrize("case", CASES)
def test_stopped_after_every_step_ends_with_the_same_bytes(
    case: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    name, more = CASES[case]
    settings = {"method_config": rl.config(**more), "max_steps": STEPS, **DROPOUT}
    whole = rl.run(tiny_model, data, tmp_path / "whole", name, **settings)
    out = tmp_path / "stopped"

    for step in range(1, STEPS):
        with pytest.raises(Interrupted):
            rl.run(tiny_model, data, out, name, resume=step > 1, emit=stop_after(step), **settings)
        stop_requested.clear()
    last = rl.run(tiny_model, data, out, name, resume=True, **settings)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert (out / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    assert last["resume_level"] == "exact"


@pytest.mark.parametrize("case", ["grpo", "dapo", "ppo-twice"])
def test_a_stop_while_answers_are_written_saves_the_last_step(
    case: str, tiny_model: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a run's time goes into writing: a stop in it must not cost what was learnt before."""
    name, more = CASES[case]
    settings = {"method_config": rl.config(**more), "max_steps": STEPS, **DROPOUT}
    whole = rl.run(tiny_model, data, tmp_path / "whole", name, **settings)
    out, real, steps = tmp_path / "stopped", rollout.write, []

    def write(*args: Any, **named: Any) -> Any:
        steps.append(len(log(out)) if (out / "metrics.jsonl").exists() else 0)
        if steps[-1] >= 2:  # ends at the first token that asks
            stop_requested.set()
        return real(*args, **named)

    monkeypatch.setattr(rollout, "write", write)
    with pytest.raises(Interrupted) as stopped:
        rl.run(tiny_model, data, out, name, checkpoint_every=1000, **settings)
    monkeypatch.undo()
    stop_requested.clear()

    assert stopped.value.details["step"] == steps[-1] >= 2
    assert [p.name for p in (out / "checkpoints").iterdir()] == [f"step-{steps[-1]:08d}"]
    last = rl.run(tiny_model, data, out, name, resume=True, checkpoint_every=1000, **settings)
    assert last["weights_sha256"] == whole["weights_sha256"]
    assert (out / "metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


def test_a_stop_while_held_out_prompts_are_answered_waits_for_the_answers(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the step's measurement would be missing after it is taken up again."""
    data, real = rl.rows(tmp_path / "rows", tiny_model, 10, 0.3), rollout.write

    def write(loaded: Any, prompts: Any, each: Any, *args: Any, **named: Any) -> Any:
        if all(len(seeds) == 1 for seeds in each):
            stop_requested.set()
        return real(loaded, prompts, each, *args, **named)

    monkeypatch.setattr(rollout, "write", write)
    with pytest.raises(Interrupted) as stopped:
        rl.run(tiny_model, data, tmp_path / "run", "grpo", max_steps=STEPS, eval_every=2)

    assert stopped.value.details["step"] == 2
    assert (tmp_path / "run/checkpoints/step-00000002").is_dir()


def test_what_is_written_depends_on_the_seed(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """The equality above would be empty otherwise."""
    found = {
        rl.run(tiny_model, data, tmp_path / str(s), "grpo", seed=s, max_steps=1)["weights_sha256"]
        for s in (1, 2)
    }

    assert len(found) == 2


# Later parts of a generation that serves several steps meet weights that have moved.
FRESH = [name for name, (_, more) in CASES.items() if not more.get("steps_per_generation")]


@pytest.mark.parametrize("case", FRESH)
def test_ratios_of_the_first_pass_are_exactly_1(
    case: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    name, more = CASES[case]
    rl.run(
        tiny_model, data, tmp_path, name, method_config=rl.config(**more), max_steps=3, **DROPOUT
    )
    repeat = more.get("num_iterations", 1)

    for line in log(tmp_path):
        first = (line["step"] - 1) % repeat == 0
        assert (line["ratio"] == 1.0 and line["clip_fraction"] == 0.0) == first


@pytest.mark.parametrize("name", ["grpo", "rloo", "ppo"])
def test_the_sampler_agrees_with_the_trainer(
    name: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """Without dropout the first pass has the very log-probabilities that were drawn from."""
    more = {"num_iterations": 1, "num_generations": 2}
    rl.run(tiny_model, data, tmp_path, name, method_config=rl.config(**more),
           adapter_config={"dropout": 0.0})  # fmt: skip

    gaps = [line["sampler_gap"] for line in log(tmp_path)]

    assert len(gaps) == 4
    assert max(gaps) < 1e-5


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo", "bnpo"])
def test_small_micro_batches_give_the_same_run(
    loss_type: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    found = []
    for budget in (4096, 30):
        more = {"loss_type": loss_type, "beta": 0.1, "micro_batch_tokens": budget}
        out = tmp_path / str(budget)
        rl.run(tiny_model, data, out, "grpo", method_config=rl.config(**more), max_steps=2,
               adapter_config={"dropout": 0.0})  # fmt: skip
        found.append([(x["loss"], x["grad_norm"], x["kl"], x["entropy"]) for x in log(out)])

    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)  # float32 sums in another order


def test_answers_cut_at_the_limit_can_be_left_out(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """All answers of the tiny model are cut at 6 tokens, so nothing is left to learn from."""
    more = {"mask_truncated_completions": True}

    rl.run(tiny_model, data, tmp_path, "grpo", method_config=rl.config(**more), max_steps=2)

    assert [line["grad_norm"] for line in log(tmp_path)] == [0.0, 0.0]


def test_groups_without_a_difference_are_replaced(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """A reward that knows only one prompt is flat for the others, until that one is drawn."""
    notes: list[AnyEvent] = []
    settings = rl.config(rewards=[{"function": "tests.fakes.rl:only_level_0"}], dynamic_sampling=3)

    rl.run(
        tiny_model, data, tmp_path, "grpo", method_config=settings, max_steps=6, emit=notes.append
    )

    flat = [line["flat_groups"] for line in log(tmp_path)]
    assert min(flat) < 1
    told = [n for n in notes if isinstance(n, Note) and n.code == "flat-rewards"]
    assert len(told) == flat.count(1.0)


def test_the_log_has_what_a_person_watches(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    rewards = [{"function": "tests.fakes.rl:vowels"}, {"scorer": "contains", "weight": 0.5}]
    more = rl.config(rewards=rewards, beta=0.1)

    rl.run(tiny_model, data, tmp_path, "grpo", method_config=more, max_steps=1)

    line = log(tmp_path)[0]
    for key in (
        "reward",
        "reward_std",
        "kl",
        "entropy",
        "clip_fraction",
        "completion_length",
        "truncated",
    ):
        assert key in line
    assert line["reward"] == pytest.approx(line["rewards/vowels"] + 0.5 * line["rewards/contains"])
    assert line["truncated"] == 1.0
    assert line["completion_length"] == 6.0


def test_long_prompts_lose_their_beginning_and_that_is_told_once(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    notes: list[AnyEvent] = []

    rl.run(tiny_model, data, tmp_path, "grpo", method_config=rl.config(max_prompt_length=5),
           max_steps=2, emit=notes.append)  # fmt: skip

    told = [n for n in notes if isinstance(n, Note) and n.code == "prompt-cut"]
    assert len(told) == 1
    assert "5 tokens" in told[0].message


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"rewards": []}, "no-rewards"),
        ({"rewards": ["exact_match", "exact_match"]}, "same-reward"),
        ({"rewards": [{"function": "tests.fakes.rl"}]}, "bad-function-name"),
        ({"rewards": [{"function": "tests.fakes.rl:nowhere"}]}, "unknown-function"),
        ({"rewards": ["no_such_scorer"]}, "unknown-scorer"),
        ({"rewards": ["perplexity"]}, "reward-scorer"),
        ({"max_completion_length": 256}, "no-room-for-prompt"),
    ],
)
def test_bad_settings_are_refused_before_a_step(
    settings: dict[str, Any], code: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as found:
        rl.run(tiny_model, data, tmp_path, "grpo", method_config=rl.config(**settings))

    assert found.value.code == code


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        ("raises", "reward-raised", "ZeroDivisionError"),
        ("not_a_number", "reward-not-finite", "rows.jsonl"),
        ("too_few", "reward-length", "2 numbers for 8"),
        ("wants_a_column", "reward-column", "nowhere"),
    ],
)
def test_a_reward_that_fails_stops_the_run_and_is_named(
    function: str, code: str, words: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    settings = rl.config(rewards=[{"function": f"tests.fakes.rl:{function}"}])

    with pytest.raises(SteadError, match=words) as found:
        rl.run(tiny_model, data, tmp_path, "grpo", method_config=settings)

    assert found.value.code == code
    assert repr(function) in found.value.message


def test_rows_without_an_answer_are_prompts(tiny_model: Path, tmp_path: Path) -> None:
    """A lone column of questions, or of turns; chats that end with the user's when they are called so."""
    for name, row in {
        "column": {"prompt": "what is two plus two"},
        "turns": {"prompt": [{"role": "user", "content": "what is two"}]},
        "chat": {"messages": [{"role": "user", "content": "what is two"}]},
    }.items():
        source = tmp_path / f"{name}.jsonl"
        source.write_text("".join(json.dumps(row | {"level": i}) + "\n" for i in range(3)))
        found = prepare(
            DataSection(path=str(source), eval_share=0.0, dedupe=False, format="prompts" if name == "chat" else "auto"),
            tiny_model, tmp_path / name, kind_wanted="prompts",
        )  # fmt: skip
        settings = rl.config(rewards=[{"function": "tests.fakes.rl:only_level_0"}])

        rl.run(
            tiny_model, found, tmp_path / f"{name}-run", "grpo", method_config=settings, max_steps=1
        )

        assert found.kind == "prompts"
        assert found.splits["train"] == 3


def test_the_prompt_ends_where_the_answer_begins(tiny_model: Path, tmp_path: Path) -> None:
    """What is written continues exactly what supervised training would have put before an answer."""
    data = rl.rows(tmp_path, tiny_model, 1)
    prompts = Prompts(tiny_model, data, "train", 256, lambda *_: None)
    whole = prepare(
        DataSection(path=str(tmp_path / "rows.jsonl"), eval_share=0.0), tiny_model,
        tmp_path / "whole", kind_wanted="messages",
    )  # fmt: skip
    store = TokenStore.open(whole, "train")
    first = int(store.mask(0).argmax())

    assert prompts[0].ids == store.tokens(0)[:first].tolist()
    assert prompts[0].ids == TokenStore.open(data, "train").tokens(0).tolist()
    assert prompts[0].reference == "four 0"


def test_held_out_rewards_are_told_and_change_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """Each evaluation draws the same numbers, so rewards differ by the weights alone."""
    split = rl.rows(tmp_path / "data", tiny_model, 12, eval_share=0.3)
    told: dict[int, float] = {}

    def listen(event: AnyEvent) -> None:
        values = getattr(event, "values", {})
        if "eval_reward" in values:
            told[event.done] = values["eval_reward"]
            assert values["eval_rewards/vowels"] == values["eval_reward"]

    more = {"lr": 0.05, "max_steps": 4}
    seen = rl.run(tiny_model, split, tmp_path / "seen", "grpo", eval_every=1, emit=listen, **more)
    blind = rl.run(tiny_model, split, tmp_path / "blind", "grpo", **more)
    best = rl.run(
        tiny_model, split, tmp_path / "best", "grpo", eval_every=1, keep_best=True, **more
    )

    assert sorted(told) == [1, 2, 3]  # the last weights are judged after the last progress event
    assert len(set(told.values())) > 1
    assert seen["weights_sha256"] == blind["weights_sha256"]
    assert seen["eval_reward"] == blind["eval_reward"]
    assert seen["eval_loss"] is None
    assert best["eval_reward"] == max(*told.values(), seen["eval_reward"])
