"""Models with versions and aliases, data sets, evaluations, artefacts, chats as trees, settings with history."""

import pytest

from stead.core.errors import ConfigError, NotFound
from stead.store.artefacts import Artefact
from stead.store.chats import Chat, Message
from stead.store.datasets import Dataset
from stead.store.evaluations import Evaluation


def register(stores, digest, **values):
    return stores.models.register(
        "llama", hash=digest, path=f"/{digest}", bytes=1, source="file:/x", **values
    )


@pytest.mark.spec("001-005")
def test_versions_never_change_and_aliases_point_at_one(stores):
    first, again, second = (
        register(stores, "a"),
        register(stores, "a"),
        register(stores, "b", run="r"),
    )
    model = stores.models.named("llama")
    stores.models.point(model.id, "best", 1)
    stores.models.point(model.id, "best", 2)

    assert first == again
    assert [v.version for v in stores.models.versions(model.id)] == [2, 1]
    assert (second.run, model.path) == ("r", "/b")
    assert stores.models.aliases(model.id) == {"best": 2}
    with pytest.raises(ConfigError, match="no version 3"):
        stores.models.point(model.id, "best", 3)
    stores.models.unpoint(model.id, "best")
    assert stores.models.aliases(model.id) == {}
    stores.models.remove(model.id)
    assert stores.models.versions(model.id) == []
    with pytest.raises(NotFound):
        stores.models.named("llama")


def test_a_chat_is_a_tree(stores):
    stores.chats.add(Chat("c", "t", 1.0, 1.0, settings={"models": ["m"]}))
    for name, parent in (("1", None), ("2", "1"), ("2b", "1"), ("3", "2b")):
        stores.chats.say(Message(name, "c", parent, "user", [{"type": "text", "text": name}], 2.0))

    found = stores.chats.messages("c")

    assert [(m.id, m.parent) for m in found] == [("1", None), ("2", "1"), ("2b", "1"), ("3", "2b")]
    assert found[0].content == [{"type": "text", "text": "1"}]
    assert stores.chats.get("c").updated_at == 2.0
    with pytest.raises(NotFound, match="message 'x'"):
        stores.chats.say(Message("4", "c", "x", "user", "", 3.0))
    stores.chats.remove("c")
    with pytest.raises(NotFound):
        stores.chats.messages("c")


@pytest.mark.spec("002-028")
def test_rows_are_added_changed_found_and_removed(stores):
    nouns = (
        (
            stores.datasets,
            Dataset("a", "n", "/p", 5, 1.0, 1.0, columns=["x"], facts={"rows": 0}),
            {"rows": 0},
        ),
        (
            stores.evaluations,
            Evaluation("a", "t", "d", "/p", 1.0, ["m"], ["f1"]),
            {"summary": {"f1": 0.0}},
        ),
        (stores.artefacts, Artefact("a", "n", "gguf", "/p", 5, "h", 1.0), {"quant": "q4_0"}),
        (stores.chats, Chat("a", "t", 1.0, 1.0), {"title": ""}),
    )
    for table, row, change in nouns:
        table.add(row)
        assert table.get("a") == row
        changed = table.change("a", **change)
        assert {name: getattr(changed, name) for name in change} == change
        assert table.list().items == [changed]
        assert table.remove("a") == changed
        assert table.find("a") is None
        for act in (table.get, table.remove, lambda name, t=table: t.change(name, created_at=1.0)):
            with pytest.raises(NotFound):
                act("a")
    with pytest.raises(ConfigError, match="no place in a list"):
        stores.chats.list(after="x_y")


@pytest.mark.spec("001-059")
def test_each_change_of_a_setting_is_a_version(stores):
    one = stores.settings.add("ada", "log.level", None, {"value": "debug"})
    two = stores.settings.add("ada", "log.level", {"value": "debug"}, {"value": None})
    stores.settings.add("ada", "offline", None, {"value": True})

    assert [c.version for c in stores.settings.list(key="log.level")] == [two.version, one.version]
    assert stores.settings.get(two.version) == two
    assert one.before is None
    with pytest.raises(NotFound):
        stores.settings.get(99)
