"""Small charts as SVG text: bars with error bars, a histogram, lines.

Knows nothing about evaluations or pages. Colors are CSS classes (`c0`, `c1`, …) of the page, so a
chart follows its light or dark theme; every mark carries its number as a tooltip.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 860
_GLYPH = 6.6  # mean width of a character, for places only


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a value and, if known, its interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Bars on one scale from 0 to `top`, e.g. base and tuned under one metric."""

    label: str
    bars: Sequence[Bar]
    top: float | None = None


def bars(groups: Sequence[Group], *, title: str) -> str:
    """Draw horizontal bars with error bars; each group has a scale of its own."""
    left, right, thick, gap = 150, 90, 16, 22
    width = _WIDTH - left - right
    y = 8.0
    parts = []
    for group in groups:
        scale = width / _top(group)
        parts.append(
            _text(left - 12, y + len(group.bars) * (thick + 4) / 2, group.label, "end", "b")
        )
        for i, bar in enumerate(group.bars):
            parts.append(_bar(bar, i, left, y, thick, scale))
            y += thick + 4
        y += gap
    return _svg(y, title, parts)


def histogram(values: Sequence[float], *, title: str, label: str, count: int = 24) -> str:
    """Draw how values are spread; 0 is marked, since values are often differences."""
    low, high = min(0.0, *values), max(0.0, *values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = (high - low) / count
    tally = [0] * count
    for value in values:
        tally[min(count - 1, int((value - low) / step))] += 1
    frame = _Frame(low, high, 0, max(tally), height=200, top=26)
    marks = []
    for i, n in enumerate(tally):
        if n:
            x, y, y0 = frame.x(low + i * step), frame.y(n), frame.y(0)
            tip = f"{low + i * step:.3g} to {low + (i + 1) * step:.3g}: {n}"
            side = "c1" if low + i * step > 0 else "c2"
            side = "c0" if low + i * step <= 0 < low + (i + 1) * step else side
            width = frame.x(low + step) - frame.x(low) - 1
            marks.append(_rect(x, y, width, y0 - y, side, tip))
    zero = frame.x(0)
    marks.append(
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="10" y2="{frame.y(0):.1f}"/>'
    )
    return _svg(frame.height, title, [*frame.axes(label, "rows"), *marks])


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: str, y: str,
    from_zero: bool = True,
) -> str:  # fmt: skip
    """Draw curves over a common axis, e.g. training and evaluation loss by step."""
    points = [p for line in series.values() for p in line if math.isfinite(p[1])]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low = min([0.0, *ys] if from_zero else ys)
    named, bottom = _legend(series, 26.0 if y else 8.0) if len(series) > 1 else ([], 8.0)
    frame = _Frame(min(xs), max(xs), low, max(ys), height=260, top=max(bottom, 26.0 if y else 14.0))
    marks = []
    for i, (name, line) in enumerate(series.items()):
        shown = [p for p in line if math.isfinite(p[1])]
        path = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in shown)
        dash = ' stroke-dasharray="6 4"' if i >= _COLORS else ""  # the colors come again
        marks.append(
            f'<polyline class="l{i % _COLORS}"{dash} points="{path}"><title>{escape(name)}</title></polyline>'
        )
        dotted = shown if len(shown) <= 40 else shown[-1:]
        marks += [_dot(frame, a, b, name, f"c{(i + 1) % _COLORS}") for a, b in dotted]
    return _svg(frame.height, title, [*frame.axes(x, y), *named, *marks])


_COLORS = 4


def _legend(names: Iterable[str], y: float) -> tuple[list[str], float]:
    """Name the lines in rows above the plot; return the marks, and where the plot may begin."""
    marks, x = [], 60.0
    for i, name in enumerate(names):
        width = 16 + _GLYPH * len(name) + 18
        if x > 60 and x + width > _WIDTH - 20:
            x, y = 60.0, y + 18
        color = f"c{(i + 1) % _COLORS}"
        marks += [_rect(x, y - 5, 10, 10, color, name), _text(x + 16, y, name, "start")]
        x += width
    return marks, y + 18


def dots(points: Sequence[tuple[float, float]], *, title: str, x: str) -> str:
    """Draw points that nothing joins, e.g. a trial's value over one of its settings."""
    shown = [p for p in points if math.isfinite(p[1])]
    xs, ys = [p[0] for p in shown], [p[1] for p in shown]
    frame = _Frame(min(xs), max(xs), min(ys), max(ys), height=260)
    return _svg(frame.height, title, [*frame.axes(x, ""), *(_dot(frame, a, b, title, "c1") for a, b in shown)])  # fmt: skip


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers between low and high: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


class _Frame:
    """A plot area with both axes; turns values into places."""

    def __init__(
        self, x0: float, x1: float, y0: float, y1: float, *, height: int, top: float = 14
    ) -> None:
        self.height = height + top - 14
        self._top = top
        self._x0, self._x1 = (x0, x1) if x1 > x0 else (x0 - 0.5, x0 + 0.5)
        self._y0, self._y1 = (y0, y1) if y1 > y0 else (y0, y0 + 1)

    def x(self, value: float) -> float:
        return 60 + (value - self._x0) / (self._x1 - self._x0) * (_WIDTH - 80)

    def y(self, value: float) -> float:
        share = (value - self._y0) / (self._y1 - self._y0)
        return self.height - 42 - share * (self.height - 42 - self._top)

    def axes(self, x: str, y: str) -> list[str]:
        found = []
        for v in ticks(self._y0, self._y1):
            at = self.y(v)
            found.append(
                f'<line class="grid" x1="60" x2="{_WIDTH - 20}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            found.append(_text(52, at, f"{v:g}", "end"))
        for v in ticks(self._x0, self._x1):
            found.append(_text(self.x(v), self.height - 26, f"{v:g}", "middle"))
        found.append(_text(_WIDTH - 20, self.height - 8, x, "end"))
        found.append(_text(60, 8, y, "start"))
        return found


def _dot(frame: _Frame, a: float, b: float, name: str, kind: str) -> str:
    return (
        f'<circle class="{kind}" cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}" r="3">'
        f"<title>{escape(name)}: {b:.4g} at {a:g}</title></circle>"
    )


def _top(group: Group) -> float:
    if group.top is not None:
        return group.top
    reach = [v for b in group.bars for v in (b.value, b.high) if v is not None and math.isfinite(v)]
    return max([*reach, 1e-9]) * 1.05


def _bar(bar: Bar, i: int, left: int, y: float, thick: int, scale: float) -> str:
    span = "" if bar.low is None or bar.high is None else f" ({bar.low:.4g} to {bar.high:.4g})"
    tip = f"{bar.label}: {bar.value:.4g}{span}"
    end = left + max(0.0, bar.value) * scale
    parts = [_rect(left, y, max(1.0, end - left), thick, f"c{i % 4}", tip)]
    reach = end
    if bar.low is not None and bar.high is not None:
        a, b = (left + min(max(0.0, v) * scale, _WIDTH - left) for v in (bar.low, bar.high))
        m, reach = y + thick / 2, max(end, b)
        parts.append(
            f'<path class="error" d="M{a:.1f} {m - 4:.1f}v8M{a:.1f} {m:.1f}H{b:.1f}M{b:.1f} {m - 4:.1f}v8"/>'
        )
    parts.append(_text(reach + 6, y + thick / 2, f"{bar.value:.3g} {bar.label}", "start"))
    return "".join(parts)


def _rect(x: float, y: float, width: float, height: float, kind: str, tip: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2">'
        f"<title>{escape(tip)}</title></rect>"
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'dominant-baseline="middle">{escape(text)}</text>'
    )


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
