"""What JSON of a schema may be written next, byte by byte: states, and steps between them.

Knows nothing about tokens or where the schema came from; `json_schema` makes the nodes. A state is a set
of stacks (a schema may leave a choice open); equal sets are one object, and every step is remembered, so
asking again costs a look-up. Written compactly: at most one space after a comma and a colon, none
elsewhere, so that a model cannot write spaces for ever. Numbers have at most 15 digits before and after
the point and an exponent of two. Grammar: RFC 8259; UTF-8: RFC 3629 section 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_DIGITS = 15
_SHORT_ESCAPES = frozenset(b'"\\/bfnrt')
_HEX = frozenset(b"0123456789abcdefABCDEF")
Item: TypeAlias = tuple[Any, ...]  # Any: a kind's letter and its own values, see `_Step`
Stack: TypeAlias = "tuple[Item, Stack] | None"


@dataclass(frozen=True, slots=True)
class Text:
    """A string of `least` to `most` characters (None: any number)."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or an integer."""

    whole: bool = False


@dataclass(frozen=True, slots=True)
class Literals:
    """One of some texts, as they are."""

    texts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of other nodes; with one node, that node under another number."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """An array of `least` to `most` items."""

    item: int
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Fields:
    """An object: known names in this order (name, node, required), then others unless `others` is None."""

    known: tuple[tuple[bytes, int, bool], ...]
    others: int | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Fixed texts and nodes after each other."""

    parts: tuple[bytes | int, ...]


Node = Text | Number | Literals | Either | Series | Fields | Joined


class State:
    """Where a text stands. `accepts`: it may end here; `is_over`: nothing can follow."""

    __slots__ = ("_grammar", "_next", "accepts", "is_over", "stacks")

    def __init__(self, grammar: "Grammar", stacks: frozenset[Stack]) -> None:
        self._grammar = grammar
        self._next: dict[int, State | None] = {}
        self.stacks = stacks
        self.accepts = None in stacks
        self.is_over = stacks == {None}

    def step(self, byte: int) -> "State | None":
        """Return the state after one more byte, or None when it may not come."""
        if byte not in self._next:
            self._next[byte] = self._grammar.after(self.stacks, byte)
        return self._next[byte]

    def strings(self) -> list[int | None]:
        """Return, per stack that is inside a string between characters, how many may still come."""
        tops = [stack[0] for stack in self.stacks if stack is not None]
        return [t[1].room(t[2]) for t in tops if t[0] == "S" and t[3] == ()] + [
            None for t in tops if t[0] == "K" and t[2] is None and t[3] == ()
        ]


