import json
import re
from html.parser import HTMLParser

import pytest

from stead.core.events import EventLog, Progress
from stead.evaluation import chart, compare, report
from stead.evaluation.benchmark import Item
from stead.evaluation.curves import losses
from stead.evaluation.evaluate import Outcome
from stead.evaluation.page import Example, Examples, Kpi, Kpis, Shown, Table, Text, html
from stead.messages import Message
from stead.scoring import scorer
from stead.scoring.scorer import Sample

NASTY = '<script>alert("x")</script> | & \u2028'


def outcome(model, answers):
    items = [
        Item(
            f"r:{i}",
            (Message(role="user", content=NASTY),),
            Message(role="assistant", content="yes 1"),
        )
        for i in range(len(answers))
    ]
    made = scorer.create(["exact_match", "f1"])
    samples = [Sample(NASTY, a, "yes 1") for a in answers]
    scores = {name: [each.score(s) for s in samples] for name, each in made.items()}
    return Outcome(model, items, answers, ["stop"] * len(answers), scores, 1.0, 10)


@pytest.fixture
def compared():
    base, tuned = outcome("base", ["no"] * 30), outcome("tuned", ["yes 1"] * 25 + [NASTY] * 5)
    result = compare.compare(base, tuned, scorer.create(["exact_match", "f1"]))
    return report.report(result, tuned, base, meta={"data": NASTY})


class Strict(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "action", "srcset")]
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.spec("003-081", "003-062")
def test_one_comparison_is_written_as_json_markdown_and_html(compared, tmp_path):
    written = report.write(compared, tmp_path / "reports")
    numbers = json.loads((tmp_path / "reports/report.json").read_text())
    words = (tmp_path / "reports/report.md").read_text()
    page = (tmp_path / "reports/report.html").read_text()

    assert written.path == tmp_path / "reports"
    exact = numbers["metrics"]["exact_match"]
    assert (exact["base"], exact["tuned"]) == (0, pytest.approx(25 / 30))
    for text in (words, page):
        assert "+0.8333" in text
        assert "tuned against base on the same 30 rows: better: exact_match, f1." in text
    rows = (tmp_path / "reports/rows.jsonl").read_text().removesuffix("\n").split("\n")
    assert [json.loads(row)["base_answer"] for row in rows] == ["no"] * 30


def test_the_page_is_self_contained_well_formed_and_runs_nothing(compared):
    extras = report.Extras(curves={"training loss": [(1, 3.0), (2, 2.0)]})
    page = report.page(compared, extras)
    parser = Strict()
    parser.feed(page)
    parser.close()

    assert parser.open == []
    assert parser.links == []
    assert "script" not in parser.tags
    assert not re.search(r"https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert parser.tags.count("svg") == 4  # scores, two histograms, loss
    assert "&lt;script&gt;" in page


def test_one_model_alone_has_values_with_intervals(tmp_path):
    tuned = outcome("m", ["yes 1", "no"] * 10)
    result = compare.summarize(tuned, scorer.create(["exact_match", "f1"]))
    words = report.markdown(report.report(result, tuned))

    assert "| exact_match | 0.5 | 0.2993 to 0.7007 | 20 | ↑ |" in words
    assert report.page(report.report(result, tuned)).count("<svg") == 1


def test_every_section_kind_escapes_its_text():
    page = html(
        NASTY,
        [
            Kpis((Kpi(NASTY, NASTY, "good"),)),
            Table(NASTY, (NASTY,), ((NASTY,),), (0,), {(0, 0): "bad"}, NASTY),
            Examples(NASTY, (Example(NASTY, NASTY, (Shown(NASTY, NASTY, "good"),)),), NASTY),
            Text(NASTY, NASTY),
        ],
        subtitle=NASTY,
        footer=NASTY,
    )
    assert "<script" not in page


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 47, [0, 10, 20, 30, 40]),
        (-3, 3, [-2, 0, 2]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert chart.ticks(low, high) == pytest.approx(expected)


def test_charts_hold_every_number_as_text():
    bars = chart.bars([chart.Group("f1", [chart.Bar("base", 0.25, 0.2, 0.3)])], title="t")
    spread = chart.histogram([-1.0, 0.0, 0.0, 1.0], title="t", label="d")

    assert "base: 0.25 (0.2 to 0.3)" in bars
    assert sum(int(n) for n in re.findall(r": (\d+)</title>", spread)) == 4
    assert "<svg" in chart.histogram([0.0, 0.0], title="t", label="d")
    assert "<svg" in chart.lines({"loss": [(1, 2.0)]}, title="t", x="x", y="y")


def test_loss_curves_come_from_the_event_log(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    for step in range(1, 1001):
        log(Progress(stage="train", done=step, values={"loss": 1 / step}))
    log(Progress(stage="train", done=1000, values={"eval_loss": 0.5}))
    log(Progress(stage="other", done=1, values={"loss": 9.0}))
    log.close()
    found = losses(tmp_path / "events.jsonl")

    assert found["evaluation loss"] == [(1000, 0.5)]
    assert found["training loss"][0] == (1, 1.0)
    assert found["training loss"][-1] == (1000, 0.001)
    assert len(found["training loss"]) <= 401
    assert losses(tmp_path / "none") == {}
