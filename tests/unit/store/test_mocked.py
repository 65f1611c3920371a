"""Whatever needs the database takes it as an argument, so that a test passes a mock of its shape."""

from unittest.mock import MagicMock

import pytest

from stead.store.audit import Audit
from stead.store.db import Database
from stead.store.stores import Stores
from stead.store.users import Users


@pytest.mark.spec("002-053")
def test_every_store_is_made_of_a_mock_and_asks_it():
    database = MagicMock(spec=Database, is_sqlite=True)
    connection = database.read.return_value.__enter__.return_value
    connection.execute.return_value.scalar_one.return_value = 7

    stores = Stores.of(database)
    audit = Audit(database, clock=lambda: 1.0)
    audit.add("ann", "key.create", "key-1")

    assert audit.count() == 7
    assert database.transact.call_count == 1
    assert stores.database is database
    stores.close()
    database.close.assert_called_once_with()


@pytest.mark.spec("002-053")
def test_a_mock_of_the_shape_refuses_what_the_database_does_not_have():
    database = MagicMock(spec=Database)

    with pytest.raises(AttributeError):
        database.select_all  # noqa: B018 - the look itself is refused
    assert Users(database, clock=lambda: 1.0) is not None
