"""How rows, their statistics and what is trained on look on a terminal.

Knows nothing about reading data. What comes from a file is made harmless before it is printed.
"""

from typing import TYPE_CHECKING, Any

from stead.cli import console

if TYPE_CHECKING:
    from stead.app.datasets import ShownRow

_MARKS = ("⟦", "⟧")  # around trained text where there is no color


def clean(value: object, limit: int = 200) -> str:
    """Make a cell harmless for a terminal: control characters become pictures, long text is cut."""
    text = "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in str(value)
    )
    text = "".join("�" if 0x7F <= ord(c) < 0xA0 else c for c in text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def print_statistics(shape: dict[str, Any]) -> None:
    """Print counts, lengths and turns. Any: JSON values."""
    console.out(f"rows     {shape['rows']} usable")
    chars = shape["chars"]
    if chars:
        console.out(
            f"length   {chars['mean']:g} characters on average, 90 % up to {chars['p90']}, max {chars['max']}"
        )
    if shape["turns"]:
        turns = ", ".join(f"{n} rows of {k}" for k, n in list(shape["turns"].items())[:8])
        roles = ", ".join(f"{n} {role}" for role, n in shape["roles"].items())
        console.out(f"turns    {turns}; {roles}")


def print_report(report: dict[str, Any]) -> None:
    """Print what was left out, with examples. Any: JSON values."""
    dropped = report["dropped"]
    if dropped:
        counts = ", ".join(f"{n} {code}" for code, n in dropped.items())
        console.out(f"dropped  {sum(dropped.values())} of {report['read']} rows: {counts}")
    for one in report["examples"]:
        console.out(f"         {clean(one['where'])}: {one['code']}: {clean(one['reason'])}")


def print_row(row: dict[str, Any]) -> None:
    """Print one row as it was read. Any: JSON values."""
    console.out(f"\n{clean(row['where'])} ({row['kind']})")
    if row.get("text") is not None:
        console.out(clean(row["text"], 400))
    for name in ("messages", "chosen", "rejected"):
        for turn in row.get(name, ()):
            label = turn["role"] if name == "messages" else f"{name} {turn['role']}"
            body = turn.get("content")
            calls = "; ".join(f"{c['name']}({c['arguments']})" for c in turn.get("tool_calls", ()))
            console.out(f"  {label}: {clean(body if body is not None else calls, 400)}")
    if row.get("label") is not None:
        console.out(f"  label: {row['label']}")


def row_json(row: "ShownRow") -> dict[str, Any]:
    """Return a row with its pieces, each trained or not, as JSON values."""
    columns = [
        {
            "name": column.name,
            "tokens": column.tokens,
            "trained_tokens": column.trained,
            "pieces": [{"text": text, "trained": flag} for text, flag in column.pieces],
        }
        for column in row.columns
    ]
    return {"where": row.where, "columns": columns}


def print_shown(row: "ShownRow", *, mask: bool) -> None:
    """Print a row as the model gets it; with `mask`, mark what is trained on."""
    from rich.text import Text

    screen = console.stdout()
    for column in row.columns:
        title = (
            f"{clean(row.where)} {column.name}: {column.tokens} tokens, {column.trained} trained"
        )
        screen.print(Text(title, style="bold"), soft_wrap=True)
        body = Text()
        for text, trained in column.pieces:
            shown = clean(text, 1 << 30)
            if not (mask and trained):
                body.append(shown)
            elif screen.is_terminal and not screen.no_color:
                body.append(shown, style="green")
            else:
                body.append(_MARKS[0] + shown + _MARKS[1])
        screen.print(body, soft_wrap=True)
