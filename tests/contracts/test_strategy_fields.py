"""Every knob of a strategy is live: each field has a witness here that would notice if it were ignored."""

import asyncio
import json
import logging
import time

import pytest
from pydantic import BaseModel
from tests.fakes.strategies import ask, made, one, read
from tests.fakes.vendor_protocols import vector_of
from tests.fakes.vendors import Fault, mock_vendor

from stead.app import trials
from stead.app.monitoring import MetricsPort, WithPort, set_up_log
from stead.app.programs import program
from stead.app.strategies import exported
from stead.app.strategy_library import Found
from stead.config.components import LocalConfig
from stead.config.endpoints import EndpointSpec
from stead.config.recipe import read_recipe
from stead.config.strategy import StrategyFile
from stead.config.validate import _models
from stead.config.workshop import recipe_of
from stead.core.errors import ConfigError, SteadError
from stead.core.log import tear_down
from stead.core.metrics import Metrics
from stead.core.paths import Home
from stead.inference.backends.echo import Echo
from stead.inference.prices import picodollars
from stead.messages import EmbedRequest

WITNESSES = {}


def witness(*fields):
    """Say which fields ("Class.field") a test is the witness of."""

    def mark(test):
        WITNESSES.update(dict.fromkeys(fields, test))
        return test

    return mark


def fields_of(model, seen=None):
    """Return every field of a config class and of those below it."""
    seen = {} if seen is None else seen
    if model in seen or model is BaseModel:
        return seen
    seen[model] = None
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            fields_of(inner, seen)
    return seen


ALL = sorted(
    {f"{c.__name__}.{name}" for c in fields_of(StrategyFile) for name in c.model_fields}
    - {"ExtensionConfig.type"}
)


@pytest.mark.spec("000-043")
def test_every_field_has_a_witness() -> None:
    assert sorted(WITNESSES) == ALL


def test_every_field_is_described() -> None:
    bare = [
        f"{c.__name__}.{name}"
        for c in fields_of(StrategyFile)
        for name, field in c.model_fields.items()
        if not field.description
    ]

    assert bare == []


# What the witnesses are made of.


def cloud(vendor, model="gpt-4o-mini", **config):
    """One cloud component that leads to a mock vendor."""
    given = {"provider": "openai", "api_key": "k-12345678", "base_url": vendor.url} | config
    given |= {"default_model": model}
    return f"cloud_api: {{type: openai_compatible, config: {json.dumps(given)}}}"


def strategy(components, **sections):
    lines = "\n".join(f"  {c}" for c in components)
    return f"components:\n{lines}\n" + "".join(
        f"{k}: {json.dumps(v)}\n" for k, v in sections.items()
    )


async def asked(vendor, request=None, *, parts=None, model="gpt-4o-mini", config=None, **sections):
    """Ask a strategy of one cloud component; return the reply and what the vendor received."""
    found = one(strategy([cloud(vendor, model, **(config or {}))], **sections))
    composed = made(found, **(parts or {}))
    try:
        return await composed.backend.generate(request or ask())
    finally:
        await composed.backend.close()


def refused(body, environment=None):
    """Return the code of the error that a strategy's lines give."""
    with pytest.raises(ConfigError) as found:
        one(body, environment)
    return found.value.code, found.value.message


async def code_of(composed, request):
    """Ask; return the code of the error, or "" for an answer."""
    try:
        await composed.backend.generate(request)
    except SteadError as error:
        return error.code
    return ""


MOCK = "model_app: {type: mock_model, config: {default_model: m}}"


# The file.


@witness("StrategyFile.version", "StrategyFile.strategies")
def _() -> None:
    with pytest.raises(ConfigError, match="version='9'"):
        read("version: '9'\nstrategies: []")
    assert [s.name for s in read("strategies: []").file.strategies] == []


@witness("StrategyFile.use_case_mapping")
def _() -> None:
    with pytest.raises(ConfigError, match=r"s.yaml:2: the use case 'x' names 'y'"):
        read("strategies: []\nuse_case_mapping: {x: [y]}")


@witness("StrategyFile.strategy_templates", "Strategy.template")
def _() -> None:
    text = """
    strategy_templates: {t: {constraints: {max_tokens: 5, max_input_tokens: 7}}}
    strategies:
      - {name: s, template: t, components: {}, constraints: {max_tokens: 9}}
    """
    limits = read(text).get("s").constraints

    assert (limits.max_tokens, limits.max_input_tokens) == (9, 7)
    assert refused("template: no\ncomponents: {}")[0] == "dangling-name"


