"""Where a strategy of the pages may send requests: any host but those that answer on their own link alone."""

import pytest
from tests.fakes.platform_server import browser, platform_server

from stead.app import strategy_edit
from stead.core import address
from stead.core.errors import UnsafeError

METADATA = (
    "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/v1", "http://169.254.43518/",
    "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:a9fe:a9fe::]/", "http://[fe80::1%25eth0]/", "http://[fd00:ec2::254]/",
    "http://metadata.google.internal/", "http://METADATA.google.internal./", "http://100.100.100.200/", "http://192.0.0.192/",
)  # fmt: skip
OTHERS = ("http://key:word@models.example/v1", "http://good.example\\@127.0.0.1/", "http://[::1/")
GOOD = ("https://api.openai.com/v1", "http://127.0.0.1:11434", "http://localhost:8000/v1", "http://192.168.1.20:8000/v1", "http://[::1]:9/", "http://gpu-box:8000/v1")  # fmt: skip
YAML = "strategies:\n- name: mine\n  components:\n    model_app: {{type: ollama, config: {{base_url: '{}', default_model: m}}}}\n"


@pytest.mark.parametrize("url", METADATA + OTHERS)
def test_what_no_provider_has_is_refused(url):
    with pytest.raises(UnsafeError) as refused:
        strategy_edit.check_address(url)

    assert refused.value.code == "forbidden-address"


@pytest.mark.parametrize("url", GOOD)
def test_hosts_of_the_world_the_network_and_this_machine_are_let_through(url):
    strategy_edit.check_address(url)


@pytest.mark.spec("000-095")
def test_a_strategy_of_the_pages_is_checked_and_the_audit_keeps_its_addresses(
    tmp_path, monkeypatch
):
    with platform_server(tmp_path) as server:
        client = browser(*server)

        def put(url):
            return client.ask("PUT", "/api/strategies/mine", {"yaml": YAML.format(url)})

        made, changed, refused = put(GOOD[0]), put(GOOD[1]), put(METADATA[1])
        audit = client.get("/api/audit").json["items"]
        monkeypatch.setattr(address, "is_link_local", lambda url: False)  # the defence switched off
        through = put(METADATA[1])

    assert (made.status, changed.status, refused.status, refused.code) == (200, 200, 400, "forbidden-address"), made.body  # fmt: skip
    told = [(line["before"], line["after"]) for line in audit if line["action"].startswith("PUT")]
    assert told == [
        ({"base_urls": [GOOD[0]]}, {"base_urls": [GOOD[1]]}),
        ({"base_urls": []}, {"base_urls": [GOOD[0]]}),
    ]
    assert through.status == 200
