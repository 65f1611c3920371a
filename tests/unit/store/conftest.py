"""One database per test: SQLite, and PostgreSQL where it is installed (one cluster per session)."""

import pytest
from tests.fakes.databases import postgres_url

from stead.store.db import Database
from stead.store.migrate import migrate
from stead.store.stores import Stores


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with postgres_url(tmp_path_factory.mktemp("pg")) as url:
        yield url


def emptied(url):
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return database


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request, tmp_path):
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'stead.db'}")
    else:
        database = emptied(request.getfixturevalue("postgres"))
    migrate(database)
    made = Stores.of(database)
    yield made
    made.close()
