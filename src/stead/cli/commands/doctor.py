"""Check this machine and installation: what is missing, and the command that mends it."""

import typer

from stead.cli import console

_MARK = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def command(as_json: console.Json = False) -> None:
    """Check this machine and installation: what is missing, and the command that mends it.

    Changes nothing and asks no other host. Ends with status 1 when a check failed.
    """
    from dataclasses import asdict

    from stead.app.doctor import examine
    from stead.core.paths import Home

    found = examine(Home.find())
    failed = [f for f in found if f.state == "fail"]
    if as_json:
        console.out_json({"ok": not failed, "checks": [asdict(f) for f in found]})
    else:
        width = max(len(f.check) for f in found)
        for finding in found:
            console.out(f"{_MARK[finding.state]}  {finding.check:<{width}}  {finding.detail}")
            if finding.hint is not None and finding.state != "ok":
                console.out(f"{'':<{width + 8}}{finding.hint}")
    if failed:
        raise typer.Exit(1)