@witness("StrategyFile.validation_rules", "ValidationRules.required_components")
def _() -> None:
    text = "validation_rules: {required_components: [converter]}\nstrategies: [{name: s, components: {}}]"
    with pytest.raises(ConfigError, match="ask for a converter"):
        read(text)


@witness("ValidationRules.incompatible_combinations")
def _() -> None:
    text = (
        "validation_rules: {incompatible_combinations: [[model_app, mock_model]]}\n"
        f"strategies: [{{name: s, components: {{{MOCK}}}}}]"
    )
    with pytest.raises(ConfigError, match="forbid model_app with mock_model"):
        read(text)


@witness(
    "ValidationRules.performance_thresholds", "Thresholds.max_latency_ms",
    "Thresholds.min_throughput_rps", "Thresholds.max_error_rate",
)  # fmt: skip
def _() -> None:
    answers = [trials.Answered("a", 0.2), trials.Answered("b", 0.4, error="no")]

    def misses(**limits):
        rules = json.dumps({"performance_thresholds": limits})
        return trials.misses(
            read(
                f"validation_rules: {rules}\nstrategies: []"
            ).file.validation_rules.performance_thresholds,
            answers,
        )

    assert len(misses(max_latency_ms=100)) == len(misses(min_throughput_rps=5)) == 1
    assert len(misses(max_error_rate=0.1)) == 1
    assert misses(max_latency_ms=1000, min_throughput_rps=0.5, max_error_rate=0.5) == []


@witness("StrategyFile.metadata")
def _(tmp_path) -> None:
    assert read("strategies: []\nmetadata: {team: we}").file.metadata == {"team": "we"}


# A strategy.


@witness("Strategy.name")
def _() -> None:
    assert "s" in made(one(strategy([MOCK]))).names


@witness("Strategy.description")
def _(tmp_path) -> None:
    found = one("description: what for\n" + strategy([MOCK]))

    assert "what for" in str(exported(Found(found.get("s"), tmp_path, found)))


@witness(
    "Strategy.components", "Components.cloud_api", "Components.model_app", "CloudComponent.type",
    "CloudComponent.config", "LocalComponent.type", "LocalComponent.config",
)  # fmt: skip
async def _() -> None:
    async with mock_vendor() as vendor:
        composed = made(one(strategy([cloud(vendor), MOCK])))
    assert [(c.name, c.vendor, c.model) for c in composed.candidates] == [
        ("cloud_api", "openai", "gpt-4o-mini"),
        ("model_app", "mock_model", "m"),
    ]
    assert refused(strategy(["cloud_api: {type: gorq, config: {default_model: m}}"]))[0] == (
        "unknown-name"
    )


@witness(
    "Strategy.fallback_chain", "CloudEntry.type", "CloudEntry.config", "CloudEntry.name",
    "LocalEntry.type", "LocalEntry.config", "LocalEntry.name",
)  # fmt: skip
async def _() -> None:
    async with mock_vendor(always=Fault(status=400)) as vendor:
        bad = {"api_key": "k-12345678", "base_url": vendor.url, "default_model": "x"}
        chain = [
            {"name": "second", "type": "groq", "config": bad},
            {"name": "third", "type": "mock_model", "config": {"default_model": "m"}},
        ]
        body = strategy([cloud(vendor, max_retries=0)], fallback_chain=chain)
        vendor.always = Fault(status=500)
        reply = await made(one(body)).backend.generate(ask())

    assert reply.model == "m"
    assert [d.detail for d in reply.deviations] == [
        "cloud_api → second: upstream-failed",
        "second → third: upstream-failed",
    ]


@witness("Strategy.routing_rules", "Rule.condition", "Rule.target", "Rule.priority")
async def _() -> None:
    chain = [
        {"name": n, "type": "mock_model", "config": {"default_model": n}} for n in ("b", "c", "d")
    ]
    rules = [
        {"condition": 'input.contains("code")', "target": "b", "priority": "low"},
        {"condition": "urgent", "target": "c"},
        {"condition": "input.length > 20", "target": "d", "priority": "high"},
    ]
    composed = made(one(strategy([MOCK], fallback_chain=chain, routing_rules=rules)))

    async def who(text, *tags):
        return (await composed.backend.generate(ask(text, tags=tags))).model

    assert [await who("hello"), await who("code"), await who("code", "urgent")] == ["m", "b", "c"]
    assert await who("code " * 9, "urgent") == "d"


