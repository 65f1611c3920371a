"""The pages in a real browser against the real server: every script of `ui/tests`."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.ui.conftest import CHROMIUM, UI, Platform, lacking

_NOT_PAGES = {"harness.mjs"}
SCRIPTS = sorted(
    p.name for p in (UI / "tests").glob("*.mjs")
    if p.name not in _NOT_PAGES and not p.name.startswith("bench_")
)  # fmt: skip
pytestmark = [
    pytest.mark.skipif(lacking() is not None, reason=str(lacking())),
    pytest.mark.xdist_group("browser"),  # one Chromium at a time
]


def drive(script: str, platform: Platform, out: Path) -> None:
    """Run one script and show what it complains about."""
    kept = os.environ.get("UI_PICTURES")  # a folder to keep the pictures in
    environment = os.environ | {
        "STEAD_URL": platform.url, "STEAD_TOKEN": platform.token, "CHROMIUM": CHROMIUM,
        "STEAD_FACTS": json.dumps(platform.facts), "OUT": str(out) if kept is None else kept,
    }  # fmt: skip
    done = subprocess.run(
        ["node", str(UI / "tests" / script)],
        env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.spec("002-001")
@pytest.mark.parametrize("script", [s for s in SCRIPTS if not s.startswith("empty")])
def test_page_works_in_light_dark_and_at_phone_width(script, platform, tmp_path):
    drive(script, platform, tmp_path)


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.startswith("empty")])
def test_empty_home_says_what_to_do_first(script, empty_platform, tmp_path):
    drive(script, empty_platform, tmp_path)
