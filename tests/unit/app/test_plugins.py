"""Plugins: found without running, run once enabled by name and hash, hooks around every answer."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.fakes.places import place_plugin as place

from stead.app.plugins import Plugins
from stead.config.kinds import registry
from stead.core.errors import ConfigError, NotFound
from stead.inference.backends.echo import Echo
from stead.inference.hook_kinds.redact import Redact
from stead.inference.hooks import Hook, Hooked
from stead.messages import Call, EmbedRequest, GenerateRequest, Message

EXAMPLE = Path(__file__).parents[3] / "examples" / "plugin_echo" / "src" / "stead_plugin_echo.py"
ASK = GenerateRequest(model="echo", messages=(Message("user", "one two"),), call=Call(id="1"))


async def both(backend):
    whole = await backend.generate(ASK)
    return whole.text, "".join([c.text async for c in backend.stream(ASK)])


def test_being_found_runs_nothing_and_being_enabled_does(home, plugins, tmp_path):
    ran = tmp_path / "ran"
    place(
        home,
        "hook",
        "evil",
        f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n" + EXAMPLE.read_text(),
    )

    listed = plugins.get("hook/evil")
    plugins.load()
    quiet = not ran.exists() and plugins.hooks() == []
    plugins.enable("evil", {"text": "bye"})
    plugins.load()
    texts = asyncio.run(both(plugins.around(Echo())))

    assert (listed.state, quiet) == ("disabled", True)
    assert ran.exists()
    assert texts == ("one two\nbye", "one two\nbye")


def test_a_changed_file_is_not_run_until_it_is_enabled_again(home, plugins):
    path = place(home, "hook", "signed", EXAMPLE.read_text())
    plugins.enable("signed")
    path.write_text("raise SystemExit\n")

    notes = plugins.load()

    assert plugins.get("signed").state == "changed"
    assert plugins.hooks() == []
    assert "stead plugin enable hook/signed" in notes[0]
    path.unlink()
    assert plugins.get("signed").state == "missing"
    plugins.disable("signed")
    with pytest.raises(NotFound):
        plugins.get("signed")


def test_a_plugin_that_shadows_a_name_is_refused_with_both_origins(home, plugins):
    path = place(home, "hook", "redact", EXAMPLE.read_text())
    plugins.enable("hook/redact")

    with pytest.raises(ConfigError) as error:
        plugins.load()

    assert str(path) in error.value.message
    assert "stead.inference.hook_kinds.redact" in error.value.message


@pytest.mark.spec("004-004", "001-070")
def test_a_file_adds_a_backend_type_without_touching_the_package(home, plugins):
    place(
        home,
        "backend",
        "loud",
        "from stead.inference.backends.echo import Echo\n"
        "from msgspec.structs import replace\n"
        "class Loud(Echo):\n"
        "    async def generate(self, request, deadline=None):\n"
        "        found = await super().generate(request, deadline)\n"
        "        choice = found.choices[0]\n"
        "        message = replace(choice.message, content=found.text.upper())\n"
        "        return replace(found, choices=(replace(choice, message=message),))\n",
    )
    plugins.enable("loud")
    plugins.load()

    made = registry("backend").create("loud")

    assert asyncio.run(made.generate(ASK)).text == "ONE TWO"


@pytest.mark.spec("004-031")
def test_hooks_see_every_request_and_answer_the_first_one_outermost():
    class Mark(Hook):
        started = closed = 0

        async def start(self):
            Mark.started += 1

        async def before(self, request):
            text = request.messages[-1].text + self.options["sign"]
            return replace(request, messages=(Message("user", text),), call=None)

        async def after(self, request, reply):
            choice = reply.choices[0]
            text = choice.message.text + self.options["sign"].upper()
            message = replace(choice.message, content=text)
            return replace(reply, choices=(replace(choice, message=message),))

        def chunk(self, request, chunk):
            return None if chunk.text == "one" else chunk

        async def close(self):
            Mark.closed += 1

    class Seen(Echo):
        async def generate(self, request, deadline=None):
            assert request.call is ASK.call
            return await super().generate(request, deadline)

    async def run():
        backend = Hooked(Seen(), [Mark({"sign": "a"}), Mark({"sign": "b"})])
        texts = await both(backend)
        await backend.close()
        return texts

    assert asyncio.run(run()) == ("one twoabBA", " twoab")
    assert (Mark.started, Mark.closed) == (2, 2)


def test_redact_takes_keys_out_of_prompts():
    key = "sk-" + "a1b2" * 8
    hook = Redact()

    chat = asyncio.run(hook.before(replace(ASK, messages=(Message("user", f"my {key} is"),))))
    embed = asyncio.run(hook.before_embed(EmbedRequest(model="m", input=(key, (1, 2)))))

    assert chat.messages[0].text == "my *** is"
    assert embed.input == ("***", (1, 2))


@pytest.mark.spec("004-032")
def test_plugins_of_the_package_the_working_folder_and_the_data_directory(
    home, tmp_path, monkeypatch
):
    registry.cache_clear()
    monkeypatch.chdir(tmp_path)

    empty = {p.key for p in Plugins(home).all()}  # neither folder is there
    place(home, "hook", "of_the_user", EXAMPLE.read_text())
    local = tmp_path / "plugins" / "hook" / "of_the_project.py"
    local.parent.mkdir(parents=True)
    local.write_text(EXAMPLE.read_text())
    full = {p.key for p in Plugins(home).all()}

    assert empty == {"hook/redact"}
    assert full - empty == {"hook/of_the_user", "hook/of_the_project"}


@pytest.mark.spec("000-071")
def test_an_installed_entry_point_is_used_once_enabled_and_not_after_it_changed(
    home, tmp_path, monkeypatch
):
    site = tmp_path / "site"
    info = site / "stead_plugin_echo-0.1.0.dist-info"
    info.mkdir(parents=True)
    (site / "stead_plugin_echo.py").write_text(EXAMPLE.read_text())
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: stead-plugin-echo\nVersion: 0.1.0\n"
    )
    (info / "RECORD").write_text("stead_plugin_echo.py,sha256=abc,1\n")
    (info / "entry_points.txt").write_text("[stead.hook]\nsigned = stead_plugin_echo:Signed\n")
    monkeypatch.syspath_prepend(str(site))

    def fresh():
        registry.cache_clear()
        return Plugins(home, [home.plugins])

    plugins = fresh()
    before = (plugins.get("signed").state, plugins.hooks())
    plugins.enable("signed", {"text": "bye"})
    texts = asyncio.run(both(plugins.around(Echo())))
    (info / "RECORD").write_text("stead_plugin_echo.py,sha256=def,1\n")
    changed = fresh()

    assert before == ("disabled", [])
    assert texts == ("one two\nbye", "one two\nbye")
    assert changed.get("signed").state == "changed"
    assert changed.hooks() == []
    registry.cache_clear()
