import hashlib
import os
import ssl

import pytest
from tests.fakes.file_server import serving

from stead.core.address import Target
from stead.core.download import Rules, _connection, download
from stead.core.errors import BackendError, ModelError, NotFound, ResourceError, UnsafeError
from stead.core.events import Progress, Started

DATA = os.urandom(300_000)
SHA = hashlib.sha256(DATA).hexdigest()
LOCAL = Rules(allow_private=True, timeout_s=5)


@pytest.fixture
def server():
    with serving(DATA) as script:
        yield script


def test_a_file_arrives_whole_with_its_hash_and_progress(server, tmp_path):
    told = []

    assert download(server.url, tmp_path / "d" / "m.gguf", LOCAL, told.append) == SHA

    assert (tmp_path / "d" / "m.gguf").read_bytes() == DATA
    assert os.listdir(tmp_path / "d") == ["m.gguf"]
    assert isinstance(told[0], Started)
    assert told[0].total == len(DATA)
    assert isinstance(told[-1], Progress)
    assert told[-1].done == len(DATA)


@pytest.mark.spec("001-003")
def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.faults = ["cut:100000", "cut:50000", "hangup", "status:503", "cut:1"]

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA

    ranges = [headers.get("Range") for _, headers in server.requests]
    assert ranges == [None, "bytes=100000-", *["bytes=150000-"] * 3, "bytes=150001-"]


@pytest.mark.spec("001-046")
def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.faults = ["cut:100000", "hangup", "hangup", "hangup", "hangup"]
    with pytest.raises(BackendError) as caught:
        download(server.url, tmp_path / "m.gguf", LOCAL)
    assert caught.value.code == "connection-lost"
    assert not (tmp_path / "m.gguf").exists()
    server.requests.clear()

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA

    assert server.requests[0][1]["Range"] == "bytes=100000-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(server, tmp_path):
    server.faults = ["cut:100000", *["hangup"] * 4]
    with pytest.raises(BackendError):
        download(server.url, tmp_path / "m.gguf", LOCAL)
    server.data = b"new" * 1000

    assert (
        download(server.url, tmp_path / "m.gguf", LOCAL) == hashlib.sha256(server.data).hexdigest()
    )


def test_a_server_without_etags_is_asked_from_the_beginning(server, tmp_path):
    server.faults = ["noetag:100"]

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA

    assert all("Range" not in headers for _, headers in server.requests)


def test_a_range_the_server_does_not_have_begins_again(server, tmp_path):
    server.faults = ["cut:100000", "status:416"]

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA


def test_a_body_without_a_length_is_taken_to_its_end(server, tmp_path):
    server.faults = ["nolength"]

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA


@pytest.mark.parametrize(
    ("faults", "kind", "code"),
    [
        (["status:404"], NotFound, "http-404"),
        (["status:403"], BackendError, "http-403"),
        (["gzip"], BackendError, "bad-answer"),
        (["wrongrange"], BackendError, "bad-answer"),
        (["cut:9", "wrongrange"], BackendError, "bad-answer"),
        (["redirect:/b"] * 9, UnsafeError, "too-many-redirects"),
        (["redirect:file:///etc/passwd"], UnsafeError, "bad-url"),
        (["hangup"] * 4, BackendError, "connection-lost"),
    ],
)
def test_a_fault_is_typed_and_nothing_is_published(server, tmp_path, faults, kind, code):
    server.faults = list(faults)

    with pytest.raises(kind) as caught:
        download(server.url, tmp_path / "m.gguf", LOCAL)

    assert caught.value.code == code
    assert not (tmp_path / "m.gguf").exists()


def test_a_redirect_is_followed(server, tmp_path):
    server.faults = ["redirect:/elsewhere/model.gguf"]

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA
    assert server.requests[1][0] == "/elsewhere/model.gguf"


def test_a_private_address_sees_no_connection(server, tmp_path):
    with pytest.raises(UnsafeError) as caught:
        download(server.url, tmp_path / "m.gguf", Rules())

    assert caught.value.code == "private-address"
    assert server.requests == []


@pytest.mark.spec("001-056")
def test_a_wrong_hash_names_both_and_leaves_nothing(server, tmp_path):
    with pytest.raises(ModelError) as caught:
        download(server.url, tmp_path / "m.gguf", Rules(allow_private=True, expected="0" * 64))

    assert SHA in caught.value.message
    assert "0" * 64 in caught.value.message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fault", ["", "nolength"])
def test_a_file_over_the_limit_is_refused(server, tmp_path, fault):
    server.faults = [fault]

    with pytest.raises(ResourceError) as caught:
        download(server.url, tmp_path / "m.gguf", Rules(allow_private=True, limit_bytes=1000))

    assert caught.value.code == "too-large"


def test_a_full_disk_is_told(server, tmp_path):
    def fill_the_disk(event):
        if isinstance(event, Started):
            (tmp_path / ".m.gguf.part").symlink_to("/dev/full")

    with pytest.raises(ResourceError) as caught:
        download(server.url, tmp_path / "m.gguf", LOCAL, fill_the_disk)

    assert caught.value.code == "disk-full"


def test_a_connection_that_breaks_off_in_the_middle_of_a_read_is_taken_up_again(server, tmp_path):
    server.faults = ["reset:100000"]

    assert download(server.url, tmp_path / "m.gguf", LOCAL) == SHA


def test_https_checks_certificates():
    connection = _connection(Target("https", "good.example", 443, "/", "93.184.216.34"), 1.0)

    assert connection._context.verify_mode == ssl.CERT_REQUIRED
    assert connection._context.check_hostname