@witness("Strategy.policy")
async def _() -> None:
    async with mock_vendor() as vendor:
        parts = [cloud(vendor), MOCK]
        plain = await made(one(strategy(parts))).backend.generate(ask())
        cheap = await made(one(strategy(parts, policy="cheapest"))).backend.generate(ask())
    assert (plain.model, cheap.model) == ("gpt-4o-mini", "m")
    assert refused(strategy([MOCK], policy="cheepest"))[0] == "unknown-name"


# Cloud parts.


@witness("CloudConfig.base_url", "CloudConfig.default_model", "CloudConfig.api_key")
async def _() -> None:
    async with mock_vendor(key="k-secret-1") as vendor:
        await asked(vendor, config={"api_key": "k-secret-1"}, model="gpt-4o")

        assert vendor.invoice[0].model == "gpt-4o"
        assert vendor.invoice[0].headers["Authorization"] == "Bearer k-secret-1"


@witness("CloudConfig.provider")
async def _() -> None:
    async with mock_vendor() as vendor:
        text = strategy([cloud(vendor, provider="anthropic")])
        await made(one(text)).backend.generate(ask(max_tokens=5))

        assert vendor.invoice[0].protocol == "anthropic"


@witness("CloudConfig.organization")
async def _() -> None:
    async with mock_vendor() as vendor:
        await asked(vendor, config={"organization": "org-7"})

        assert vendor.invoice[0].headers["OpenAI-Organization"] == "org-7"


@witness("CloudConfig.timeout", "LocalConfig.timeout")
async def _() -> None:
    async with mock_vendor(always=Fault(hang=True)) as vendor:
        for part in (
            cloud(vendor, timeout=0.05, max_retries=0),
            f"model_app: {{type: tgi, config: {{base_url: '{vendor.url}', default_model: m, timeout: 0.05}}}}",
        ):
            text = strategy([part], optimization={"retry_policy": {"max_attempts": 1}})
            composed = made(one(text))
            with pytest.raises(SteadError) as found:
                await composed.backend.generate(ask())
            await composed.backend.close()
            assert found.value.code == "attempt-timeout"


@witness("CloudConfig.max_retries", "CloudConfig.retry_delay", "RetryPolicySection.max_attempts",
         "RetryPolicySection.max_backoff", "RetryPolicySection.backoff_multiplier",
         "Optimization.retry_policy")  # fmt: skip
async def _() -> None:
    async def attempts(config, **policy):
        async with mock_vendor(always=Fault(status=503)) as vendor:
            begun = time.monotonic()
            with pytest.raises(SteadError):
                await asked(vendor, config=config, optimization={"retry_policy": policy})
            return len(vendor.invoice), time.monotonic() - begun

    assert (await attempts({"retry_delay": 0.001}, max_attempts=2))[0] == 2
    assert (await attempts({"retry_delay": 0, "max_retries": 3}, max_attempts=2))[0] == 4
    policies = {
        config.retry_policy: None
        for config in (
            one(strategy([MOCK], optimization={"retry_policy": p})).get("s").optimization
            for p in ({"max_backoff": 2}, {"backoff_multiplier": 3})
        )
    }
    retries = [_retry(p, delay) for p in policies for delay in (None, 0.25)]
    assert [(r.max_backoff_s, r.backoff_multiplier, r.base_s) for r in retries] == [
        (2.0, 2.0, 0.5), (2.0, 2.0, 0.25), (30.0, 3.0, 0.5), (30.0, 3.0, 0.25),
    ]  # fmt: skip


def _retry(section, delay):
    """Return the policy of the retry loop that stands around the one candidate."""
    config = {"provider": "openai", "api_key": "k", "default_model": "gpt-4o", "retry_delay": delay}
    text = strategy(
        [f"cloud_api: {{type: openai_compatible, config: {json.dumps(config)}}}"],
        optimization={"retry_policy": section.model_dump()},
    )
    return made(one(text)).candidates[0].backend._policy


