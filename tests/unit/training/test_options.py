"""Options of the loop: what each changes, and that a stopped run still ends with the same bytes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tests.fakes import training
from torch.nn import functional

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.core.errors import Interrupted
from stead.core.events import AnyEvent, Note, Progress, Saved
from stead.core.process import stop_requested
from stead.models import checkpoint
from stead.models.checkpoint import State
from stead.models.layers.lowrank import Draw
from stead.models.layers.noise import noisy
from stead.models.learner import Learner, LearnerOptions
from stead.models.load import load_model
from stead.training.callback import Run, StepOutcome
from stead.training.callbacks.best import KeepBest
from stead.training.watching.best_weights import BestWeights
from stead.values import PreparedData

STEPS = 8
EVERYTHING = {
    "label_smoothing": 0.1, "neftune_alpha": 5.0, "ema": 0.9, "keep_best": True, "patience": 3,
    "eval_every": 2, "schedule": "wsd", "adapter_config": {"dropout": 0.1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    made = training.rows(16)
    return training.prepared(
        tmp_path_factory.mktemp("data") / "rows", made, training.rows(3, seed=9)
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(out / "final" / "adapter_model.safetensors")
    return found


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return all(torch.equal(first[n], second[n]) for n in first)


def run(tiny_model: Path, data: PreparedData, out: Path, **more: Any) -> dict[str, Any]:
    return training.run(tiny_model, data, out, **{"max_steps": STEPS, "epochs": 9.0, **more})


def stopped(tiny_model: Path, data: PreparedData, out: Path, *steps: int, **more: Any) -> Any:
    """Run with a stop after each of `steps`, then to the end."""
    for i, step in enumerate(steps):

        def watch(event: AnyEvent, step: int = step) -> None:
            if isinstance(event, Progress) and event.done == step:
                stop_requested.set()

        with pytest.raises(Interrupted):
            run(tiny_model, data, out, resume=i > 0, emit=watch, **more)
        stop_requested.clear()
    return run(tiny_model, data, out, resume=True, **more)


def test_all_options_together_resume_exactly(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    whole = run(tiny_model, data, tmp_path / "whole", **EVERYTHING)

    last = stopped(tiny_model, data, tmp_path / "stopped", 1, 4, 7, **EVERYTHING)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["eval_loss"] == whole["eval_loss"]
    log, expected = (tmp_path / n / "metrics.jsonl" for n in ("stopped", "whole"))
    assert log.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("name", registry("optimizer").names())
def test_every_optimizer_resumes_exactly(
    name: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    own = {"optimizer": name, "adapter": "full", "lr": 1e-3, "max_steps": 5}
    whole = run(tiny_model, data, tmp_path / "whole", **own)

    last = stopped(tiny_model, data, tmp_path / "stopped", 3, **own)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["final_loss"] < 7


def test_each_option_changes_the_result(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    options: dict[str, dict[str, Any]] = {
        "plain": {}, "smoothing": {"label_smoothing": 0.2}, "noise": {"neftune_alpha": 5.0},
        "ema": {"ema": 0.5}, "floor": {"lr_floor": 0.5}, "shape": {"schedule": "linear"},
        "lion": {"optimizer": "lion"}, "betas": {"betas": (0.5, 0.9)},
        "sgd": {"optimizer": "sgd"}, "momentum": {"optimizer": "sgd", "momentum": 0.2},
        "wsd": {"schedule": "wsd"}, "share": {"schedule": "wsd", "decay_share": 0.5},
        "power": {"schedule": "polynomial", "power": 3.0},
        "restarts": {"schedule": "cosine_restarts", "cycles": 2},
    }  # fmt: skip

    hashes = {n: run(tiny_model, data, tmp_path / n, max_steps=4, **o)["weights_sha256"] for n, o in options.items()}  # fmt: skip

    assert len(set(hashes.values())) == len(options)


def test_a_rate_of_zero_leaves_the_weights_alone(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    run(tiny_model, data, tmp_path / "zero", lr=0.0, max_steps=1)
    run(tiny_model, data, tmp_path / "more", lr=0.0, max_steps=4)
    run(tiny_model, data, tmp_path / "some", lr=1e-3, max_steps=4)

    assert same(tmp_path / "zero", tmp_path / "more")
    assert not same(tmp_path / "zero", tmp_path / "some")


def flat(lengths: tuple[int, ...]) -> Any:
    class Batch:
        tokens = torch.arange(5, 5 + sum(lengths))
        labels = torch.arange(6, 6 + sum(lengths))
        positions = torch.cat([torch.arange(n) for n in lengths])
        starts = torch.tensor([0, *lengths]).cumsum(0)

    return Batch()


def test_label_smoothing_is_torchs_and_for_training_only(tiny_model: Path) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    batch = flat((7, 5))
    learner = Learner(loaded, LearnerOptions(chunk=5, label_smoothing=0.3))

    with torch.no_grad():
        logits = learner.logits(learner.hidden(batch))
        loaded.model.train()
        smoothed, count = learner.label_loss(batch)
        loaded.model.eval()
        plain, _ = learner.label_loss(batch)

    target = batch.labels
    expected = functional.cross_entropy(logits, target, label_smoothing=0.3, reduction="sum")
    # float32 sums over 320 words, in chunks
    assert float(smoothed) == pytest.approx(float(expected), rel=1e-6)
    assert float(plain) == pytest.approx(
        float(functional.cross_entropy(logits, target, reduction="sum")), rel=1e-6
    )
    assert count == 12


def test_noise_has_the_papers_size_and_comes_from_its_counter() -> None:
    """arXiv:2310.05914, algorithm 1: uniform in ±α/√(L·E), per row."""
    lengths, width, alpha = (6, 30), 64, 5.0
    batch = flat(lengths)
    starts = (0, 6, 36)
    plain = torch.zeros(36, width)

    first = noisy(plain, batch.positions, starts, alpha, Draw(1, 2, True))
    again = noisy(plain, batch.positions, starts, alpha, Draw(1, 2, True))
    other = noisy(plain, batch.positions, starts, alpha, Draw(1, 3, True))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for a, b in ((0, 6), (6, 36)):
        bound = alpha / math.sqrt((b - a) * width)
        assert float(first[a:b].abs().max()) <= bound
        # a uniform distribution's deviation is its bound over √3; 384 draws and more
        assert float(first[a:b].std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_noise_is_only_there_while_learning(tiny_model: Path) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    learner, batch = Learner(loaded, LearnerOptions(neftune_alpha=5.0)), flat((8,))

    quiet = float(learner.label_loss(batch)[0].detach())
    with learner.draw(1, 1, active=False):
        inactive = float(learner.label_loss(batch)[0].detach())
    with learner.draw(1, 1):
        noised = float(learner.label_loss(batch)[0].detach())

    assert quiet == inactive
    assert noised != quiet


def test_a_run_that_no_longer_improves_is_ended(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    events: list[AnyEvent] = []
    own = {"lr": 1e-9, "warmup": 0.0, "eval_every": 1, "patience": 2, "min_delta": 0.01}

    result = run(tiny_model, data, tmp_path / "a", emit=events.append, **own)
    patient = run(tiny_model, data, tmp_path / "b", **{**own, "patience": 8})  # fmt: skip

    assert result["steps"] == 3  # the first loss is the best, then two that are no better
    assert "stopped early after step 3 of 8" in result["stopped"]
    assert [e.code for e in events if isinstance(e, Note)] == ["stopped-early"]
    assert patient["steps"] == STEPS
    assert "stopped" not in patient


def test_early_stopping_is_the_same_after_a_resume(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    own = {"lr": 1e-9, "warmup": 0.0, "eval_every": 1, "patience": 3, "min_delta": 0.01}

    result = stopped(tiny_model, data, tmp_path, 2, **own)

    assert result["steps"] == 4


def test_a_run_that_had_ended_early_and_was_killed_before_it_was_written_is_not_trained_on(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """The checkpoint of the very step that ended the run says so too."""
    own = {"lr": 1e-9, "warmup": 0.0, "eval_every": 1, "patience": 2, "min_delta": 0.01}
    own |= {"checkpoint_every": 3}
    whole = run(tiny_model, data, tmp_path / "whole", **own)

    def die(event: AnyEvent) -> None:
        if isinstance(event, Saved) and event.path.endswith("step-00000003"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, data, tmp_path / "killed", emit=die, **own)
    last = run(tiny_model, data, tmp_path / "killed", resume=True, **own)

    assert whole["steps"] == last["steps"] == 3
    assert last["stopped"] == whole["stopped"]
    assert last["eval_loss"] == whole["eval_loss"]
    assert last["weights_sha256"] == whole["weights_sha256"]
    logs = [(tmp_path / n / "metrics.jsonl").read_bytes() for n in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_the_best_weights_are_written_and_their_loss_told(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """The rate is far too high at the end, so the best weights are not the last."""
    own = {"lr": 0.3, "warmup": 7, "schedule": "constant", "eval_every": 1}
    events: list[AnyEvent] = []

    result = run(tiny_model, data, tmp_path / "best", keep_best=True, emit=events.append, **own)
    last = run(tiny_model, data, tmp_path / "last", **own)
    short = run(tiny_model, data, tmp_path / "short", **own, max_steps=result["best_step"])

    losses = [e.values["eval_loss"] for e in events if isinstance(e, Progress) and "eval_loss" in e.values]  # fmt: skip
    assert result["best_step"] < STEPS
    assert result["eval_loss"] == min([*losses, last["eval_loss"]]) < last["eval_loss"]
    assert result["weights_sha256"] == short["weights_sha256"]
    kept = sorted(p.name for p in (tmp_path / "best" / "best").iterdir())
    assert kept[-1] == f"step-{result['best_step']:08d}"
    assert len(kept) <= 2


def test_the_best_weights_of_every_checkpoint_stay_as_long_as_it_does(tmp_path: Path) -> None:
    """A run killed after a better step must still find what its last checkpoint calls the best."""
    checkpoints, weights = tmp_path / "checkpoints", {"w": torch.zeros(2)}
    kept = BestWeights(tmp_path / "best", lambda: weights, checkpoints)
    best = KeepBest(kept)
    run = Run(total=9, emit=lambda event: None, save=lambda: None, evaluate=lambda: None)

    for step, loss in enumerate((5.0, 4.0, 3.0, 2.0, 1.0), start=1):
        run.step = run.measured = step
        run.held_out = loss
        best.after_step(run, StepOutcome(loss, 1.0, 0.1, 1, 1.0))
        if step in (2, 3):
            saved = State({}, {"callbacks": {"best": best.state()}})
            checkpoint.save(checkpoints, step, saved, lambda event: None)
    before = sorted(p.name for p in (tmp_path / "best").iterdir())
    resumed = KeepBest(kept)
    resumed.restore({"loss": 4.0, "step": 2})

    assert before == ["step-00000002", "step-00000003", "step-00000005"]
    assert [p.name for p in (tmp_path / "best").iterdir()] == ["step-00000002"]
    assert resumed.weights() is not None


def test_weights_of_steps_that_are_done_again_are_no_best_ones(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    own = {"keep_best": True, "eval_every": 1, "checkpoint_every": 3}
    whole = run(tiny_model, data, tmp_path / "whole", **own)
    out = tmp_path / "killed"
    kept: list[str] = []

    def die(event: AnyEvent) -> None:
        if isinstance(event, Progress) and event.done == 5:
            kept.extend(p.name for p in (out / "best").iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, data, out, emit=die, **own)
    last = run(tiny_model, data, out, resume=True, **own)

    assert "step-00000005" in kept
    assert last["weights_sha256"] == whole["weights_sha256"]


def test_the_mean_of_the_weights_is_evaluated_and_written(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    own = {"adapter": "full", "lr": 1e-3, "max_steps": 3, "checkpoint_every": 1, "keep": 9}
    result = run(tiny_model, data, tmp_path / "mean", ema=0.5, **own)
    checkpoints = tmp_path / "mean" / "checkpoints"

    steps = [load_file(checkpoints / f"step-0000000{i}" / "model.safetensors") for i in (1, 2)]
    means = [load_file(checkpoints / f"step-0000000{i}" / "extra.safetensors") for i in (1, 2)]
    name = "model.layers.0.mlp.up_proj.weight"
    plain = run(tiny_model, data, tmp_path / "plain", **own)

    # after step 2 the decay is min(0.5, 3/12)
    expected = means[0][f"callback.ema/{name}"].lerp(steps[1][name], 0.75)
    torch.testing.assert_close(means[1][f"callback.ema/{name}"], expected, rtol=1e-6, atol=1e-8)
    assert result["eval_loss"] != plain["eval_loss"]
    assert result["weights_sha256"] != plain["weights_sha256"]
    loss = json.loads((tmp_path / "mean" / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
    assert loss == plain["final_loss"]  # the weights that learn are the same


def test_label_smoothing_is_refused_where_it_would_be_left_out() -> None:
    trainer = {"label_smoothing": 0.1}

    with pytest.raises(ValidationError, match="method='dpo' would leave it out"):
        RunConfig.model_validate({"method": "dpo", "trainer": trainer})

    assert RunConfig.model_validate({"method": "sft", "trainer": trainer}).trainer.label_smoothing == 0.1  # fmt: skip


def test_what_looks_at_losses_needs_losses_to_look_at() -> None:
    for asked in ({"patience": 2}, {"keep_best": True}):
        with pytest.raises(ValidationError, match=r"trainer.eval_every is not set"):
            RunConfig.model_validate({"trainer": asked})
