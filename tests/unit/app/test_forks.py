"""A fork goes on from its step: same settings give the same bytes, other ones count from that step on."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import stead
from stead.app import run_control
from stead.app.accounts import Accounts
from stead.app.identity import Who
from stead.app.orders import Orders
from stead.app.platform import Platform
from stead.core.errors import ConfigError, NotFound, SteadError
from stead.core.events import AnyEvent, Note
from stead.core.paths import Home
from stead.pipeline import stages
from stead.planning.plan import Plan
from stead.store.runs import Run


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fork")
    rows = [{"question": f"what is {i} plus {i}?", "answer": f"it is {2 * i}"} for i in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stead.train(
        model=tiny_model, data=folder / "rows.jsonl", out=folder / "run", max_steps=8, epochs=99, dtype="fp32",
        **{"trainer.checkpoint_every": 2, "trainer.trackers": [], "trainer.keep": 9, "trainer.lr": 5e-3},
    )  # fmt: skip
    return folder / "run"


def weights(folder: Path) -> bytes:
    return (folder / "final" / "adapter_model.safetensors").read_bytes()


def test_a_fork_that_changes_nothing_ends_with_the_same_bytes(trained: Path, tmp_path: Path) -> None:  # fmt: skip
    out = tmp_path / "same"

    found = stead.fork(trained, step=4, out=out)

    assert weights(out) == weights(trained)
    assert (out / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()
    assert found.meta["resume_level"] == "exact"


def test_changed_settings_count_from_the_step_on_and_are_told(trained: Path, tmp_path: Path) -> None:  # fmt: skip
    out, told = tmp_path / "still", list[AnyEvent]()

    found = stead.fork(trained, step=4, out=out, lr=0.0, name="still", emit=told.append)

    lines = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
    former = [json.loads(x) for x in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[:4] == former[:4]
    assert [x["lr"] for x in lines[4:]] == [0.0] * 4
    assert weights(out) != weights(trained)
    notes = {e.code: e.message for e in told if isinstance(e, Note)}
    assert notes["forked"] == "a fork of run after step 4; changed: trainer.lr 0.005 → 0.0"
    assert found.meta["resume_level"] == "best-effort"
    lineage = json.loads((out / "final" / "stead.json").read_text())["lineage"]
    assert lineage["fork"] == {"run": "run", "step": 4, "changes": {"trainer.lr": [0.005, 0.0]}}


@pytest.mark.parametrize(
    ("step", "options", "code"),
    [
        (3, {}, "no-checkpoint"),
        (4, {"adapter.r": 2}, "fork-other-tensors"),
        (4, {"trainer.optimizer": "sgd"}, "fork-other-tensors"),
        (6, {"max_steps": 6}, "fork-at-end"),
    ],
)
def test_what_cannot_go_on_is_refused_before_anything_is_written(
    trained: Path, tmp_path: Path, step: int, options: dict[str, Any], code: str
) -> None:
    with pytest.raises((ConfigError, NotFound)) as caught:
        stead.fork(trained, step=step, out=tmp_path / "none", **options)

    assert isinstance(caught.value, SteadError)
    assert caught.value.code == code
    assert not (tmp_path / "none").exists()


def test_the_platform_queues_a_fork_that_goes_on(trained: Path, home: Home) -> None:
    accounts = Accounts.open(home.ensure())
    try:
        platform = Platform.of(home, accounts)
        row = Run("r", "run", "succeeded", "sft", "lora", "m", "d", str(trained), 1.0, tags=["t"])
        platform.stores.runs.add(row)
        orders = Orders(platform, Who("owner", "owner", "admin", "none"))

        job = orders.fork(row, run_control.recipe(trained), name="again", step=4)

        made = platform.stores.runs.get(str(job.run))
        assert (made.name, made.parent, made.tags) == ("again", "r", ["t"])
        stages.run(Plan.from_json(job.spec["plan"]), resume=job.spec["resume"])
        assert weights(Path(made.out)) == weights(trained)
    finally:
        asyncio.run(accounts.close())
