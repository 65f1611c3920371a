"""Commands as a user types them, in this process."""

from collections.abc import Callable

import pytest

from stead.cli.main import run

Stead = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stead(capsys: pytest.CaptureFixture[str]) -> Stead:
    """Run a command in this process; return exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            run([str(a) for a in arguments])
        out, error = capsys.readouterr()
        return int(caught.value.code or 0), out, error

    return call
