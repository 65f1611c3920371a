import json

import msgspec
import pytest

from stead.core import events

EVERY = [
    events.Started(stage="train", total=3, info={"a": 1}),
    events.Progress(stage="train", done=1, values={"loss": 2.5}),
    events.Note(stage="train", message="ünï", level="warning", code="x"),
    events.Saved(stage="train", path="/x", what="checkpoint"),
    events.Finished(stage="train", result={"n": 1}),
    events.Failed(stage="train", error={"code": "x"}),
]


def test_events_go_round_numbered_and_timed(tmp_path):
    log = events.EventLog(tmp_path / "deep" / "events.jsonl", clock=lambda: 12.3456)
    for event in EVERY:
        log(event)
    log.close()

    lines = (tmp_path / "deep" / "events.jsonl").read_bytes().splitlines()

    assert [json.loads(line)["seq"] for line in lines] == list(range(6))
    assert json.loads(lines[0])["time"] == 12.346
    assert [events.parse(line) for line in lines] == EVERY


def test_subscribers_are_told_in_order(tmp_path):
    log = events.EventLog(tmp_path / "e.jsonl")
    told = []
    log.subscribe(lambda e: told.append((1, e.stage)))
    log.subscribe(lambda e: told.append((2, e.stage)))

    log(EVERY[0])
    log.close()

    assert told == [(1, "train"), (2, "train")]


@pytest.mark.parametrize("tail", [b"", b'{"seq": 1, "ti', b"\xff\xff"])
def test_a_torn_line_is_cut_and_numbers_go_on(tmp_path, tail):
    path = tmp_path / "e.jsonl"
    log = events.EventLog(path)
    log(EVERY[0])
    log.close()
    with open(path, "ab") as file:
        file.write(tail)

    again = events.EventLog(path)
    again(EVERY[1])
    again.close()

    assert [json.loads(line)["seq"] for line in path.read_bytes().splitlines()] == [0, 1]


def test_a_reader_that_begins_before_a_torn_line_is_cut_misses_nothing(tmp_path):
    path = tmp_path / "e.jsonl"
    log = events.EventLog(path)
    log(EVERY[0])
    log.close()
    with open(path, "ab") as file:
        file.write(b'{"seq": 1, "torn by a full disk"')

    begin = events.complete(path)
    again = events.EventLog(path)
    again(EVERY[1])
    again.close()

    assert [event for _, event in events.follow(path, begin)] == [EVERY[1]]
    assert events.complete(tmp_path / "none") == 0


def test_a_log_that_is_only_a_torn_line_begins_at_0(tmp_path):
    (tmp_path / "e.jsonl").write_bytes(b"torn")

    log = events.EventLog(tmp_path / "e.jsonl")
    log(EVERY[0])
    log.close()

    assert [e for _, e in events.follow(tmp_path / "e.jsonl")] == EVERY[:1]


def test_follow_goes_on_where_it_was_and_waits_for_whole_lines(tmp_path):
    path = tmp_path / "e.jsonl"
    log = events.EventLog(path)
    log(EVERY[0])
    (offset, first), *rest = list(events.follow(path))
    log(EVERY[1])
    log.close()
    with open(path, "ab") as file:
        file.write(b'{"seq": 2')

    later = list(events.follow(path, offset))

    assert (first, rest) == (EVERY[0], [])
    assert [e for _, e in later] == [EVERY[1]]


def test_nothing_to_follow_is_nothing(tmp_path):
    assert list(events.follow(tmp_path / "none")) == []


def test_a_foreign_line_is_refused():
    with pytest.raises(msgspec.ValidationError):
        events.parse(b'{"event": "dance", "stage": "x"}')


def test_ignore_drops():
    assert events.ignore(EVERY[0]) is None
