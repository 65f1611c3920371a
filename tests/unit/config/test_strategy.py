"""Strategy files: what ships is right, and what is wrong is refused with its line."""

import json
import string
from pathlib import Path

import pytest
from tests.fakes.strategies import VENDORS, one, read

from stead.config.endpoints import endpoints
from stead.config.load import dump_yaml, parse_json, parse_yaml
from stead.config.model_catalog import FOLDER, catalog
from stead.config.schema import schema
from stead.config.strategy import StrategyFile
from stead.config.strategy_check import Known
from stead.config.strategy_read import read_strategies
from stead.config.validate import keys
from stead.core.errors import ConfigError

SHIPPED = Path(FOLDER).parent / "strategies" / "default.yaml"
NAMES = [
    "local_development", "cloud_production", "hybrid_fallback", "multi_provider", "cost_optimized",
    "privacy_first", "fine_tuning_pipeline", "research_experimentation", "code_generation",
    "fast_inference",
]  # fmt: skip


def shipped(environment=None):
    return read_strategies(SHIPPED, environment or {}, Known(VENDORS))


@pytest.mark.spec("000-010", "000-013", "000-073")
def test_the_ten_strategies_validate_and_each_passes_its_own_constraints() -> None:
    found = shipped()

    assert [s.name for s in found.file.strategies] == NAMES
    assert len(found.file.use_case_mapping) == 10
    for strategy in found.file.strategies:
        specs = endpoints(strategy, found.get)
        assert specs
        assert {r.target for r in strategy.routing_rules} <= {s.name for s in specs}


@pytest.mark.spec("000-041")
def test_the_chain_is_in_the_order_in_which_it_is_written() -> None:
    order = [s.model for s in endpoints(shipped().get("hybrid_fallback"), lambda _: None)]

    assert order == [
        "gpt-4o-mini", "gpt-3.5-turbo", "llama-3.1-8b-instant", "llama3.2:3b", "mistral:7b",
    ]  # fmt: skip


@pytest.mark.spec("000-059")
def test_an_unset_variable_switches_its_part_off_and_names_itself() -> None:
    without, with_key = shipped(), shipped({"OPENAI_API_KEY": "sk-x"})

    assert without.off["hybrid_fallback"]["cloud_api"] == "the variable OPENAI_API_KEY is not set"
    assert set(with_key.off["hybrid_fallback"]) == {"1"}
    assert with_key.get("hybrid_fallback").components.cloud_api.config.api_key == "sk-x"
    assert "sk-x" not in dump_yaml(with_key.raw.data)
    with pytest.raises(ConfigError, match=r"s.yaml:3: .*'NAME'"):
        one("description: ${NAME}\ncomponents: {}")


@pytest.mark.spec("000-044", "000-003", "000-039", "000-040")
def test_the_documents_example_validates() -> None:
    found = read("""
    strategies:
      - name: example_strategy
        components:
          cloud_api: {type: openai, config: {default_model: gpt-4o}}
          model_app: {type: ollama, config: {default_model: "llama3.2:3b"}}
        fallback_chain: [model_app]
        constraints: {max_tokens: 100}
    """)

    assert found.get("example_strategy").description == ""


CLOUD = "cloud_api: {type: openai, config: {default_model: m}}"
REFUSED = [
    ("fallback_chain: [modl_app]", "dangling-entry", 5),
    ("fallback_chain: [model_app]", "dangling-entry", 5),
    ("fallback_chain:\n  - {type: model_app}", "dangling-entry", 6),
    ("routing_rules:\n  - {condition: a, target: cloud_ap}", "dangling-target", 6),
    ("routing_rules:\n  - {condition: a and, target: cloud_api}", "bad-value", 6),
    ("routing_rules:\n  - {condition: a, target: cloud_api, priority: hihg}", "bad-value", 6),
    ("fallback_chain:\n  - {type: ollama, config: {default_model: m, contxt_size: 3}}",
     "unknown-key", 6),
    ("fallback_chain:\n  - {type: grok, config: {default_model: m}}", "unknown-name", 6),
    ("fallback_chain:\n  - {type: openai, name: cloud_api, config: {default_model: n}}",
     "duplicate-name", 5),
    ("fallback_chain:\n  - {type: openai}", "missing-key", 6),
    ("fallback_chain:\n  - {type: groq, config: {provider: openai, default_model: m}}",
     "conflict", 6),
    ("fallback_chain:\n  - {type: openai, config: {default_model: m, base_url: 'ftp://x'}}",
     "bad-value", 6),
    ("constraints:\n  allowed_models: [n]", "blocked-entry", 4),
    ("constraints:\n  blocked_models: [m]", "blocked-entry", 4),
    ("constraints:\n  privacy_mode: local_only", "blocked-entry", 4),
    ("constraints:\n  privacy_mode: private", "blocked-entry", 4),
    ("constraints:\n  requires_gpu: true", "blocked-entry", 6),
    ("constraints:\n  max_tokns: 4", "unknown-key", 6),
    ("constraints:\n  max_tokens: true", "bad-value", 6),
    ("policy: cheapst", "unknown-name", 5),
    ("policy: {type: canary, shar: 1}", "unknown-key", 5),
    ("nam: x", "unknown-key", 5),
]  # fmt: skip


