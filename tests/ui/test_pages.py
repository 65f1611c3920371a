"""The pages in a real browser against the real server: every script of `ui/tests`."""

import json
import os
import subprocess
import sys
from threading import Timer

import pytest
from tests.ui.conftest import CHROMIUM, UI, Platform, lacking

_NOT_PAGES = {"harness.mjs"}
_MOST_S = 240  # for one script
SCRIPTS = sorted(
    p.name for p in (UI / "tests").glob("*.mjs")
    if p.name not in _NOT_PAGES and not p.name.startswith("bench_")
)  # fmt: skip
pytestmark = [
    pytest.mark.skipif(lacking() is not None, reason=str(lacking())),
    pytest.mark.xdist_group("browser"),  # one Chromium at a time
]


def drive(script: str, platform: Platform) -> None:
    """Run one script, restart the server when it asks for that, and show what it complains about."""
    environment = os.environ | {
        "STEAD_URL": platform.url, "STEAD_TOKEN": platform.token, "CHROMIUM": CHROMIUM,
        "STEAD_FACTS": json.dumps(platform.facts), "PYTHON": sys.executable,
    }  # fmt: skip
    kept = os.environ.get("UI_PICTURES")  # a folder to keep the pictures in
    with subprocess.Popen(
        ["node", str(UI / "tests" / script)], env=environment | ({} if kept is None else {"OUT": kept}),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        patience = Timer(_MOST_S, child.kill)
        patience.start()
        for line in child.stdout:
            if line.strip() == "restart the server":
                platform.server.stop()
                platform.server.start()
                child.stdin.write("done\n")
                child.stdin.flush()
        complaints = child.stderr.read()
        patience.cancel()
    assert child.returncode == 0, complaints


@pytest.mark.spec("002-001")
@pytest.mark.parametrize("script", [s for s in SCRIPTS if not s.startswith("empty")])
def test_page_works_in_light_dark_and_at_phone_width(script, platform):
    drive(script, platform)


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.startswith("empty")])
def test_empty_home_says_what_to_do_first(script, empty_platform):
    drive(script, empty_platform)
