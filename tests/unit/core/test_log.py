"""Logging set-up: handlers once, files by kind, color only on a terminal, secrets in no sink."""

import asyncio
import io
import json
import logging
from pathlib import Path

import pytest

from stead.core import log
from stead.core.log import LogConfig

pytestmark = pytest.mark.usefixtures("clean_logging")
KEY = "sk-ant-api03-AbCdEfGhIjKlMnOpQrSt"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def handlers() -> list[logging.Handler]:
    names = ["stead", *(name for name, _, _ in log.FILES.values())]
    return [h for name in dict.fromkeys(names) for h in logging.getLogger(name).handlers]


@pytest.mark.spec("001-049", "003-057")
def test_a_second_set_up_adds_no_second_handler(tmp_path: Path) -> None:
    log.set_up(LogConfig(folder=tmp_path), io.StringIO())
    first = sorted(str(h.name) for h in handlers())

    log.set_up(LogConfig(folder=tmp_path, level="debug"), io.StringIO())

    assert sorted(str(h.name) for h in handlers()) == first
    assert len(set(first)) == len(first) == 6


@pytest.mark.spec("001-050", "003-054")
def test_each_kind_of_record_goes_to_its_own_file(tmp_path: Path) -> None:
    log.set_up(LogConfig(folder=tmp_path), io.StringIO())

    logging.getLogger("stead.data.reader").error("broken row")
    logging.getLogger("stead.data.reader").info("read rows")
    logging.getLogger("stead.access").info("GET /v1/models 200")
    logging.getLogger("stead.training").info("step 1")
    logging.getLogger("stead.performance").info("first token 12 ms")
    logging.getLogger("stead.audit").info("alias moved")

    found = {
        p.relative_to(tmp_path).as_posix(): p.read_text().partition(": ")[2].strip()
        for p in tmp_path.rglob("*.log")
    }
    assert found == {
        "app/error.log": "broken row",
        "app/access.log": "GET /v1/models 200",
        "models/training.log": "step 1",
        "system/performance.log": "first token 12 ms",
        "audit/audit.log": "alias moved",
    }


@pytest.mark.spec("003-053")
@pytest.mark.parametrize(
    ("stream", "no_color", "colored"),
    [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)],
)
def test_color_only_on_a_terminal_that_wants_it(
    stream: io.StringIO, no_color: str, colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    log.set_up(LogConfig(), stream)

    logging.getLogger("stead.x").warning("careful")

    assert ("\x1b[33m" in stream.getvalue()) is colored
    assert "careful" in stream.getvalue()


@pytest.mark.spec("001-059", "002-061")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_planted_key_appears_in_no_sink(tmp_path: Path, form: str) -> None:
    console = io.StringIO()
    log.set_up(LogConfig(folder=tmp_path, format=form, level="debug"), console)  # type: ignore[arg-type]

    for name in ("stead.x", "stead.access", "stead.training", "stead.performance", "stead.audit"):
        logger = logging.getLogger(name)
        logger.error("key %s", KEY)
        with log.fields(header=f"Bearer {KEY}"):
            logger.error("fields")
        try:
            raise ValueError(KEY)
        except ValueError:
            logger.exception("failed")

    written = [p.read_text() for p in tmp_path.rglob("*.log")]
    assert len(written) == 5
    assert not [text for text in (*written, console.getvalue()) if KEY in text]


@pytest.mark.spec("000-082", "003-004")
def test_json_lines_hold_level_logger_message_and_fields() -> None:
    stream = io.StringIO()
    log.set_up(LogConfig(format="json"), stream)

    with log.fields(run="r1", step=3):
        logging.getLogger("stead.x").info("hello %s", "you")

    line = json.loads(stream.getvalue())
    assert line.pop("time") > 0
    assert line == {
        "level": "info", "logger": "stead.x", "message": "hello you", "run": "r1", "step": 3,
    }  # fmt: skip


@pytest.mark.spec("003-055")
def test_fields_nest_and_end_also_after_an_exception() -> None:
    stream = io.StringIO()
    log.set_up(LogConfig(), stream)
    logger = logging.getLogger("stead.x")

    async def inside() -> None:
        logger.info("task")
        raise KeyError

    with log.fields(a=1):
        with pytest.raises(KeyError), log.fields(b=2):
            asyncio.run(inside())
        logger.info("after")
    logger.info("outside")

    ends = [line.partition("stead.x: ")[2] for line in stream.getvalue().splitlines()]
    assert ends == ["task  a=1  b=2", "after  a=1", "outside"]


@pytest.mark.spec("000-082", "003-055")
def test_timed_logs_start_end_and_duration_and_closes_on_failure() -> None:
    stream = io.StringIO()
    log.set_up(LogConfig(), stream)
    logger = logging.getLogger("stead.x")
    clock = iter([10.0, 12.5, 20.0, 21.0])

    with log.timed(logger, "load", lambda: next(clock)):
        pass
    with pytest.raises(RuntimeError), log.timed(logger, "save", lambda: next(clock)):
        raise RuntimeError

    ends = [line.partition("stead.x: ")[2] for line in stream.getvalue().splitlines()]
    assert ends == [
        "load: started", "load: done in 2.500 s",
        "save: started", "save: failed after 1.000 s (RuntimeError)",
    ]  # fmt: skip


def test_the_level_filters_the_console() -> None:
    stream = io.StringIO()
    log.set_up(LogConfig(level="error"), stream)

    logging.getLogger("stead.x").warning("quiet")

    assert stream.getvalue() == ""
