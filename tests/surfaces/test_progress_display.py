"""What a terminal shows of a download, a training, an evaluation and a conversion."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes import training

from stead.cli import console
from stead.core.events import AnyEvent, Emit, Progress, Started
from stead.hub.bars import bars

Work = Callable[[Path, Path, Emit], object]


def download(model: Path, folder: Path, emit: Emit) -> None:
    """Feed the bar that Hugging Face's library is given, as it feeds it."""
    with bars(emit, 100, "model.safetensors")(unit="B", total=100) as bar:
        for _ in range(4):
            bar.update(25)


def train(model: Path, folder: Path, emit: Emit) -> None:
    data = training.prepared(folder / "data", training.rows(8), training.rows(2, seed=9))
    training.run(model, data, folder / "run", emit=emit, eval_every=2)


def evaluate(model: Path, folder: Path, emit: Emit) -> None:
    from stead.models.load import load_model
    from stead.models.writing.likelihood import score

    score(load_model(model, dtype="fp32", device="cpu"), [[5, 6, 7], [8, 9, 10]], emit=emit)


def convert(model: Path, folder: Path, emit: Emit) -> None:
    from stead.exporting.formats.gguf import GGUF
    from stead.exporting.source import Source

    GGUF().export(Source.open(model), folder / "x.gguf", quant="f32", emit=emit)


@pytest.mark.spec("001-014")
@pytest.mark.parametrize(
    ("work", "stage"),
    [(download, "download"), (train, "train"), (evaluate, "score"), (convert, "gguf")],
)
def test_every_long_work_shows_how_far_it_is(
    work: Work, stage: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[AnyEvent] = []
    shown = console._Bars()  # what a terminal gets; a captured stream shows its last picture

    with shown.bars:
        work(tiny_model, tmp_path, lambda event: (told.append(event), shown(event))[0])

    total = next(e.total for e in told if isinstance(e, Started) and e.stage == stage)
    done = [e.done for e in told if isinstance(e, Progress) and e.stage == stage]
    screen = capsys.readouterr().err
    assert done == sorted(done)
    assert done[-1] == total
    assert stage in screen
    assert f"{total}/{total}" in screen


def test_a_training_shows_what_a_person_watches(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = console._Bars()

    with shown.bars:
        train(tiny_model, tmp_path, shown)

    screen = capsys.readouterr().err
    for word in ("loss", "held out", "lr", "grad", "tok/s", "MiB", "left"):
        assert word in screen


SEEN = Progress(
    stage="train", done=3,
    values={"loss": 6.9, "eval_loss": 6.8, "lr": 2e-4, "grad_norm": 1.4, "tokens_per_s": 3495.0,
            "ceiling_share": 0.013, "peak_rss_mib": 623.0},
)  # fmt: skip


def test_a_narrow_terminal_breaks_no_measurement(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = console._Bars()

    with shown.bars:
        shown(Started(stage="train", total=9))
        shown(SEEN)

    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert "loss 6.9000  held out 6.8000  lr 2.00e-04  grad 1.4  3,495 tok/s" in lines
    assert "1.3% of ceiling  memory 623 MiB" in lines


def test_a_log_says_twice_a_minute_how_far_a_training_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    shown = console._Plain(clock=lambda: now[0])
    shown(Started(stage="train", total=120))

    for done in range(1, 121):  # one step a second
        now[0] = float(done)
        shown(Progress(stage="train", done=done, values={"loss": 1.0}))

    assert capsys.readouterr().err.splitlines() == [
        "train: started (120 steps)",
        "train: 30/120  0:01:30 left  loss 1.0000",
        "train: 60/120  0:01:00 left  loss 1.0000",
        "train: 90/120  0:00:30 left  loss 1.0000",
        "train: 120/120  0:00:00 left  loss 1.0000",
    ]
