import sys

import pytest

from stead.core.errors import MissingDependency
from stead.core.lazy import installed, lazy, load


def test_a_library_is_imported_on_first_use(monkeypatch, tmp_path):
    (tmp_path / "lazy_sample.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    module = lazy("lazy_sample", extra="train")

    assert "lazy_sample" not in sys.modules
    assert module.value == 7
    assert "lazy_sample" in sys.modules


def test_inspection_does_not_import():
    module = lazy("no_such_library", extra="train")

    with pytest.raises(AttributeError):
        _ = module.__wrapped__


def test_an_absent_library_gives_the_install_line():
    module = lazy("no_such_library", extra="train")

    with pytest.raises(MissingDependency) as caught:
        _ = module.anything

    assert caught.value.code == "not-installed"
    assert "'no_such_library'" in caught.value.message
    assert caught.value.hint == "pip install 'stead[train]'"


def test_an_absent_submodule_of_an_absent_library_gives_the_install_line():
    with pytest.raises(MissingDependency):
        load("no_such_library.part", extra="train")


def test_a_broken_library_keeps_its_own_message(monkeypatch, tmp_path):
    (tmp_path / "lazy_broken.py").write_text("import another_absent_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ModuleNotFoundError, match="another_absent_library"):
        load("lazy_broken", extra="train")


@pytest.mark.parametrize(
    ("name", "there"),
    [("json", True), ("no_such_library", False), ("no_such.part", False), ("", False)],
)
def test_installed_says_so_without_importing(name, there):
    assert installed(name) is there
