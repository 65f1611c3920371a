"""Keys: shown once, stored as a hash, limited, revoked at once, and no way around them."""

import asyncio
import hashlib
import time

import pytest

from stead.app.access import Access, Grant, WhenKeyed, create, limits_of
from stead.app.accounts import Accounts
from stead.core.errors import BudgetExceeded, ConfigError, SteadError
from stead.core.secret import redact
from stead.core.shared import Ask, Limit
from stead.store.access import Keys
from stead.store.migrate import open_database

NOW = 1_700_000_000.0


@pytest.fixture
def keys(home):
    database = open_database(home)
    yield Keys(database, lambda: NOW, "tester")
    database.close()


def code_of(access, token):
    try:
        asyncio.run(access.check(token))
    except SteadError as error:
        return error.code if error.details["status"] == 401 else "another status"
    return "in"


@pytest.mark.spec("001-052")
def test_a_key_opens_with_its_models_and_limits(keys):
    grant = Grant(
        ("gpt-a", "gpt-b"), rpm=5, tpm=100, concurrency=2, daily_budget=10, monthly_budget=20
    )
    made = create(keys, "team a", grant, now=NOW)
    access = Access(keys, clock=lambda: NOW)

    caller = asyncio.run(access.check(made.token.reveal()))

    scope = f"key {made.key.id}"
    assert caller.key == made.key.id
    assert caller.models == frozenset({"gpt-a", "gpt-b"})
    assert caller.limits == (
        Limit("rpm", "requests", 5, 60.0, scope),
        Limit("tpm", "tokens", 100, 60.0, scope),
        Limit("concurrency", "concurrency", 2, None, scope),
        Limit("daily_budget", "money", 10, None, scope, calendar="day"),
        Limit("monthly_budget", "money", 20, None, scope, calendar="month"),
    )
    assert caller.call("id").limits == caller.limits
    assert asyncio.run(access.recall(made.key.id)) == caller


@pytest.mark.spec("001-052")
def test_the_token_is_nowhere_but_in_the_answer(keys):
    made = create(keys, "a", Grant(), now=NOW)
    token = made.token.reveal()
    secret = token[22:]

    assert keys.find(made.key.id).hash == hashlib.sha256(token.encode()).hexdigest()
    assert secret not in repr(keys.all()) + repr(keys.deeds()) + repr(made)
    assert secret not in redact(f"key={token}")
    assert len(secret) == 43


def test_refusals_have_one_code_each(keys):
    now = [NOW]
    made = create(keys, "a", Grant(expires_at=NOW + 60), now=NOW)
    token = made.token.reveal()
    access = Access(keys, clock=lambda: now[0])

    assert code_of(access, "") == "missing-api-key"
    wrong = [token[:-1] + ("A" if token[-1] != "A" else "B"), token + "x", "sk-stead-" + "a" * 12 + token[21:],
             "' OR 1=1--", "sk-stead-\x00", "Ä", token.upper()]  # fmt: skip
    assert {code_of(access, t) for t in wrong} == {"invalid-api-key"}
    assert code_of(access, token) == "in"
    now[0] += 60
    assert code_of(access, token) == "expired-api-key"


@pytest.mark.spec("001-052")
def test_a_revocation_is_seen_within_two_seconds_and_hot_checks_ask_nobody(keys):
    made = create(keys, "a", Grant(), now=NOW)
    asked, tick = [], [0.0]

    class Counting:
        def find(self, key_id):
            asked.append(key_id)
            return keys.find(key_id)

    access = Access(Counting(), clock=lambda: NOW, monotonic=lambda: tick[0])
    for _ in range(100):
        assert code_of(access, made.token.reveal()) == "in"
    assert len(asked) == 1
    keys.revoke(made.key.id)
    tick[0] = 2.0
    assert code_of(access, made.token.reveal()) == "revoked-api-key"


def test_made_up_ids_do_not_fill_the_memory(keys, monkeypatch):
    monkeypatch.setattr("stead.app.access._KEPT", 5)
    access = Access(keys)
    for i in range(20):
        code_of(access, f"sk-stead-{i:012d}-{'x' * 43}")

    assert len(access._seen) == 5


@pytest.mark.spec("000-095")
def test_names_are_unique_among_keys_in_force_and_changes_are_audited(keys):
    first = create(keys, "a", Grant(rpm=1), now=NOW)
    with pytest.raises(ConfigError, match="there is a key 'a' already"):
        create(keys, "a", Grant(), now=NOW)
    keys.limit(first.key.id, {"rpm": 7})
    keys.revoke(first.key.id)
    create(keys, "a", Grant(), now=NOW + 1)

    assert keys.named("a").revoked_at is None
    assert [d.action for d in keys.deeds()] == [
        "key.create",
        "key.revoke",
        "key.limit",
        "key.create",
    ]
    assert (keys.deeds()[2].before["rpm"], keys.deeds()[2].after["rpm"]) == (1, 7)
    assert keys.deeds()[2].actor == "tester"


@pytest.mark.parametrize("name", ["", " a", "a\nb", "x" * 65, "<b>", "a\u202eb"])
def test_names_that_could_fool_a_reader_are_refused(keys, name):
    with pytest.raises(ConfigError):
        create(keys, name, Grant(), now=NOW)


def test_open_tokens_work_beside_the_database(keys):
    access = Access(keys, open_tokens=("from the command line",))

    assert code_of(access, "from the command line") == "in"
    assert code_of(access, "from the command lin") == "invalid-api-key"


@pytest.mark.parametrize("where", ["memory", "database"])
def test_accounts_open_what_the_settings_name(home, monkeypatch, where):
    monkeypatch.setenv("STEAD_COUNT_LIMITS_IN", where)

    async def go():
        accounts = Accounts.open(home)
        made = create(accounts.keys, "a", Grant(daily_budget=10), now=time.time())
        limit = limits_of(made.key)[0]
        accounts.shared.settle(await accounts.shared.reserve([Ask(limit, 10)]), {"money": 8})
        with pytest.raises(BudgetExceeded):
            await accounts.shared.reserve([Ask(limit, 3)])
        assert accounts.asks_for_keys
        await accounts.close()

    asyncio.run(go())


def test_a_place_to_count_that_is_none_is_refused(home, monkeypatch):
    monkeypatch.setenv("STEAD_COUNT_LIMITS_IN", "paper")
    with pytest.raises(ConfigError) as caught:
        Accounts.open(home)
    assert caught.value.code == "bad-counting"


def test_the_first_key_is_asked_for_soon_after_it_was_made_and_at_once_when_it_is_sent(keys):
    tick = [0.0]
    door = WhenKeyed(Access(keys, clock=lambda: NOW), keys, monotonic=lambda: tick[0])

    before = code_of(door, ""), code_of(door, "anything")
    made = create(keys, "first", Grant(rpm=1), now=NOW)
    unseen = code_of(door, "")
    tick[0] = 1.0

    assert before == ("in", "in")
    assert (unseen, code_of(door, ""), code_of(door, "anything")) == (
        "in", "missing-api-key", "invalid-api-key",
    )  # fmt: skip
    keys.revoke(made.key.id)
    again = WhenKeyed(Access(keys), keys)
    assert code_of(again, "") == "missing-api-key"  # the door does not open again


def test_a_key_that_is_sent_in_the_second_it_was_made_in_counts(keys):
    door = WhenKeyed(Access(keys, clock=lambda: NOW), keys, monotonic=lambda: 0.0)
    made = create(keys, "first", Grant(rpm=1), now=NOW)

    assert asyncio.run(door.check(made.token.reveal())).key == made.key.id
    assert code_of(door, "") == "missing-api-key"
