"""The promise tool: states from outcomes, totals, unknown marks, and the plugin that records them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import spec  # noqa: E402


def test_every_promise_of_the_list_has_id_class_capability_and_text() -> None:
    known = spec.promises()

    assert len(known) == 397
    assert {p.kind for p in known.values()} == {"core", "planned", "wording"}
    assert all(p.text and p.capability for p in known.values())


def test_a_promise_is_shown_only_when_none_of_its_tests_failed() -> None:
    tests = {
        "a": {"ids": ["000-001", "000-002"], "outcome": "passed"},
        "b": {"ids": ["000-002"], "outcome": "failed"},
        "c": {"ids": ["000-003"], "outcome": "skipped"},
        "d": {"ids": ["000-001"], "outcome": "skipped"},
    }

    assert spec.by_promise(tests) == {
        "000-001": "shown", "000-002": "failed", "000-003": "not-run",
    }  # fmt: skip


def test_the_summary_counts_by_capability_and_finds_unknown_marks() -> None:
    known = {
        "000-001": spec.Promise("000-001", "core", "A", "x"),
        "000-002": spec.Promise("000-002", "core", "A", "y"),
    }

    found = spec.summary(known, {"000-001": "shown", "999-999": "shown"})

    assert found["capabilities"] == {"A": {"promises": 2, "shown": 1}}
    assert (found["without"], found["unknown"]) == (["000-002"], ["999-999"])


@pytest.mark.parametrize(("outcome", "status"), [("passed", 0), ("failed", 1)])
def test_the_exit_status_says_whether_a_promise_is_broken(
    tmp_path: Path, outcome: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "spec.json"
    results.write_text(json.dumps({"t": {"ids": ["000-083"], "outcome": outcome}}))

    assert spec.main(["--json", "--results", str(results)]) == status
    assert json.loads(capsys.readouterr().out)["promises"] == 397


def test_totals_name_only_promises_whose_test_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "spec.json"
    tests = {"t": {"ids": ["000-083"], "outcome": "failed"}, "u": {"ids": ["001-009"], "outcome": "passed"}}  # fmt: skip
    results.write_text(json.dumps(tests))

    spec.main(["--totals", "--results", str(results)])

    said = capsys.readouterr().out
    assert "! 000-083" in said
    assert "001-009" not in said
    assert "1 of 397  in all" in said


def test_the_plugin_records_marked_tests_also_under_xdist(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers = spec(*ids): x\n slow: x\n gpu: x\n network: x\n"
    )
    (tmp_path / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.mark.spec('000-001')\ndef test_a(): pass\n"
        "@pytest.mark.spec('000-002')\ndef test_b(): assert False\n"
        "@pytest.mark.spec('000-003')\n@pytest.mark.gpu\ndef test_c(): pass\n"
        "def test_d(): pass\n"
    )
    out = tmp_path / "out.json"

    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "1",
        "--spec",
        "--spec-out",
        str(out),
        str(tmp_path),
    ]
    subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False)

    found = {name.rpartition("::")[2]: test for name, test in json.loads(out.read_text()).items()}
    assert {name: test["outcome"] for name, test in found.items()} == {
        "test_a": "passed", "test_b": "failed", "test_c": "skipped",
    }  # fmt: skip