@dataclass(slots=True, eq=False)
class Grammar:
    """Nodes by number; node 0 is the whole text."""

    nodes: list[Node]
    _states: dict[frozenset[Stack], State] = field(default_factory=dict)

    def start(self) -> State:
        """Return the state before the first byte."""
        return self._state(self._closed(("V", 0), None))

    def after(self, stacks: frozenset[Stack], byte: int) -> State | None:
        """Return the state after one byte, or None."""
        found: set[Stack] = set()
        for stack in stacks:
            if stack is not None:
                item, rest = stack
                for new in self._consume(item, byte):
                    found.update(self._all_closed(new, rest))
        return self._state(found) if found else None

    def _state(self, stacks: "set[Stack] | frozenset[Stack]") -> State:
        key = frozenset(stacks)
        if key not in self._states:
            self._states[key] = State(self, key)
        return self._states[key]

    def _all_closed(self, items: tuple[Item, ...], rest: Stack) -> set[Stack]:
        """Put items (first on top) on a stack and expand it."""
        if not items:
            return {None} if rest is None else self._closed(rest[0], rest[1])
        for item in reversed(items[1:]):
            rest = (item, rest)
        return self._closed(items[0], rest)

    def _closed(self, top: Item, rest: Stack) -> set[Stack]:
        """Expand the top until it takes a byte; a stack may thereby become several."""
        found: set[Stack] = set()
        if top[0] in "LSKN":
            found.add((top, rest))
            if top[0] == "N" and top[2] in (2, 3, 5, 8):  # a number may end here
                found |= self._all_closed((), rest)
            return found
        for items in self._expand(top):
            found |= self._all_closed(items, rest)
        return found

    def _expand(self, top: Item) -> "Iterator[tuple[Item, ...]]":
        kind, number = top[0], top[1]
        node = self.nodes[number]
        if kind == "O" and isinstance(node, Fields):
            yield from _fields(number, node, top[2], first=top[3])
        elif kind == "A" and isinstance(node, Series):
            yield from _series(number, node, top[2])
        else:
            yield from _begun(number, node)

    def _consume(self, item: Item, byte: int) -> list[tuple[Item, ...]]:
        """Return what takes an item's place after a byte; nothing: it may not come."""
        kind = item[0]
        if kind == "L":
            _, data, at = item
            if data[at] != byte:
                return []
            return [()] if at + 1 == len(data) else [(("L", data, at + 1),)]
        if kind == "N":
            return _number(item, byte)
        if kind == "S":
            return _string(item, byte)
        return self._key(item, byte)

    def _key(self, item: Item, byte: int) -> list[tuple[Item, ...]]:
        """One byte of a name that the schema does not list; it may not become one that it lists."""
        _, number, prefix, utf = item
        node = self.nodes[number]
        assert isinstance(node, Fields) and node.others is not None  # noqa: S101, PT018 - made so
        if byte == ord('"') and not utf:
            if prefix is not None and any(prefix == name for name, _, _ in node.known):
                return []
            tail = (("V", node.others), ("O", number, len(node.known), False))
            return [(("L", colon, 0), *tail) for colon in (b":", b": ")]
        after = _utf8(utf, byte)
        if after is None or byte == ord("\\"):
            return []
        if prefix is not None:
            prefix = prefix + bytes((byte,))
            if not any(name.startswith(prefix) for name, _, _ in node.known):
                prefix = None
        return [(("K", number, prefix, after),)]


def _begun(number: int, node: Node) -> "Iterator[tuple[Item, ...]]":
    if isinstance(node, Literals):
        for text in node.texts:
            yield (("L", text, 0),)
    elif isinstance(node, Text):
        yield (("L", b'"', 0), ("S", _Room(node.least, node.most), 0, ()))
    elif isinstance(node, Number):
        yield (("N", node.whole, 0, 0),)
    elif isinstance(node, Either):
        for one in node.nodes:
            yield (("V", one),)
    elif isinstance(node, Series):
        yield (("L", b"[", 0), ("A", number, 0))
    elif isinstance(node, Fields):
        yield (("L", b"{", 0), ("O", number, 0, True))
    else:
        yield tuple(("V", p) if isinstance(p, int) else ("L", p, 0) for p in node.parts)


def _fields(number: int, node: Fields, begin: int, *, first: bool) -> "Iterator[tuple[Item, ...]]":
    separators = (b"",) if first else (b",", b", ")
    for at in range(begin, len(node.known)):
        name, value, required = node.known[at]
        for comma in separators:
            for colon in (b":", b": "):
                yield (("L", comma + _quoted(name) + colon, 0), ("V", value), ("O", number, at + 1, False))  # fmt: skip
        if required:
            return
    yield (("L", b"}", 0),)
    if node.others is not None:
        prefix = b"" if node.known else None
        for comma in separators:
            yield (("L", comma + b'"', 0), ("K", number, prefix, ()))


def _series(number: int, node: Series, count: int) -> "Iterator[tuple[Item, ...]]":
    if count >= node.least:
        yield (("L", b"]", 0),)
    if node.most is None or count < node.most:
        # Without an upper bound, counting ends where it no longer matters: fewer states.
        after = count + 1 if node.most is not None else min(count + 1, max(node.least, 1))
        for comma in (b"",) if count == 0 else (b",", b", "):
            begun = (("V", node.item), ("A", number, after))
            yield (("L", comma, 0), *begun) if comma else begun