@pytest.mark.spec("000-074", "000-093")
@pytest.mark.parametrize(("lines", "code", "line"), REFUSED)
def test_what_is_wrong_is_refused_with_its_line(lines, code, line) -> None:
    with pytest.raises(ConfigError) as found:
        one(f"components:\n  {CLOUD}\n{lines}")

    assert (found.value.code, found.value.message.split(": ")[0]) == (code, f"s.yaml:{line}")


def test_a_typo_is_told_the_nearest_key_of_the_right_kind() -> None:
    body = "components: {}\nfallback_chain:\n  - {type: ollama, config: {context_siz: 3}}"
    with pytest.raises(ConfigError, match=r"did you mean '.*\.config\.context_size'"):
        one(body)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_chain_that_leads_back_to_itself_is_refused(length) -> None:
    rows = [
        {"name": f"s{i}", "components": {}, "fallback_chain": [f"s{(i + 1) % length}"]}
        for i in range(length)
    ]
    with pytest.raises(ConfigError) as found:
        read(json.dumps({"strategies": rows}))

    assert found.value.code == "cyclic-fallback"
    assert "s0 → " in found.value.message


def test_a_chain_may_name_another_strategy_and_keeps_its_own_limits() -> None:
    text = f"""
    strategies:
      - name: outer
        components: {{}}
        fallback_chain: [inner]
        constraints: {{blocked_models: [x]}}
      - name: inner
        components:
          {CLOUD}
        fallback_chain:
          - {{type: groq, config: {{default_model: MODEL}}}}
    """
    found = read(text.replace("MODEL", "n"))
    assert [s.name for s in endpoints(found.get("outer"), found.get)] == [
        "inner/cloud_api",
        "inner/n",
    ]
    with pytest.raises(ConfigError, match="do not let 'x' answer"):
        read(text.replace("MODEL", "x"))


def test_every_one_letter_typo_of_a_key_is_refused() -> None:
    data = json.loads(json.dumps(shipped().raw.data["strategies"][2]))
    data["constraints"] = {"max_tokens": 5}
    data["optimization"] = {"cache_ttl": 5.0}
    data["monitoring"] = {"log_level": "INFO"}
    wrong, missed = 0, []
    for key in keys(StrategyFile.model_fields["strategies"].annotation.__args__[0]):
        head, _, last = key.rpartition(".")
        target = data
        for part in head.split(".") if head else ():
            target = target.get(part) if isinstance(target, dict) else None
        if not isinstance(target, dict) or last not in target:
            continue
        for letter in string.ascii_lowercase[:4]:
            bad = last[:1] + letter + last[2:]
            if bad == last:
                continue
            changed = json.loads(json.dumps(data))
            at = changed
            for part in head.split(".") if head else ():
                at = at[part]
            at[bad] = at.pop(last)
            wrong += 1
            with pytest.raises(ConfigError) as found:
                read(json.dumps({"strategies": [changed]}))
            missed += [key] if f".{last}'?" not in found.value.message else []
    assert wrong > 20
    assert len(missed) / wrong < 0.05


def test_yaml_and_json_are_the_same_strategy() -> None:
    data = shipped().raw.data
    again = [
        read_strategies(parse(text, "x"), {}, Known(VENDORS)).file
        for parse, text in ((parse_yaml, dump_yaml(data)), (parse_json, json.dumps(data)))
    ]

    assert again[0] == again[1] == shipped().file


@pytest.mark.spec("000-009", "000-030")
def test_the_schema_knows_every_section() -> None:
    found = json.dumps(schema("strategy"))

    for word in ("fallback_chain", "privacy_mode", "gpu_layers", "cheapest", "trace_sample_rate"):
        assert word in found
    assert "models" in schema("catalog")["properties"]


@pytest.mark.spec("000-011")
def test_the_catalog_holds_what_it_says_and_every_price_has_a_source() -> None:
    found = catalog()
    local = [m for m in found.models if m.provider == "ollama"]
    hub = [m for m in found.models if m.provider == "huggingface"]
    cloud = [m for m in found.models if m.provider not in ("ollama", "huggingface")]

    assert len(local) == 34
    assert all(m.size_gb and m.memory_gb and m.context and "training" in m.use_cases for m in hub)
    assert len(found.fallback_chains) == 7
    assert all(m.price and m.source and m.as_of and m.context for m in cloud)
    assert {m.provider for m in cloud} <= VENDORS.keys()
    assert found.get("codellama").name == "codellama:7b"
    assert found.find("gpt-4o-2024-08-06").name == "gpt-4o"
    assert [m.name for m in found.search("medicine medical")] == [
        m.name for m in local if m.category == "medical"
    ]
    with pytest.raises(Exception, match=r"did you mean 'llama3\.2:3b'"):
        found.get("llama3.2:3")


def test_the_catalog_knows_every_model_of_the_shipped_strategies() -> None:
    found = shipped()
    for strategy in found.file.strategies:
        for spec in endpoints(strategy, found.get):
            provider = spec.kind if spec.is_cloud else "ollama"
            assert catalog().find(spec.model, provider) is not None, spec
