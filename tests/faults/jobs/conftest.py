"""A store for counting jobs: SQLite, and PostgreSQL where it is installed; nothing is left running."""

import pytest
from tests.fakes.databases import postgres_url
from tests.fakes.job_place import Place

from stead.store.db import Database
from stead.store.migrate import migrate
from stead.store.stores import Stores


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with postgres_url(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request, tmp_path):
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'stead.db'}")
    else:
        database = Database(request.getfixturevalue("postgres"))
        with database.write() as connection:
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    migrate(database)
    made = Stores.of(database)
    yield made
    made.close()


@pytest.fixture
def place(stores, tmp_path):
    """Supervisors as processes of their own, and the workers below one folder."""
    made = Place(stores, tmp_path / "jobs")
    yield made
    made.clean()