@dataclass(frozen=True, slots=True)
class _Room:
    least: int
    most: int | None

    def room(self, count: int) -> int | None:
        return None if self.most is None else self.most - count

    def more(self, count: int) -> int | None:
        """Return the count after one more character, None when there is no room."""
        if self.most is None:
            return min(count + 1, self.least)
        return count + 1 if count < self.most else None


def _string(item: Item, byte: int) -> list[tuple[Item, ...]]:
    """One byte inside a string. `state`: () between characters, else what the character still needs."""
    _, room, count, state = item
    if state and state[0] == "\\":
        after = _escape(state, byte)
        return [] if after is None else [(("S", room, count, after),)]
    if not state:
        if byte == ord('"'):
            return [()] if count >= room.least else []
        count = room.more(count)
        if count is None:
            return []
        if byte == ord("\\"):
            return [(("S", room, count, ("\\",)),)]
    after = _utf8(state, byte)
    return [] if after is None else [(("S", room, count, after),)]


def _escape(state: tuple[Any, ...], byte: int) -> tuple[Any, ...] | None:
    """After a backslash. Surrogates are left out: half of a pair is no character."""
    if len(state) == 1:
        if byte == ord("u"):
            return ("\\", 4)
        return () if byte in _SHORT_ESCAPES else None
    left = state[1]
    if byte not in _HEX or (left == "d" and byte not in b"01234567"):
        return None
    if left == 4 and byte in b"dD":
        return ("\\", "d")
    left = 3 if left == "d" else left
    return () if left == 1 else ("\\", left - 1)


_LEADS = {
    **dict.fromkeys(range(0xC2, 0xE0), (1, 0x80, 0xBF)),
    **dict.fromkeys(range(0xE1, 0xF0), (2, 0x80, 0xBF)),
    **dict.fromkeys(range(0xF1, 0xF4), (3, 0x80, 0xBF)),
    0xE0: (2, 0xA0, 0xBF), 0xED: (2, 0x80, 0x9F), 0xF0: (3, 0x90, 0xBF), 0xF4: (3, 0x80, 0x8F),
}  # fmt: skip


def _utf8(state: tuple[Any, ...], byte: int) -> tuple[Any, ...] | None:
    """Return what a character still needs after a byte: (bytes left, lowest, highest) or ()."""
    if state:
        left, low, high = state
        if not low <= byte <= high:
            return None
        return () if left == 1 else (left - 1, 0x80, 0xBF)
    if byte < 0x80:
        return () if byte >= 0x20 else None
    return _LEADS.get(byte)


def _number(item: Item, byte: int) -> list[tuple[Item, ...]]:
    """One byte of a number; states: 0 begin, 1 sign, 2 zero, 3 whole, 4 point, 5 part, 6 e, 7 ±, 8 power."""
    _, whole, state, count = item
    digit = 0x30 <= byte <= 0x39
    new: tuple[int, int] | None = None
    if state in (0, 1):
        if digit:
            new = (2 if byte == ord("0") else 3, 1)
        elif byte == ord("-") and state == 0:
            new = (1, 0)
    elif digit:
        limit = 2 if state in (6, 7, 8) else _DIGITS
        after = {3: 3, 4: 5, 5: 5, 6: 8, 7: 8, 8: 8}.get(state)
        count = 0 if state in (4, 6, 7) else count
        new = (after, count + 1) if after is not None and count < limit else None
    elif not whole:
        new = _sign(state, byte)
    return [] if new is None else [(("N", whole, *new),)]


def _sign(state: int, byte: int) -> tuple[int, int] | None:
    if byte == ord(".") and state in (2, 3):
        return (4, 0)
    if byte in b"eE" and state in (2, 3, 5):
        return (6, 0)
    return (7, 0) if byte in b"+-" and state == 6 else None


def _quoted(name: bytes) -> bytes:
    return b'"' + name + b'"'