@witness("CloudConfig.models", "ModelDefaults.max_tokens", "ModelDefaults.temperature")
async def _() -> None:
    models = {"gpt-4o": {"max_tokens": 3, "temperature": 0}}
    async with mock_vendor() as vendor:
        await asked(vendor, ask(model="gpt-4o"), config={"models": models})
        await asked(vendor, ask(model="gpt-4o", temperature=1.0), config={"models": models})
        with pytest.raises(SteadError, match="not served"):
            await asked(vendor, ask(model="gpt-4o"))

        bodies = [b.body for b in vendor.invoice]
    assert [(b["max_tokens"], b["temperature"]) for b in bodies] == [(3, 0), (3, 1)]


# Programs on this machine.


def local_part(kind, **config):
    return f"model_app: {{type: {kind}, config: {json.dumps(config)}}}"


@witness("LocalConfig.base_url", "LocalConfig.default_model", "LocalConfig.api_key")
async def _() -> None:
    async with mock_vendor(key="k-local-1") as vendor:
        part = local_part("vllm", base_url=vendor.url, default_model="q", api_key="k-local-1")
        await made(one(strategy([part]))).backend.generate(ask())

        assert vendor.invoice[0].model == "q"


@witness("LocalConfig.models", "PulledModel.name")
async def _() -> None:
    async with mock_vendor() as vendor:
        part = local_part("tgi", base_url=vendor.url, models=[{"name": "a"}, {"name": "b"}])
        composed = made(one(strategy([part])))

        assert (await composed.backend.generate(ask())).model == "a"
        assert (await composed.backend.generate(ask(model="b"))).model == "b"


@witness("LocalConfig.num_thread", "LocalConfig.cpu_threads", "LocalConfig.context_size",
         "LocalConfig.gpu_layers")  # fmt: skip
async def _() -> None:
    async def options(**config):
        async with mock_vendor() as vendor:
            part = local_part("ollama", base_url=vendor.url, default_model="m", **config)
            home = Home.find()
            composed = made(one(strategy([part])), local=lambda spec: program(spec, home))
            await composed.backend.generate(ask())
            await composed.backend.close()
            return vendor.invoice[0].body["options"], composed.candidates[0].context

    assert await options(num_thread=3, context_size=512, gpu_layers=0) == (
        {"num_thread": 3, "num_ctx": 512, "num_gpu": 0},
        512,
    )
    assert (await options(cpu_threads=2))[0] == {"num_thread": 2}


def ollama(tmp_path, **config):
    given = LocalConfig(base_url="http://127.0.0.1:9", **config)
    return program(EndpointSpec("a", "s", "model_app", "ollama", False, "m", given), Home(tmp_path))


@witness("LocalConfig.auto_start")
def _(tmp_path) -> None:
    started = []
    for auto in (False, True):
        backend = ollama(tmp_path, auto_start=auto)
        backend._start_server = lambda auto=auto: started.append(auto)
        backend.start()

    assert started == [True]


@witness("PulledModel.pull_on_start")
def _(tmp_path) -> None:
    orders = [
        ollama(tmp_path, models=({"name": "m", **m},)).order for m in ({}, {"pull_on_start": True})
    ]

    assert [order.pull for order in orders] == [False, True]


# Parts that train, fetch and convert.

TUNER = {
    "base_model": {"name": "base", "torch_dtype": "bfloat16"},
    "method": {"type": "lora", "r": 4, "alpha": 9, "dropout": 0.2, "target_modules": ["q_proj"]},
    "dataset": {"path": "rows.jsonl"},
    "training": {
        "batch_size": 3, "learning_rate": 0.01, "num_epochs": 2,
        "gradient_accumulation_steps": 5, "warmup_ratio": 0.25,
    },
}  # fmt: skip


def recipe(tuner, kind="pytorch", converter=None):
    parts = {"fine_tuner": {"type": kind, "config": tuner}}
    if converter is not None:
        parts["converter"] = converter
    found = one(f"components: {json.dumps(parts)}").get("s").components
    return recipe_of(found.fine_tuner, found.converter)


