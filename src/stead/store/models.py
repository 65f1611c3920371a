"""Registered models: versions that never change, and aliases that point at one.

Knows nothing about files; `path` is where a version lies. The columns of `models` are those of the
specification's table.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stead.core.errors import ConfigError, NotFound
from stead.store.db import Database
from stead.store.rows import Json, Page, Rows, columns, contains
from stead.store.tables import ALIASES, MODELS, VERSIONS


@dataclass(frozen=True, slots=True)
class Model:
    """One registered model. Times in Unix seconds."""

    id: str
    name: str
    path: str  # of the newest version
    created_at: float
    updated_at: float
    base_model: str | None = None
    task: str | None = None
    strategy: str | None = None
    provider: str | None = None
    compute_profile: str | None = None
    config: Json = field(default_factory=dict)
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model; it never changes."""

    model: str
    version: int
    hash: str
    path: str
    bytes: int
    source: str
    created_at: float
    run: str | None = None


Versions = list[Version]


class Models(Rows[Model]):
    """The tables of models, versions and aliases."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(database, MODELS, Model, _missing)
        self._clock = clock

    def list(
        self, *, q: str | None = None, limit: int = 50, after: str | None = None
    ) -> Page[Model]:
        """Return models, newest first."""
        where = [contains(q.strip(), MODELS.c.name)] if q is not None and q.strip() != "" else []
        return self.page(where, limit=limit, after=after)

    def named(self, name: str) -> Model:
        """Return the model of that name. Raises: NotFound("no-model")."""
        found = self.find_named(name)
        if found is None:
            raise _missing(name[:100])
        return found

    def find_named(self, name: str) -> Model | None:
        """Return the model of that name, or None."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(MODELS).where(MODELS.c.name == name)).first()
        return None if row is None else self.make(row)

    def register(  # noqa: PLR0913 - the facts of a version
        self,
        name: str,
        *,
        hash: str,
        path: str,
        bytes: int,
        source: str,
        run: str | None = None,
        base_model: str | None = None,
        task: str | None = None,
        connection: Connection | None = None,
    ) -> Version:
        """Add a version of a model, and the model when it is new; the same content is the same version."""
        if connection is None:
            return self.database.transact(
                lambda one: self.register(
                    name, hash=hash, path=path, bytes=bytes, source=source, run=run,
                    base_model=base_model, task=task, connection=one,
                )
            )  # fmt: skip
        now = self._clock()
        row = connection.execute(sa.select(MODELS).where(MODELS.c.name == name).with_for_update()).first()  # fmt: skip
        if row is None:
            model = Model(uuid.uuid4().hex, name, path, now, now, base_model=base_model, task=task)
            self.add(model, connection)
        else:
            model = self.make(row)
        mine = VERSIONS.c.model == model.id
        same = connection.execute(sa.select(VERSIONS).where(mine, VERSIONS.c.hash == hash)).first()
        if same is not None:
            return Version(**same._mapping)
        newest = connection.execute(sa.select(sa.func.max(VERSIONS.c.version)).where(mine)).scalar()
        number = 1 if newest is None else int(newest) + 1
        made = Version(model.id, number, hash, path, bytes, source, now, run)
        connection.execute(sa.insert(VERSIONS), [columns(made)])
        self.change(model.id, connection, path=path, updated_at=now)
        return made

    def versions(self, model: str) -> Versions:
        """Return the versions of a model (by id), newest first."""
        query = sa.select(VERSIONS).where(VERSIONS.c.model == model)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(VERSIONS.c.version.desc())).all()
        return [Version(**row._mapping) for row in rows]

    def made_here(self, name: str) -> Version | None:
        """Return the newest version of the model of that name when a run of this platform made it."""
        query = sa.select(VERSIONS).join(MODELS, MODELS.c.id == VERSIONS.c.model)
        query = query.where(MODELS.c.name == name).order_by(VERSIONS.c.version.desc()).limit(1)
        with self.database.read() as connection:
            row = connection.execute(query).first()
        found = None if row is None else Version(**row._mapping)
        return None if found is None or found.run is None else found

    def aliases(self, model: str) -> dict[str, int]:
        """Return the aliases of a model (by id) and the versions they point at."""
        query = sa.select(ALIASES.c.alias, ALIASES.c.version).where(ALIASES.c.model == model)
        with self.database.read() as connection:
            return {row.alias: row.version for row in connection.execute(query)}

    def point(self, model: str, alias: str, version: int) -> None:
        """Let an alias point at a version. Raises: ConfigError("no-version")."""

        def work(connection: Connection) -> None:
            is_it = (VERSIONS.c.model == model) & (VERSIONS.c.version == version)
            if connection.execute(sa.select(VERSIONS.c.version).where(is_it)).first() is None:
                raise ConfigError("no-version", f"there is no version {version} of this model")
            self._forget(connection, model, alias)
            row = {"model": model, "alias": alias, "version": version, "updated_at": self._clock()}
            connection.execute(sa.insert(ALIASES), [row])

        self.database.transact(work)

    def unpoint(self, model: str, alias: str) -> None:
        """Remove an alias; one that is not there is no error."""
        self.database.transact(lambda connection: self._forget(connection, model, alias))

    @staticmethod
    def _forget(connection: Connection, model: str, alias: str) -> None:
        is_it = (ALIASES.c.model == model) & (ALIASES.c.alias == alias)
        connection.execute(sa.delete(ALIASES).where(is_it))


def _missing(name: str) -> NotFound:
    return NotFound("no-model", f"there is no registered model {name!r}", hint="stead model list")
