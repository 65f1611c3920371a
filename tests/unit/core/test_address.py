import pytest

from stead.core.address import check, is_public, resolve
from stead.core.errors import NotFound, UnsafeError

PRIVATE = [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "::1", "::",
    "fd00::1", "fe80::1%eth0", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::",
]  # fmt: skip
BAD = [
    "", "file:///etc/passwd", "gopher://x/", "data:text/plain,x", "http://", "http:///x", "http://a@127.0.0.1/",
    "http://127.0.0.1\\@good.tld/", "http://x/\r\nHost: y", "http://[::1", "http://x:99999/", "http://①②⑦.0.0.1/",
    "http://x/ y", "http://u:p@x/",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused_whatever_the_name(address):
    assert not is_public(address)
    with pytest.raises(UnsafeError) as caught:
        check("https://good.example/x", resolver=lambda *_: ["93.184.216.34", address])

    assert caught.value.code == "private-address"
    assert address in caught.value.message


@pytest.mark.parametrize("url", BAD)
def test_a_url_that_is_not_plain_is_refused_without_a_look_up(url):
    with pytest.raises(UnsafeError) as caught:
        check(url, resolver=lambda *_: pytest.fail("looked up"))

    assert caught.value.code == "bad-url"


@pytest.mark.parametrize(
    "spelling", ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://[::1]/"]
)
def test_a_number_that_means_loopback_is_refused(spelling):
    with pytest.raises((UnsafeError, NotFound)):
        check(spelling)


def test_the_parts_of_a_good_url():
    found = check("https://Good.example:8443/a/b?c=1#d", resolver=lambda *_: ["93.184.216.34"])

    assert found.origin == ("https", "good.example", 8443)
    assert (found.path, found.address) == ("/a/b?c=1", "93.184.216.34")
    assert check("http://good.example", resolver=lambda *_: ["2606:2800::1"]).path == "/"


def test_loopback_is_let_through_when_this_machines_user_asks():
    assert check("http://127.0.0.1:8000/x", allow_private=True).address == "127.0.0.1"


def test_a_host_that_is_not_there_is_told():
    with pytest.raises(NotFound):
        resolve("a" * 64 + ".invalid", 80)
