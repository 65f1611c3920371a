"""stead strategy, stead test and validate-config as a user types them."""

import asyncio
import json
import threading

import pytest
from tests.fakes.vendors import MockVendor, mock_vendor

SPEC = pytest.mark.spec


@pytest.fixture
def vendor():
    """A mock vendor that answers from a thread, since commands have a loop of their own."""
    ready, stop = threading.Event(), []
    found: list[MockVendor] = []

    async def serve():
        async with mock_vendor() as made:
            found.append(made)
            stop.append((asyncio.get_running_loop(), asyncio.Event()))
            ready.set()
            await stop[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    stop[0][0].call_soon_threadsafe(stop[0][1].set)
    thread.join(10)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write a file of strategies; its keys come from the environment."""
    monkeypatch.setenv("MY_KEY", "k-secret-value-1")

    def write(url="http://127.0.0.1:9", more=""):
        path = tmp_path / "mine.yaml"
        path.write_text(f"""
strategies:
  - name: mine
    components:
      cloud_api:
        type: openai_compatible
        config: {{provider: openai, api_key: "${{MY_KEY}}", base_url: "{url}", default_model: gpt-4o}}
      model_app: {{type: mock_model, config: {{default_model: echo}}}}
    routing_rules:
      - {{condition: input.is_code, target: model_app}}
{more}
""")
        return path

    return write


@SPEC("000-013", "000-073")
def test_list_show_use_and_export(stead, file, home, tmp_path):
    status, out, _ = stead("strategy", "list", "--json")
    listed = json.loads(out)

    assert status == 0
    assert len(listed["strategies"]) == 10
    assert stead("strategy", "use", "production")[0] == 0
    used = json.loads(stead("strategy", "list", "--json")[1])["strategies"]
    assert [s["name"] for s in used if s["in_use"]] == ["cloud_production"]

    out_file = tmp_path / "out.yaml"
    assert stead("strategy", "export", file(), "--out", out_file)[0] == 0
    text = out_file.read_text()
    assert "${MY_KEY}" in text
    assert "k-secret" not in text
    shown = stead("strategy", "show", out_file)[1]
    assert "input.is_code" in shown
    assert stead("validate-config", out_file)[0] == 0
    recipe = stead(
        "strategy", "export", "fine_tuning_pipeline", "--recipe", "--out", tmp_path / "r.yaml"
    )
    assert recipe[0] == 0
    assert stead("validate-config", tmp_path / "r.yaml")[1].endswith("is a valid recipe\n")


@SPEC("000-069")
def test_a_use_case_gives_its_first_strategy_and_says_so(stead, home):
    status, out, error = stead("strategy", "show", "production")

    assert status == 0
    assert "name: cloud_production" in out
    assert "'production' is a use case: its first strategy is 'cloud_production'" in error
    status, _, error = stead("strategy", "show", "prodution")
    assert (status, "did you mean 'production'" in error) == (2, True)


@SPEC("000-074")
def test_validate_config_lists_every_problem_with_its_place(stead, file, home):
    path = file(more="    constraints: {max_tokns: 4}\n    monitoring: {log_level: LOUD}")
    status, out, error = stead("validate-config", path)

    assert (status, out) == (2, "")
    assert f"{path}:11: there is no key 'strategies.0.constraints.max_tokns'" in error
    assert f"{path}:12: strategies.0.monitoring.log_level='LOUD'" in error


@SPEC("000-075")
def test_a_dry_test_says_who_would_answer_why_and_for_how_much(stead, file, home):
    status, out, _ = stead("test", "--strategy-file", file(), "--json")
    found = json.loads(out)
    by_sample = {o["sample"]: o for o in found["outlook"]}

    assert status == 0
    assert [c["name"] for c in found["components"]] == ["cloud_api", "model_app"]
    assert by_sample["code"]["steps"][0]["name"] == "model_app"
    assert by_sample["code"]["rules"] == ["input.is_code → model_app"]
    assert by_sample["short"]["steps"][0]["name"] == "cloud_api"
    # "Name three colors." and its frame are 9 tokens at $2.50, the answer at most 1024 at $10.
    assert by_sample["short"]["steps"][0]["dollars"] == pytest.approx(9 * 2.5e-6 + 1024 * 1e-5)
    assert found["answers"] == []


@SPEC("000-075")
def test_a_live_test_asks_and_keeps_to_the_thresholds(stead, file, home, vendor):
    path = file(vendor.url)
    options = ("--strategy-file", path, "--query", "one two", "--live")
    status, out, _ = stead("test", *options, "--json")
    answer = json.loads(out)["answers"][0]

    assert status == 0
    assert (answer["text"], answer["candidate"]) == (vendor.text("one two"), "cloud_api")
    assert answer["dollars"] > 0
    file(vendor.url, "validation_rules: {performance_thresholds: {max_latency_ms: 0.001}}")
    status, _, error = stead("test", *options)
    assert (status, "the slowest answer took" in error) == (1, True)


def test_strategies_of_the_data_directory_are_listed_and_hide_shipped_ones(stead, home):
    folder = home / "strategies"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(
        "strategies:\n  - {name: fast_inference, description: own, components: {},"
        " fallback_chain: [privacy_first]}\n"
    )
    rows = json.loads(stead("strategy", "list", "--json")[1])["strategies"]

    assert [r["description"] for r in rows if r["name"] == "fast_inference"] == ["own"]
    shown = json.loads(stead("strategy", "show", "fast_inference", "--json")[1])
    assert shown["parts"] == {"privacy_first/model_app": ""}


def test_schema_prints_that_of_strategies(stead):
    found = json.loads(stead("schema", "strategy")[1])

    assert found["title"] == "StrategyFile"


@SPEC("000-011")
def test_the_catalog_is_searched_and_shown(stead):
    found = json.loads(stead("catalog", "search", "code gpt", "--json")[1])["models"]
    listed = json.loads(stead("catalog", "list", "--category", "medical", "--json")[1])["models"]
    chains = json.loads(stead("catalog", "fallbacks", "--chain", "code_chain", "--json")[1])

    assert "gpt-4o" in {m["name"] for m in found}
    assert len(listed) == 4
    assert chains["code_chain"]["primary"] == "codellama:13b"
    assert "input: 2.5" in stead("catalog", "info", "gpt-4o")[1]
    assert stead("catalog", "info", "gpt-4p")[0] == 2
