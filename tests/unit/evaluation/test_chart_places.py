"""Where a chart puts its words: a legend never lies over the curves, nor runs out of the picture."""

import re

from stead.evaluation import chart

NAMES = [f"a run with a rather long name, number {i}" for i in range(6)]


def test_a_legend_stands_above_the_curves_and_inside_the_picture():
    line = [(float(x), float(x)) for x in range(50)]

    svg = chart.lines(dict.fromkeys(NAMES, line), title="t", x="step", y="nats per token")

    wide, high = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    named = re.findall(r'<text class="" x="([\d.]+)" y="([\d.]+)"[^>]*>(a run with[^<]*)<', svg)
    curves = [float(p.split(",")[1]) for p in re.findall(r'points="([^"]*)"', svg)[0].split()]
    assert [n for _, _, n in named] == NAMES
    assert max(float(y) for _, y, _ in named) < min(curves)
    assert all(float(x) + 6 * len(n) < wide for x, _, n in named)
    assert max(curves) < high
    assert svg.count("stroke-dasharray") == 2  # the fifth and sixth, whose colors come again
    assert ">nats per token<" in svg
