"""Find blocks of six or more statements that say the same, whatever their variables are called.

Knows nothing about files' meaning. Compared are runs of sibling statements, nested ones counted;
local names are replaced by their order of appearance, attributes and constants are kept.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

LEAST = 6


@dataclass(frozen=True)
class Block:
    """A run of statements in a file."""

    file: str
    first: int
    last: int


class _Renamed(ast.NodeTransformer):
    """Replace names by v0, v1, … in order of appearance; drop annotations' and docs' weight."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self._known.setdefault(name, f"v{len(self._known)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Rename a variable."""
        return ast.Name(id=self._name(node.id), ctx=node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Rename a parameter."""
        return ast.arg(arg=self._name(node.arg), annotation=None)


def _weight(statement: ast.stmt) -> int:
    return sum(isinstance(n, ast.stmt) for n in ast.walk(statement))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            continue  # imports and fields are declarations, not code
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                yield [s for s in body if isinstance(s, ast.stmt) and not _is_text(s)]


def _key(run: list[ast.stmt]) -> str:
    copies = ast.parse(
        "\n".join(ast.unparse(s) for s in run if not isinstance(s, ast.Return)) or "0"
    )
    returns = [ast.unparse(s) for s in run if isinstance(s, ast.Return)]
    renamed = ast.dump(_Renamed().visit(copies))
    return renamed + ("|return" if returns else "")


def _runs(file: str, tree: ast.Module) -> Iterator[tuple[str, Block]]:
    for body in _bodies(tree):
        for start in range(len(body)):
            weight = 0
            for end in range(start, len(body)):
                weight += _weight(body[end])
                if weight >= LEAST:
                    run = body[start : end + 1]
                    last = run[-1].end_lineno
                    yield _key(run), Block(file, run[0].lineno, last if last else run[0].lineno)
                    break


def find(trees: dict[str, ast.Module]) -> list[tuple[Block, Block]]:
    """Return pairs of equal blocks; of overlapping pairs the first."""
    seen: dict[str, list[Block]] = defaultdict(list)
    for file, tree in trees.items():
        for key, block in _runs(file, tree):
            seen[key].append(block)
    pairs = [(b[0], other) for b in seen.values() for other in b[1:] if not _overlap(b[0], other)]
    kept: list[tuple[Block, Block]] = []
    for pair in sorted(pairs, key=lambda p: (p[0].file, p[0].first)):
        if not any(_overlap(pair[0], k[0]) and _overlap(pair[1], k[1]) for k in kept):
            kept.append(pair)
    return kept


def _overlap(a: Block, b: Block) -> bool:
    return a.file == b.file and a.first <= b.last and b.first <= a.last
