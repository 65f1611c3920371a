import importlib
import sys
import textwrap

import pytest

from stead.config.kinds import KINDS, registry
from stead.core.errors import ConfigError, MissingDependency
from stead.core.registry import Registry

BASE = """
class Greeter:
    requires = ()
    def __init__(self, *, tone="plain", clock=None):
        self.tone, self.clock = tone, clock
"""


@pytest.fixture
def kind(tmp_path, monkeypatch):
    """A kind of extension in a package of its own: base class, folder, one file per extension."""
    package = tmp_path / "greetings"
    (package / "kinds").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "kinds" / "__init__.py").touch()
    (package / "greeter.py").write_text(BASE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Kind(package)
    for name in [m for m in sys.modules if m.split(".")[0] == "greetings"]:
        del sys.modules[name]


class Kind:
    def __init__(self, package):
        self.package = package

    def add(self, name, body):
        text = "from greetings.greeter import Greeter\n" + textwrap.dedent(body)
        (self.package / "kinds" / f"{name}.py").write_text(text)

    def registry(self):
        return Registry("greeter", "greetings.kinds", base="greetings.greeter:Greeter")


def code(call, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value


@pytest.mark.spec("000-001", "000-066", "002-034")
def test_a_new_file_is_a_new_extension_and_nothing_else_changes(kind):
    kind.add("polite", "class Polite(Greeter): pass")
    found = kind.registry()
    before = {p: p.read_bytes() for p in kind.package.rglob("*.py")}
    kind.add("rude", "class Rude(Greeter): pass")

    made = found.create("rude")

    assert found.names() == ["polite", "rude"]
    assert type(made).__name__ == "Rude"
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.spec("000-016")
def test_listing_imports_nothing(kind):
    kind.add("broken", "raise RuntimeError('imported')")

    assert kind.registry().names() == ["broken"]
    assert "greetings.kinds.broken" not in sys.modules


def test_a_name_means_the_same_class_each_time(kind):
    kind.add("polite", "class Polite(Greeter): pass")
    found = kind.registry()

    assert found.get("polite") is found.get("polite")


def test_a_hidden_file_is_no_extension(kind):
    kind.add("_shared", "raise RuntimeError('imported')")

    assert kind.registry().names() == []


@pytest.mark.spec("000-004", "000-046", "000-016", "003-003", "003-008")
def test_the_factory_makes_an_instance_from_a_name_and_injected_collaborators(kind):
    kind.add("polite", "class Polite(Greeter): pass")
    clock = object()

    made = kind.registry().create("polite", tone="warm", clock=clock)

    assert (made.tone, made.clock) == ("warm", clock)


@pytest.mark.spec("000-045", "000-016")
def test_a_second_registration_is_refused_unless_override_is_said(kind):
    kind.add("polite", "class Polite(Greeter): pass")
    found = kind.registry()
    found.get("polite")

    class Other(found.base):
        pass

    error = code(found.register, "polite", Other)
    assert error.code == "duplicate"
    assert "greetings.kinds.polite" in error.message
    assert "Other" in error.message
    found.register("polite", Other, override=True)
    assert found.get("polite") is Other
    assert "Other" in found.origin("polite")


def test_a_class_made_at_run_time_is_found_by_name(kind):
    found = kind.registry()

    class Late(found.base):
        pass

    found.register("late", Late)

    assert found.names() == ["late"]
    assert isinstance(found.create("late"), Late)


@pytest.mark.spec("000-016", "003-076")
def test_an_unknown_name_suggests_the_nearest_and_lists_all(kind):
    kind.add("polite", "class Polite(Greeter): pass")
    kind.add("rude", "class Rude(Greeter): pass")

    near = code(kind.registry().get, "polit")
    far = code(kind.registry().get, "zzzzzz")

    assert near.code == "unknown-greeter"
    assert "did you mean 'polite'" in near.message
    assert near.details["suggestion"] == "polite"
    assert "(known: polite, rude)" in far.message
    assert far.details["suggestion"] is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "class A(Greeter): pass\nclass B(Greeter): pass",
        "class _A(Greeter): pass",
        "class A: pass",
    ],
)
def test_a_file_without_exactly_one_public_class_is_refused(kind, body):
    kind.add("odd", body)

    assert code(kind.registry().get, "odd").code == "bad-extension"


def test_an_imported_class_does_not_count(kind):
    kind.add("polite", "class Polite(Greeter): pass")
    kind.add("polite2", "from greetings.kinds.polite import Polite\nclass Very(Polite): pass")

    assert kind.registry().get("polite2").__name__ == "Very"


def test_a_missing_library_is_named_before_anything_is_made(kind):
    kind.add(
        "loud", "class Loud(Greeter):\n    requires = ('json', 'no_such_library', 'no_such.part')"
    )

    with pytest.raises(MissingDependency) as caught:
        kind.registry().create("loud")

    assert "'no_such_library'" in caught.value.message
    assert "'json'" not in caught.value.message
    assert caught.value.hint == "pip install no_such_library no_such.part"


def test_the_config_class_is_read_from_the_annotation(kind):
    kind.add("polite", "class Settings: pass\nclass Polite(Greeter):\n    config: Settings")

    assert kind.registry().config_of("polite").__name__ == "Settings"


def install(tmp_path, name, lines):
    """Write what an installed distribution leaves on the path: its entry points."""
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stead.greeter]\n" + "\n".join(lines) + "\n")
    importlib.invalidate_caches()


def test_an_installed_package_adds_an_extension(kind, tmp_path):
    (tmp_path / "outside.py").write_text(
        "from greetings.greeter import Greeter\nclass Far(Greeter): pass\nclass Near(Greeter): pass\n"
    )
    install(tmp_path, "far", ["far = outside:Far"])

    found = kind.registry()

    assert found.names() == ["far"]
    assert found.origin("far") == "outside:Far"
    assert found.get("far").__name__ == "Far"


def test_an_entry_point_may_name_a_module_that_holds_one_class(kind, tmp_path):
    (tmp_path / "outside2.py").write_text(
        "import greetings.greeter as g\nclass Far(g.Greeter): pass\n"
    )
    install(tmp_path, "far2", ["far = outside2"])

    assert kind.registry().get("far").__name__ == "Far"


def test_an_installed_name_that_is_taken_names_both_origins(kind, tmp_path):
    kind.add("far", "class Far(Greeter): pass")
    install(tmp_path, "far", ["far = outside:Far"])

    error = code(kind.registry().names)

    assert error.code == "duplicate"
    assert "outside:Far" in error.message
    assert "greetings.kinds.far" in error.message


def test_the_sources_of_models_are_found_by_the_same_mechanism():
    found = registry("source")

    assert {"huggingface", "local", "url"} <= set(found.names())
    assert all(issubclass(found.get(n), found.base) for n in ("huggingface", "local", "url"))
    assert "source" in KINDS
