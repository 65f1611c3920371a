import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.core.errors import UnsafeError
from stead.core.paths import Home, inside, safe_name

BAD = [
    "", ".", "..", "../x", "a/b", "a\\b", "..\\..\\x", "%2e%2e%2f", "/abs", "a\0b", "CON", "con.txt", "Lpt1.bin",
    "name.", "name ", " name", "x" * 97, "x" * 5000, "\u202ename", "ｄｏｔ．．", "C:\\x", "\\\\host\\share", "-rf", "a\n",
]  # fmt: skip


@pytest.mark.spec("002-060")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused(name):
    with pytest.raises(UnsafeError) as caught:
        safe_name(name)

    assert caught.value.code == "invalid-name"


@pytest.mark.parametrize("name", ["a", "Llama-3.2_1B", "x" * 96, "com10", "console"])
def test_a_good_name_is_itself(name):
    assert safe_name(name) == name


@given(st.text(max_size=40))
def test_a_name_that_passes_is_one_component(name):
    try:
        safe_name(name)
    except UnsafeError:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0:\n")


@pytest.mark.spec("002-060")
@pytest.mark.parametrize("path", ["", "/abs", "../x", "a/../b", "a//b", "a\\b", "a\0", "a/"])
def test_a_path_that_leads_out_is_refused(tmp_path, path):
    with pytest.raises(UnsafeError):
        inside(tmp_path, path)


@pytest.mark.spec("002-060")
def test_a_link_on_the_way_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc")

    with pytest.raises(UnsafeError, match="symbolic link"):
        inside(tmp_path, "link/passwd")


def test_a_plain_path_is_joined(tmp_path):
    assert inside(tmp_path, "a/b.json") == tmp_path / "a" / "b.json"


@pytest.mark.spec("001-058")
def test_home_is_named_by_the_environment_and_private(tmp_path):
    home = Home.find({"STEAD_HOME": str(tmp_path / "deep" / "home")}).ensure()

    assert home.root == tmp_path / "deep" / "home"
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_home_defaults_to_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STEAD_HOME", raising=False)

    assert Home.find().root == tmp_path / ".stead"
    assert Home.find({"STEAD_HOME": ""}).root == tmp_path / ".stead"


@pytest.mark.spec("002-027")
def test_every_place_is_inside_home_and_none_is_created(tmp_path):
    home = Home(tmp_path / "home")
    names = [n for n, v in vars(Home).items() if isinstance(v, property)]

    places = [getattr(home, name) for name in names]

    assert len(set(places)) == len(places) == 13
    assert all(p.is_relative_to(home.root) for p in places)
    assert not home.root.exists()
