"""`stead keys` and `stead spend` as a user types them."""

import json
import time

import pytest

from stead.core.paths import Home
from stead.inference.meter import Entry
from stead.messages import Usage
from stead.store.migrate import open_database
from stead.store.spend import SpendLedger


@pytest.mark.spec("001-052")
def test_a_key_from_birth_to_revocation(stead):
    status, token, note = stead("keys", "create", "team-a", "--rpm", "5", "--daily-budget", "2.5")
    assert (status, token[:9]) == (0, "sk-stead-")
    assert "cannot be shown again" in note
    assert "rpm 5, $2.5 per day" in stead("keys", "list")[1]
    assert token.strip()[-20:] not in stead("keys", "show", "team-a")[1]
    stead("keys", "limit", "team-a", "--tpm", "900", "--lift", "daily-budget", "--model", "m")
    shown = json.loads(stead("keys", "show", "team-a", "--json")[1])
    assert (shown["rpm"], shown["tpm"], shown["daily_budget"], shown["models"]) == (
        5,
        900,
        None,
        ["m"],
    )
    assert stead("keys", "revoke", "team-a")[0] == 0
    assert json.loads(stead("keys", "list", "--json")[1])["keys"] == []
    assert "revoked" in stead("keys", "list", "--all")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("keys", "show", "nobody"), "there is no key 'nobody'"),
        (("keys", "create", "a", "--daily-budget", "-1"), "'-1' dollars is negative"),
        (("keys", "create", "a", "--expires", "soon"), "'soon' is no span of time"),
        (("keys", "limit", "a"), "no limit of 'a' is named"),
        (("spend", "--since", "yesterday"), "'yesterday' is neither a date nor a span"),
    ],
)
def test_wrong_words_are_refused_by_name(stead, arguments, says):
    status, _, error = stead(*arguments)

    assert status == 2
    assert says in error


def test_spend_shows_what_was_recorded(stead, home):
    key = json.loads(stead("keys", "create", "team-a", "--json")[1])["id"]
    database = open_database(Home(home))
    ledger = SpendLedger(database)
    for i, model in enumerate(("cheap", "dear", "dear")):
        ledger.record(
            Entry(
                id=str(i), call="c", at=time.time() - 40 * 86_400 * (i == 0), key=key, strategy="", model=model,
                served=model, kind="generate", streamed=False, outcome="ok", usage=Usage(10, 5), cost=25 * 10**10,
            )
        )  # fmt: skip
    ledger.close_now()
    database.close()

    table = stead("spend")[1]
    assert table.index("dear") < table.index("cheap")
    assert "0.500000" in table
    by_key = json.loads(stead("spend", "--by", "key", "--since", "30d", "--json")[1])["spend"]
    assert by_key == [
        {"name": "team-a", "requests": 2, "failed": 0, "cached": 0, "prompt_tokens": 20, "completion_tokens": 10,
         "cost_usd": "0.5", "cost_picodollars": 5 * 10**11, "unpriced": 0}
    ]  # fmt: skip
    assert len(json.loads(stead("spend", "--by", "day", "--json")[1])["spend"]) == 2


def test_the_settings_name_another_database(stead, tmp_path, monkeypatch, home):
    monkeypatch.setenv("STEAD_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")

    assert stead("keys", "list")[0] == 0
    assert (tmp_path / "other.db").is_file()
    assert not (home / "stead.db").exists()