@witness(
    "Components.fine_tuner", "TunerComponent.config", "TunerConfig.base_model", "TunerConfig.method",
    "TunerConfig.dataset", "TunerConfig.training", "BaseModelSection.name",
    "BaseModelSection.torch_dtype", "MethodSection.type", "MethodSection.r", "MethodSection.alpha",
    "MethodSection.dropout", "MethodSection.target_modules", "DatasetSection.path",
    "TrainingSection.batch_size", "TrainingSection.learning_rate", "TrainingSection.num_epochs",
    "TrainingSection.gradient_accumulation_steps", "TrainingSection.warmup_ratio",
)  # fmt: skip
def _() -> None:
    config = read_recipe(recipe(TUNER)).config

    assert (config.model.path, config.model.dtype, config.data.path) == (
        "base",
        "bf16",
        "rows.jsonl",
    )
    adapter, trainer = config.adapter, config.trainer
    assert (adapter.type, adapter.r, adapter.alpha, adapter.dropout) == ("lora", 4, 9, 0.2)
    assert tuple(adapter.target_modules) == ("q_proj",)
    assert (trainer.batch_rows, trainer.lr, trainer.epochs) == (3, 0.01, 2)
    assert (trainer.accumulation, trainer.warmup) == (5, 0.25)


@witness("TunerComponent.type", "BaseModelSection.huggingface_id", "BaseModelSection.load_in_4bit")
def _() -> None:
    base = {"base_model": {"huggingface_id": "org/name", "load_in_4bit": True}}
    found = recipe(base, kind="llamafactory")

    assert found["trainer"]["type"] == "llamafactory"
    assert (found["model"]["path"], found["adapter"]["type"]) == ("org/name", "qlora")


@witness("Components.converter", "ConverterComponent.type", "ConverterComponent.config",
         "ConverterConfig.quantization")  # fmt: skip
def _() -> None:
    converter = {"type": "gguf", "config": {"quantization": "q8_0"}}

    assert read_recipe(recipe(TUNER, converter=converter)).config.export[0].quant == "q8_0"


@witness("Components.repository", "RepositoryComponent.type", "RepositoryComponent.config",
         "RepositoryConfig.token")  # fmt: skip
def _() -> None:
    lines = "components: {repository: {type: huggingface, config: {token: '${HUB_TOKEN}'}}}"

    assert one(lines).off == {"s": {"repository": "the variable HUB_TOKEN is not set"}}
    assert one(lines, {"HUB_TOKEN": "t"}).off == {}
    assert refused("components: {repository: {type: hugingface}}")[0] == "unknown-name"


# Constraints.


@witness("Constraints.max_tokens", "Constraints.max_output_tokens")
async def _() -> None:
    async with mock_vendor() as vendor:
        for limits in ({"max_tokens": 2}, {"max_tokens": 9, "max_output_tokens": 2}):
            reply = await asked(vendor, ask(max_tokens=50), constraints=limits)

            assert reply.text == "one0 two1"
            assert [d.kind for d in reply.deviations] == ["answer_limited"]
        with pytest.raises(SteadError) as found:
            await asked(vendor, ask(max_tokens=50, strict=True), constraints={"max_tokens": 2})
    assert found.value.code == "deviation"


@witness("Constraints.max_input_tokens")
async def _() -> None:
    async with mock_vendor() as vendor:
        with pytest.raises(SteadError) as found:
            await asked(vendor, ask("word " * 99), constraints={"max_input_tokens": 20})

        assert (found.value.code, vendor.invoice) == ("input-too-long", [])


@witness("Constraints.max_cost_per_request")
async def _() -> None:
    async with mock_vendor() as vendor:
        with pytest.raises(SteadError):
            await asked(vendor, ask(max_tokens=100), constraints={"max_cost_per_request": 1e-6})

        assert vendor.invoice == []
        await asked(vendor, ask(max_tokens=100), constraints={"max_cost_per_request": 0.1})


@witness("Constraints.daily_budget", "Constraints.monthly_budget")
async def _() -> None:
    async with mock_vendor() as vendor:
        for name in ("daily_budget", "monthly_budget"):
            # One answer of 100 tokens reserves 60 millionths of a dollar and takes 4.
            composed = made(one(strategy([cloud(vendor)], constraints={name: 0.0001})))
            codes = [await code_of(composed, ask(max_tokens=100)) for _ in range(40)]
            answered = codes.count("")
            assert (set(codes), 5 <= answered <= 25) == ({"", "budget-exceeded"}, True)
            assert answered * vendor.length * picodollars("6e-7") <= picodollars("0.0001")


