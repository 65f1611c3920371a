"""What the tables of nouns have in common: one row by id, pages newest first, add, change, remove.

Knows nothing about any noun. A row is a dataclass with a field for each column; each table has `id` and
`created_at`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from stead.core.errors import ConfigError, NotFound
from stead.store.db import Database

R = TypeVar("R")
Json = dict[str, Any]  # Any: JSON values
Condition = sa.ColumnElement[bool]
Conditions = list[Condition]


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows, newest first; `next` is the `after` of the page that follows, None at the end."""

    items: list[R]
    next: str | None
    total: int


class Rows(Generic[R]):
    """One table. `missing` makes the error for an id that is not there."""

    def __init__(
        self,
        database: Database,
        table: sa.Table,
        made: type[R],
        missing: Callable[[str], NotFound],
    ) -> None:
        self.database = database
        self.table = table
        self._made = made
        self._missing = missing

    def find(self, row_id: str) -> R | None:
        """Return the row of that id, or None."""
        query = sa.select(self.table).where(self.table.c.id == row_id)
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else self.make(row)

    def get(self, row_id: str) -> R:
        """Return the row of that id. Raises: NotFound."""
        found = self.find(row_id)
        if found is None:
            raise self._missing(row_id[:100])
        return found

    def add(self, row: R, connection: Connection | None = None) -> R:
        """Add a row, within the transaction of `connection` if there is one."""
        if connection is not None:
            connection.execute(sa.insert(self.table), [columns(row)])
        else:
            self.database.transact(lambda one: self.add(row, one))
        return row

    def change(self, row_id: str, connection: Connection | None = None, **values: Any) -> R:
        """Set columns of a row; return it as it then is. Raises: NotFound."""
        if connection is None:
            return self.database.transact(lambda one: self.change(row_id, one, **values))
        where = self.table.c.id == row_id
        query = sa.update(self.table).where(where).values(**values).returning(self.table)
        row = connection.execute(query).first()
        if row is None:
            raise self._missing(row_id[:100])
        return self.make(row)

    def remove(self, row_id: str) -> R:
        """Remove a row; return what it was. Raises: NotFound."""

        def work(connection: Connection) -> R:
            where = self.table.c.id == row_id
            row = connection.execute(
                sa.delete(self.table).where(where).returning(self.table)
            ).first()
            if row is None:
                raise self._missing(row_id[:100])
            self.removing(row_id, connection)
            return self.make(row)

        return self.database.transact(work)

    def removing(self, row_id: str, connection: Connection) -> None:
        """Take away what belongs to a row and no foreign key takes."""
        return

    def page(
        self, where: Sequence[Condition] = (), *, limit: int = 50, after: str | None = None
    ) -> Page[R]:
        """Return the newest rows that fulfil all of `where`. Raises: ConfigError("bad-cursor")."""
        table = self.table.c
        ids = sa.select(table.id).where(*where)
        if after is not None:
            ids = ids.where(sa.tuple_(table.created_at, table.id) < _cursor(after))
        ids = ids.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)
        with self.database.read() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(self.table).where(*where)).scalar_one()  # fmt: skip
            names = list(connection.execute(ids).scalars())
            found = {
                row.id: row
                for row in connection.execute(
                    sa.select(self.table).where(table.id.in_(names[:limit]))
                )
            }
        rows = [found[name] for name in names[:limit] if name in found]
        more = len(names) > limit and bool(rows)
        return Page(
            [self.make(row) for row in rows], _place(rows[-1]) if more else None, int(total)
        )

    def make(self, row: Any) -> R:  # Any: a Row of the table
        """Return a row as a value."""
        return self._made(**row._mapping)


def columns(row: object) -> Json:
    """Return a dataclass as column values."""
    return asdict(cast(Any, row))  # Any: whichever dataclass


def _place(row: Any) -> str:  # Any: a Row
    return f"{row.created_at!r}_{row.id}"


def _cursor(after: str) -> Any:  # Any: a SQL tuple
    at, _, row_id = after.partition("_")
    try:
        return sa.tuple_(sa.literal(float(at)), sa.literal(row_id))
    except ValueError as error:
        raise ConfigError("bad-cursor", f"{after[:60]!r} is no place in a list") from error


class _Like(FunctionElement[bool]):
    """`column LIKE pattern`, whatever the case: SQLite's own LIKE is that, three times as fast as lower() on both."""

    type = sa.Boolean()
    inherit_cache = True


def _like(word: str) -> Callable[..., str]:
    def compiled(element: _Like, compiler: SQLCompiler, **options: Any) -> str:
        column, pattern = (compiler.process(one, **options) for one in element.clauses)
        return f"({column} {word} {pattern} ESCAPE '^')"

    return compiled


compiles(_Like)(_like("ILIKE"))
compiles(_Like, "sqlite")(_like("LIKE"))


def contains(text: str, *found: sa.Column[Any]) -> Condition:  # Any: text columns
    """Return whether any of the columns contains `text`, whatever its case."""
    escaped = text.replace("^", "^^").replace("%", "^%").replace("_", "^_")
    return sa.or_(*(_Like(column, sa.literal(f"%{escaped}%")) for column in found))
