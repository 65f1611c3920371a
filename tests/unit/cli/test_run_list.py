"""Runs on a narrow terminal: whole words, whole numbers, the id and the state above all."""

import re

import pytest

from stead.app.run_folders import RunSummary
from stead.cli import run_view

RUN = RunSummary(
    id="20261121-202046-train-436b54", path="/runs/x", name="early", state="interrupted",
    reason="stopped", step=131, total=1740, loss=6.74541, eval_loss=6.5, tokens_per_s=1.0,
    seconds_left=None, started=1.0e9, method="sft", adapter="lora", model="base",
)  # fmt: skip


def shown(width: int, capsys: pytest.CaptureFixture[str], env: pytest.MonkeyPatch) -> list[str]:
    env.setenv("FORCE_COLOR", "1")  # as on a terminal
    env.setenv("COLUMNS", str(width))
    run_view.show_list([RUN])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    return [re.sub(r"  +", "|", line.strip()) for line in plain.splitlines()]


def test_a_narrow_list_has_fewer_columns_and_breaks_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow, wide = (shown(width, capsys, monkeypatch) for width in (80, 140))

    assert narrow == [
        "id|name|state|step|loss|held out",
        "20261121-202046-train-436b54|early|interrupted|131/1740|6.7454|6.5000",
    ]
    assert wide[0] == "id|name|state|step|loss|held out|method|adapter|started"


def test_a_stopped_run_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    run_view.show_summary(RUN)

    assert capsys.readouterr().out.splitlines()[-1] == "next:  stead runs resume /runs/x"