@witness("Constraints.allowed_models", "Constraints.blocked_models")
async def _() -> None:
    config = {"models": {"gpt-4o": {}}}
    async with mock_vendor() as vendor:
        text = strategy([cloud(vendor, **config)], constraints={"allowed_models": ["gpt-4o-mini"]})
        assert "gpt-4o" not in made(one(text)).names
        text = strategy([cloud(vendor, **config)], constraints={"blocked_models": ["gpt-4o"]})
        assert "gpt-4o" not in made(one(text)).names
        for limits in ({"allowed_models": ["x"]}, {"blocked_models": ["gpt-4o-mini"]}):
            code, message = refused(strategy([cloud(vendor)], constraints=limits))
            assert (code, message.startswith("s.yaml:4: ")) == ("blocked-entry", True)


@witness("Constraints.requires_gpu", "Constraints.min_gpu_memory")
def _() -> None:
    part = local_part("tgi", base_url="http://127.0.0.1:9", default_model="m")

    def reason(gpus, **limits):
        return (
            made(one(strategy([part], constraints=limits)), gpu_gb=gpus).candidates[0].unavailable
        )

    assert "wants a GPU" in reason([], requires_gpu=True)
    assert reason([8.0], requires_gpu=True) is None
    assert "wants 16 GB" in reason([8.0], min_gpu_memory=16)
    assert reason([24.0], min_gpu_memory=16) is None


@witness("Constraints.privacy_mode")
async def _() -> None:
    async with mock_vendor() as vendor:
        code, _ = refused(strategy([cloud(vendor)], constraints={"privacy_mode": "local_only"}))

        assert (code, vendor.invoice) == ("blocked-entry", [])


# Optimization.


@witness("Optimization.cache_enabled", "Optimization.cache_ttl")
async def _() -> None:
    async def sent(**faster):
        async with mock_vendor() as vendor:
            composed = made(one(strategy([cloud(vendor)], optimization=faster)))
            for _ in range(2):
                await composed.backend.generate(ask(temperature=0.0))
                await asyncio.sleep(0.01)
            return len(vendor.invoice)

    assert await sent() == 2
    assert await sent(cache_enabled=True) == 1
    assert await sent(cache_enabled=True, cache_ttl=0.001) == 2


@witness("Optimization.batch_size", "Optimization.batch_timeout")
async def _() -> None:
    async def calls(**faster):
        async with mock_vendor() as vendor:
            text = strategy([cloud(vendor, "text-embedding-3-small")], optimization=faster)
            composed = made(one(text))
            asks = [EmbedRequest(model="auto", input=(f"text {i}",)) for i in range(4)]
            begun = time.monotonic()
            replies = await asyncio.gather(*(composed.backend.embed(a) for a in asks))
            assert [list(r.vectors[0]) for r in replies] == [vector_of(a.input[0]) for a in asks]
            return len(vendor.invoice), time.monotonic() - begun

    assert (await calls())[0] == 4
    assert (await calls(batch_size=4, batch_timeout=5000))[0] == 1
    count, seconds = await calls(batch_size=100, batch_timeout=60)
    assert (count, 0.05 < seconds < 5) == (1, True)


@witness("Optimization.timeout_seconds")
async def _() -> None:
    async with mock_vendor(always=Fault(hang=True)) as vendor:
        with pytest.raises(SteadError) as found:
            await asked(vendor, optimization={"timeout_seconds": 0.05})
    assert found.value.code in ("deadline", "first-byte-timeout")


@witness("Optimization.parallel_requests")
async def _() -> None:
    async def most(**faster):
        seen = {"now": 0, "most": 0}

        class Counting(Echo):
            async def generate(self, request, deadline=None):
                seen["now"] += 1
                seen["most"] = max(seen["most"], seen["now"])
                await asyncio.sleep(0.005)
                seen["now"] -= 1
                return await super().generate(request, deadline)

        text = strategy([local_part("llamacpp", default_model="m")], optimization=faster)
        composed = made(one(text), local=lambda _: Counting())
        await asyncio.gather(*(composed.backend.generate(ask()) for _ in range(6)))
        return seen["most"]

    assert (await most(), await most(parallel_requests=2)) == (6, 2)


# Monitoring.


