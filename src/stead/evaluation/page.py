"""One self-contained HTML page from typed sections: no script, no request to anywhere.

Knows nothing about what the sections say; evaluation, certificates and the demo use the same page.
Try: `html("Title", [Kpis((Kpi("rows", "200"),)), Text("Words", "…")])`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from stead.core import files

Tone = Literal["", "good", "bad"]
# Nothing may load or run, should text of a data set ever find a hole in the escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class Kpi:
    """One big number with a word under it."""

    label: str
    value: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Kpis:
    """A row of big numbers."""

    items: Sequence[Kpi]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; columns named in `numbers` are set right, `tones` colors single cells."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    tones: Mapping[tuple[int, int], Tone] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A finished SVG of `evaluation/chart`. It is not escaped: never pass text from a data set."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One text of an example, e.g. a model's answer, judged or not."""

    label: str
    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the texts to compare under it."""

    title: str
    prompt: str
    shown: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Examples:
    """Questions with their answers side by side."""

    title: str
    items: Sequence[Example]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, split at empty lines."""

    title: str
    text: str


Section = Kpis | Table | Chart | Examples | Text


def html(title: str, sections: Sequence[Section], *, subtitle: str = "", footer: str = "") -> str:
    """Return the page. Everything but `Chart.svg` is escaped."""
    body = "\n".join(_section(section) for section in sections)
    style = files.package_text("stead.evaluation", "page.css")
    foot = f"<footer>{escape(footer)}</footer>" if footer else ""
    under = f'<p class="soft">{escape(subtitle)}</p>' if subtitle else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{under}\n{body}\n{foot}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    match section:
        case Kpis(items):
            return f'<div class="kpis">{"".join(map(_kpi, items))}</div>'
        case Table():
            return _table(section)
        case Chart(title, svg, caption):
            under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
            return f"{_heading(title)}<figure>{under}{svg}</figure>"
        case Examples(title, items, note):
            return _heading(title) + _note(note) + "".join(map(_example, items))
        case Text(title, text):
            paragraphs = "".join(f"<p>{escape(p)}</p>" for p in text.split("\n\n"))
            return _heading(title) + paragraphs


def _heading(title: str) -> str:
    return f"<h2>{escape(title)}</h2>" if title else ""


def _note(note: str) -> str:
    return f'<p class="soft">{escape(note)}</p>' if note else ""


def _kpi(kpi: Kpi) -> str:
    tone = f' class="{kpi.tone}"' if kpi.tone else ""
    return (
        f'<div class="kpi"><b{tone}>{escape(kpi.value)}</b><span>{escape(kpi.label)}</span></div>'
    )


def _table(table: Table) -> str:
    head = "".join(_cell("th", j, text, table) for j, text in enumerate(table.head))
    rows = "".join(
        "<tr>" + "".join(_cell("td", j, text, table, i) for j, text in enumerate(row)) + "</tr>"
        for i, row in enumerate(table.rows)
    )
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'{_heading(table.title)}{_note(table.note)}<div class="scroll">{grid}</div>'


def _cell(tag: str, column: int, text: str, table: Table, row: int = -1) -> str:
    kinds = ["n"] if column in table.numbers else []
    tone = "" if table.tones is None else table.tones.get((row, column), "")
    kinds += [tone] if tone else []
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"


def _example(example: Example) -> str:
    answers = "".join(
        f"<div><h4>{escape(s.label)}</h4><pre{_tone(s.tone)}>{escape(s.text)}</pre></div>"
        for s in example.shown
    )
    return (
        f'<div class="card"><h3>{escape(example.title)}</h3><pre>{escape(example.prompt)}</pre>'
        f'<div class="answers" style="margin-top:12px">{answers}</div></div>'
    )


def _tone(tone: Tone) -> str:
    return f' class="{tone}"' if tone else ""