class Records(logging.Handler):
    """Keeps log records of a logger while it is watched."""

    def __init__(self, name):
        super().__init__(logging.DEBUG)
        self.logger, self.records = logging.getLogger(name), []

    def __enter__(self):
        self.logger.addHandler(self)
        return self.records

    def __exit__(self, *_):
        self.logger.removeHandler(self)

    def emit(self, record):
        self.records.append(record)


class Broken(Echo):
    async def generate(self, request, deadline=None):
        raise SteadError("broken", "it broke")


async def told(count=1, logger="stead.strategy.s", local=None, **watch):
    text = strategy([local_part("llamacpp", default_model="m")], monitoring=watch)
    composed = made(one(text), local=local or (lambda _: Echo("m")))
    with Records(logger) as records:
        for i in range(count):
            request = ask()
            request.call.id = f"call {i}"
            await code_of(composed, request)
    return records


@witness("Strategy.monitoring", "Monitoring.log_level")
async def _() -> None:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    good = [len(await told(log_level=level)) for level in levels]
    bad = [len(await told(local=lambda _: Broken("m"), log_level=level)) for level in levels]

    assert (good, bad) == ([2, 1, 0, 0], [2, 1, 1, 0])


@witness("Monitoring.log_format")
def _(tmp_path) -> None:
    try:
        for form, wanted in (("json", "{"), ("text", "2")):
            home = Home(tmp_path / form)
            set_up_log(one(strategy([MOCK], monitoring={"log_format": form})).get("s"), home)
            logging.getLogger("stead.strategy.s").error("hello")
            assert (home.logs / "app" / "error.log").read_text()[0] == wanted
    finally:
        tear_down()


@witness("Monitoring.metrics_enabled")
async def _() -> None:
    async def text(**watch):
        metrics = Metrics()
        composed = made(one(strategy([MOCK], monitoring=watch)), metrics=metrics)
        await composed.backend.generate(ask())
        return metrics.render()

    assert 'stead_strategy_requests_total{strategy="s",outcome="ok"} 1' in await text()
    assert "stead_strategy" not in await text(metrics_enabled=False)


@witness("Monitoring.metrics_port")
async def _() -> None:
    metrics = Metrics()
    found = one(strategy([MOCK], monitoring={"metrics_port": 0}))
    port = MetricsPort(metrics, found.get("s").monitoring.metrics_port)
    backend = WithPort(made(found, metrics=metrics).backend, port)
    await backend.generate(ask())
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await backend.close()

    assert b"200 OK" in answer
    assert b"stead_strategy_requests_total" in answer


@witness("Monitoring.trace_enabled", "Monitoring.trace_sample_rate")
async def _() -> None:
    name = "stead.performance.trace.s"
    logging.getLogger(name).setLevel(logging.INFO)

    async def traced(**watch):
        return len(await told(40, name, **watch))

    assert [await traced(), await traced(trace_enabled=True)] == [0, 40]
    assert 5 < await traced(trace_enabled=True, trace_sample_rate=0.5) < 35


@witness("Monitoring.alerts", "Alert.type", "Alert.threshold")
async def _() -> None:
    async def alarms(count, kind, threshold, local=None):
        alerts = [{"type": kind, "threshold": threshold}]
        records = await told(count, local=local, alerts=alerts)
        return [r.getMessage() for r in records if r.levelname == "CRITICAL"]

    assert len(await alarms(30, "error_rate", 0.5, lambda _: Broken())) == 1
    assert await alarms(30, "error_rate", 0.5) == []
    assert len(await alarms(30, "latency", 0.0001)) == 1
    assert await alarms(30, "latency", 60_000) == []


@witness("Strategy.constraints", "Strategy.optimization")
def _() -> None:
    assert refused(strategy([MOCK], constraints={"max_tokns": 1}))[0] == "unknown-key"
    assert refused(strategy([MOCK], optimization={"max_tokns": 1}))[0] == "unknown-key"


GROUPS = {
    " ".join(sorted(f for f, t in WITNESSES.items() if t is test)): test
    for test in WITNESSES.values()
}


@pytest.mark.parametrize("fields", sorted(GROUPS))
def test_the_fields_have_an_effect(fields, tmp_path) -> None:
    test = GROUPS[fields]
    given = {"tmp_path": tmp_path} if "tmp_path" in test.__code__.co_varnames[:1] else {}
    result = test(**given)
    if asyncio.iscoroutine(result):
        asyncio.run(asyncio.wait_for(result, 20))
