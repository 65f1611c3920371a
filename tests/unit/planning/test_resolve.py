"""Planning with known facts: what each "auto" becomes, origins, hash, refusals."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stead.config import load
from stead.config.run import RunConfig
from stead.core.errors import ConfigError, ResourceError
from stead.core.hardware import Gpu, Hardware
from stead.core.paths import Home
from stead.planning import history
from stead.planning.facts import DataFacts
from stead.planning.plan import Plan
from stead.planning.resolve import plan

GIB = 1 << 30
TIGHT = int(1.2 * GIB)  # the test's model with 2,048 tokens at once needs more


@dataclass(frozen=True)
class Model:
    """Facts of a 41M Llama."""

    kind: str = "model"
    path: Path = Path("models/m")
    architecture: str = "LlamaForCausalLM"
    family: str = "llama"
    parameters: int = 41_000_000
    dtype: str = "fp32"
    context_length: int = 1024
    vocab_size: int = 32_000
    hidden_size: int = 512
    intermediate_size: int = 1376
    layers: int = 8
    tied: bool = True
    has_template: bool = True
    hash: str = "m" * 64
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = field(
        default_factory=lambda: {
            f"model.layers.{i}.self_attn.q_proj.weight": ("F32", (512, 512)) for i in range(8)
        }
    )


CPU = Hardware("cpu x", 2, ("avx2", "avx512f", "amx_bf16"), 24 * GIB, 20 * GIB, 80 * GIB)
DATA = DataFacts(
    rows=900,
    eval_rows=100,
    tokens=90_000,
    label_tokens=50_000,
    lengths={"p50": 90, "p99": 280, "max": 300},
    hash="d" * 64,
    kind="messages",
)
ASKED: dict[str, Any] = {"model": {"path": "models/m"}, "data": {"path": "rows.jsonl"}}


def make(
    source: Any = ASKED,
    over: dict[str, Any] | None = None,
    *,
    model: Model = Model(),
    data: DataFacts = DATA,
    hardware: Hardware = CPU,
    **more: Any,
) -> Plan:
    return plan(
        source,
        overrides=over,
        inspect=lambda path: model,
        survey=lambda config, found, longest: data,
        hardware=hardware,
        **more,
    )


@pytest.mark.spec("004-040")
def test_nothing_is_left_open_and_every_key_has_an_origin() -> None:
    made = make()

    flat = made.config.model_dump(mode="json")
    assert "auto" not in [
        v for k, part in flat.items() if k in ("model", "trainer") for v in part.values()
    ]
    assert made.config.data.max_length == 304
    assert made.config.model.dtype == "bf16"
    assert made.origins["model.dtype"] == "hardware (the processor multiplies bf16 in hardware)"
    assert made.origins["data.max_length"] == "data (longest row has 300 tokens)"
    assert made.origins["trainer.lr"] == "default for method sft with adapter lora"
    assert made.origins["adapter.r"] == "default of adapter lora"
    assert made.origins["model.path"] == "call"
    assert made.origins["trainer.epochs"] == "default"


def test_defaults_are_those_of_the_table() -> None:
    made = make()

    adapter = made.config.adapter.model_dump()
    trainer = made.config.trainer
    assert (adapter["r"], adapter["alpha"], adapter["dropout"]) == (8, 32, 0.1)
    assert (trainer.epochs, trainer.lr, trainer.warmup, trainer.weight_decay) == (
        3,
        2e-4,
        0.1,
        0.01,
    )
    assert (trainer.clip, trainer.seed, made.config.data.eval_share) == (1.0, 42, 0.1)


@pytest.mark.parametrize(
    ("method", "adapter", "lr"),
    [("sft", "lora", 2e-4), ("sft", "full", 2e-5), ("pretrain", "full", 3e-4)],
)
def test_the_learning_rate_follows_method_and_adapter(method: str, adapter: str, lr: float) -> None:
    made = make(over={"method": method, "adapter": adapter})

    assert made.config.trainer.lr == lr
    assert made.origins["trainer.lr"] == f"default for method {method} with adapter {adapter}"


def test_what_was_asked_is_left_alone() -> None:
    over = {
        "trainer.lr": 0,
        "trainer.batch_tokens": 512,
        "model.dtype": "fp32",
        "data.max_length": 64,
    }

    made = make(over=over, origin="option")

    trainer = made.config.trainer
    assert (trainer.lr, trainer.batch_tokens, made.config.model.dtype) == (0, 512, "fp32")
    assert made.config.data.max_length == 64
    assert {made.origins[key] for key in over} == {"option"}


@pytest.mark.parametrize(
    ("hardware", "device", "dtype"),
    [
        (CPU, "cpu", "bf16"),
        (replace(CPU, flags=("avx2",)), "cpu", "fp32"),
        (replace(CPU, gpus=(Gpu("cuda", "H200", 140 * GIB, 140 * GIB, "9.0"),)), "cuda", "bf16"),
        (replace(CPU, gpus=(Gpu("cuda", "T4", 15 * GIB, 15 * GIB, "7.5"),)), "cuda", "fp16"),
        (replace(CPU, gpus=(Gpu("cuda", "5090", 32 * GIB, 32 * GIB, "12.0"),)), "cuda", "bf16"),
        (
            replace(CPU, gpus=(Gpu("cuda", "T4", 15 * GIB, 15 * GIB, "7.5"),), torch="2.13.0+cpu"),
            "cpu",
            "bf16",
        ),
        (replace(CPU, gpus=(Gpu("mps", "Apple GPU", 16 * GIB, 8 * GIB),)), "mps", "fp32"),
    ],
)
def test_device_and_dtype_follow_the_hardware(hardware: Hardware, device: str, dtype: str) -> None:
    made = make(hardware=hardware)

    assert (made.config.model.device, made.config.model.dtype) == (device, dtype)


def test_the_origin_says_that_torch_cannot_use_the_card() -> None:
    card = Gpu("cuda", "T4", 15 * GIB, 15 * GIB, "7.5")

    made = make(hardware=replace(CPU, gpus=(card,), torch="2.13.0+cpu"))

    assert (
        "T4 is here, but torch 2.13.0+cpu is a build for processors" in made.origins["model.device"]
    )


@pytest.mark.parametrize(
    ("longest", "context", "expected"),
    [(300, 1024, 304), (5000, 1024, 1024), (5000, 8192, 2048), (3, 1024, 8)],
)
def test_the_length_follows_data_context_and_profile(
    longest: int, context: int, expected: int
) -> None:
    data = replace(DATA, lengths={"max": longest})

    made = make(data=data, model=replace(Model(), context_length=context))

    assert made.config.data.max_length == expected


def test_a_length_beyond_the_context_is_refused_unless_allowed() -> None:
    with pytest.raises(ConfigError, match="context of 1024") as caught:
        make(over={"data.max_length": 2000})

    assert caught.value.code == "too-long"
    assert make(over={"data.max_length": 2000}, allow=["length"]).config.data.max_length == 2000


def test_small_data_gets_smaller_batches_so_that_there_are_steps() -> None:
    small = make(data=replace(DATA, tokens=9_000, rows=90))
    large = make(data=replace(DATA, tokens=9_000_000, rows=90_000))

    assert small.config.trainer.batch_tokens == 512
    assert large.config.trainer.batch_tokens == 2048
    assert small.origins["trainer.batch_tokens"].startswith("data")
    assert large.origins["trainer.batch_tokens"] == "profile for cpu"


def test_fixed_rows_take_the_place_of_the_token_budget() -> None:
    made = make(over={"trainer.batch_rows": 4})

    assert made.config.trainer.batch_tokens is None
    assert made.forecast.steps == 225 * 3


@pytest.mark.spec("001-038")
def test_little_memory_gives_small_batches() -> None:
    tight = replace(CPU, ram_bytes=TIGHT, ram_free_bytes=TIGHT)

    made = make(data=replace(DATA, tokens=9_000_000, rows=90_000), hardware=tight)

    assert made.origins["trainer.batch_tokens"].startswith("memory")
    assert made.config.trainer.batch_tokens < 2048


@pytest.mark.parametrize(
    ("needs", "hardware", "code", "name"),
    [
        (
            "memory",
            replace(CPU, ram_bytes=GIB // 8, ram_free_bytes=GIB // 8),
            "not-enough-memory",
            "memory",
        ),
        ("disk", replace(CPU, disk_free_bytes=1 << 18), "not-enough-disk", "disk"),
    ],
)
def test_an_impossible_plan_is_refused_with_a_fix_and_can_be_forced(
    needs: str, hardware: Hardware, code: str, name: str
) -> None:
    with pytest.raises(ResourceError) as caught:
        make(hardware=hardware)

    assert caught.value.code == code
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("stead plan --model models/m --data rows.jsonl -s ")
    assert make(hardware=hardware, allow=[name]).hash


@pytest.mark.parametrize("key", ["model.path", "data.path"])
def test_model_and_data_must_be_named(key: str) -> None:
    section = key.partition(".")[0]

    with pytest.raises(ConfigError, match=key) as caught:
        make({k: v for k, v in ASKED.items() if k != section})

    assert caught.value.code == "missing-key"


def test_equal_requests_give_an_equal_hash_from_every_surface(tmp_path: Path) -> None:
    text = "model: {path: models/m}\ndata: {path: rows.jsonl}\ntrainer: {lr: 1e-4}\nout: here\n"
    (tmp_path / "r.yaml").write_text(text)
    data = load.parse_yaml(text, "x").data
    load.dump(tmp_path / "r.json", data)

    hashes = {
        make(tmp_path / "r.yaml").hash,
        make(tmp_path / "r.json").hash,
        make(data).hash,
        make(RunConfig.model_validate(data)).hash,
        make(None, {"model.path": "models/m", "data.path": "rows.jsonl", "trainer.lr": 1e-4}).hash,
        make(ASKED, {"trainer.lr": 1e-4, "out": "elsewhere", "name": "n"}, origin="option").hash,
    }

    assert len(hashes) == 1


@pytest.mark.parametrize(
    "over",
    [
        {"trainer.lr": 1e-3}, {"trainer.seed": 1}, {"adapter.r": 4}, {"adapter": "full"},
        {"data.limit": 5}, {"model.dtype": "fp32"}, {"trainer.batch_tokens": 1024},
    ],
)  # fmt: skip
def test_a_different_decision_gives_a_different_hash(over: dict[str, Any]) -> None:
    assert make(over=over).hash != make().hash


def test_other_rows_or_weights_give_a_different_hash() -> None:
    hashes = {
        make().hash,
        make(data=replace(DATA, hash="e" * 64)).hash,
        make(model=replace(Model(), hash="n" * 64)).hash,
    }

    assert len(hashes) == 3


def test_a_plan_survives_its_file_and_notices_an_edit(tmp_path: Path) -> None:
    made = make()
    made.write(tmp_path / "plan.json")

    assert Plan.read(tmp_path / "plan.json") == made

    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"seed": 42', '"seed": 43'))
    with pytest.raises(ConfigError) as caught:
        Plan.read(tmp_path / "plan.json")
    assert caught.value.code == "changed-plan"


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"version": 1, "config": {}}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)

    with pytest.raises(ConfigError) as caught:
        Plan.read(tmp_path / "plan.json")

    assert caught.value.code == "bad-plan"


def test_warnings_are_notes() -> None:
    data = replace(DATA, rows=5, dropped={"empty": 2})

    made = make(over={"adapter.alpha": 1}, data=data, model=replace(Model(), has_template=False))

    assert [n.partition(" ")[0] for n in made.notes] == [
        "only",
        "2",
        "the",
        "adapter.alpha/adapter.r",
    ]


def test_a_plan_says_what_a_short_run_does_not_reach() -> None:
    made = make(over={"trainer.warmup": 9000, "trainer.max_steps": 5000, "trainer.epochs": 1})

    steps = made.forecast.steps
    assert f"warmup=9000 steps, but the run has {steps}" in made.notes[0]
    assert f"max_steps=5000, but trainer.epochs=1 end after {steps} steps" in made.notes[1]


def test_the_forecast_has_parts_an_interval_and_a_basis() -> None:
    forecast = make().forecast

    for interval in (forecast.memory_bytes, forecast.seconds, forecast.step_seconds):
        assert interval.low < interval.expected < interval.high
    parts = sum(p.expected for p in forecast.memory_parts.values())
    assert parts == pytest.approx(forecast.memory_bytes.expected)
    assert forecast.counted["memory"]["weights"] == 41_000_000 * 2 + 8 * 32 * 2048 * 2
    assert forecast.counted["memory"]["gradients"] == 8 * 8 * 1024 * 4
    assert "no finished run" in forecast.basis["seconds"]
    assert forecast.tokens == pytest.approx(90_000 * 3, rel=0.02)  # lengths from four percentiles


@pytest.mark.parametrize(
    ("over", "part"),
    [
        ({"trainer.gradient_checkpointing": True}, "activations"),
        ({"trainer.optimizer": "sgd"}, "optimizer"),
        ({"trainer.batch_tokens": 512}, "activations"),
        ({"trainer.logits_chunk": 64}, "logits"),
    ],
)
def test_a_memory_saving_setting_lowers_its_part(over: dict[str, Any], part: str) -> None:
    saved, whole = (make(over=o).forecast.counted["memory"][part] for o in (over, {}))

    assert saved < whole


@pytest.mark.spec("001-038")
def test_the_automatic_budget_is_the_largest_that_the_calibrated_memory_allows() -> None:
    tight = replace(CPU, ram_bytes=TIGHT, ram_free_bytes=TIGHT)
    large = replace(DATA, tokens=9_000_000, rows=90_000)

    made = make(data=large, hardware=tight)
    more = {"trainer.batch_tokens": made.config.trainer.batch_tokens + 128}
    over = make(data=large, hardware=tight, over=more, allow=["memory"])

    assert made.forecast.memory_bytes.high <= 0.8 * TIGHT < over.forecast.memory_bytes.high


@pytest.mark.parametrize(
    ("share", "word"), [(1.1, "fits"), (0.5, "may not fit"), (-0.9, "does not fit")]
)
def test_the_verdict_says_whether_it_fits_and_what_would_help(share: float, word: str) -> None:
    """`share` of the way from the expected peak to the high end of its range is free."""
    needs = make(over={"trainer.batch_tokens": 2048}).forecast.memory_bytes
    free = int(needs.expected + share * (needs.high - needs.expected))
    hardware = replace(CPU, ram_free_bytes=free)

    made = make(over={"trainer.batch_tokens": 2048}, hardware=hardware, allow=["memory"])

    memory = made.verdicts[0]
    assert (memory["allow"], memory["verdict"]) == ("memory", word)
    assert ("hint" in memory) == (word != "fits")
    assert memory.get("hint", "stead plan").startswith("stead plan")


def test_a_card_is_unverified_until_a_run_was_recorded_on_it(home: Path) -> None:
    where, card = Home(home), replace(CPU, gpus=(Gpu("cuda", "H200", 140 * GIB, 140 * GIB, "9.0"),))
    first = make(hardware=card, home=where)

    history.record(first, measured(first, device_peak_bytes=2 * GIB), where)

    assert not first.forecast.verified
    assert "unverified" in first.forecast.basis["seconds"]
    assert make(hardware=card, home=where).forecast.verified
    assert not make(hardware=replace(card, gpus=(replace(card.gpus[0], name="T4"),)), home=where).forecast.verified  # fmt: skip


def measured(plan: Plan, factor: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return what a run measures that needs `factor` times its forecast on an idle machine."""
    said = plan.forecast.said
    return {
        "whole": True, "step_s": said["steps"] * factor, "loop_s": said["steps"] * factor,
        "ran_share": 1.0, "stage_ran_share": 1.0, "load": 0.0, "lanes": 2, "begun_s": 3.0, "begun_ran_share": 1.0,
        "stage_s": said["seconds"] * factor - 3.0, "begun_bytes": 365_000_000,
        "begun_peak_bytes": 365_000_000, "peak_bytes": said["memory"] * factor,
    } | more  # fmt: skip


def test_finished_runs_move_the_next_forecast_and_their_error_is_told(home: Path) -> None:
    where = Home(home)
    first = make(home=where)

    for factor in (1.45, 1.5, 1.55, 1.5, 1.5, 1.5):
        history.record(first, measured(first, factor), where)
    again = make(home=where)

    for name in ("memory_bytes", "seconds", "step_seconds"):
        before, after = getattr(first.forecast, name), getattr(again.forecast, name)
        assert 1.25 < after.expected / before.expected < 1.55
    assert again.forecast.past.runs == 6
    assert again.forecast.past.memory == pytest.approx(1 / 3, abs=0.01)
    assert again.forecast.past.time == pytest.approx(1 / 3, abs=0.01)
    assert "learnt from 6 runs" in again.forecast.basis["memory_bytes"]
    assert again.hash == first.hash


def test_one_run_moves_less_than_six(home: Path) -> None:
    where = Home(home)
    first = make(home=where)

    history.record(first, measured(first, 1.5), where)
    one = make(home=where).forecast.memory_bytes.expected / first.forecast.memory_bytes.expected

    assert 1.01 < one < 1.4


def test_agreeing_runs_narrow_the_interval(home: Path) -> None:
    where = Home(home)
    first = make(home=where)

    for _ in range(20):
        history.record(first, measured(first), where)
    again = make(home=where)

    for name in ("memory_bytes", "seconds"):
        before, after = getattr(first.forecast, name), getattr(again.forecast, name)
        assert after.high / after.low < before.high / before.low
        assert after.expected == pytest.approx(before.expected, rel=0.02)


def test_waiting_for_a_busy_core_is_not_counted(home: Path) -> None:
    where = Home(home)
    first = make(home=where)
    said = first.forecast.said
    slow = measured(first, step_s=said["steps"] * 3, loop_s=said["steps"] * 3, ran_share=1 / 3)

    for _ in range(6):
        history.record(first, slow | {"stage_s": said["steps"] * 3 + 5}, where)

    again = make(home=where).forecast
    assert again.step_seconds.expected == pytest.approx(
        first.forecast.step_seconds.expected, rel=0.1
    )


@pytest.mark.parametrize("more", [{"whole": False}, {"begun_peak_bytes": 1 << 50}])
def test_what_does_not_measure_the_run_teaches_nothing(more: dict[str, Any], home: Path) -> None:
    where = Home(home)
    first = make(home=where)

    for _ in range(6):
        history.record(first, measured(first, 2.0) | more, where)

    again = make(home=where).forecast.memory_bytes
    assert again.expected == pytest.approx(first.forecast.memory_bytes.expected, rel=1e-6)


def test_a_torn_record_is_skipped(home: Path) -> None:
    where = Home(home)
    made = make()
    history.record(made, measured(made), where)
    with history.path(where).open("ab") as file:
        file.write(b'{"kind": {"cp')

    assert len(history.read(where)) == 1


def test_other_models_that_a_method_names_are_found_and_hashed() -> None:
    asked = ASKED | {"method": {"type": "distillation", "teacher": "big"}}
    facts = {
        "models/m": Model(),
        "big": Model(path=Path("somewhere/big"), hash="b" * 64),
        "large": Model(path=Path("elsewhere/large"), hash="b" * 64),
    }

    def made(teacher: str) -> Plan:
        return plan(
            asked, overrides={"method.teacher": teacher}, inspect=lambda path: facts[path],
            survey=lambda config, found, longest: DATA, hardware=CPU,
        )  # fmt: skip

    found = made("big")
    assert found.config.method.teacher == "somewhere/big"  # type: ignore[attr-defined]
    assert "'big'" in found.origins["method.teacher"]
    assert found.decisions["method"]["teacher"] == "b" * 64
    assert found.hash == made("large").hash  # the same content in another place
    assert Plan.from_json(found.to_json()).hash == found.hash


def test_a_larger_teacher_takes_more_memory() -> None:
    def memory(parameters: int) -> float:
        facts = {"models/m": Model(), "t": Model(path=Path("t"), parameters=parameters)}
        made = plan(
            ASKED | {"method": {"type": "distillation", "teacher": "t"}},
            inspect=lambda path: facts[path], survey=lambda config, found, longest: DATA, hardware=CPU,
        )  # fmt: skip
        return made.forecast.memory_bytes.expected

    assert memory(2_041_000_000) - memory(41_000_000) >= 2_000_000_000 * 2  # bf16


@pytest.mark.parametrize(
    ("adapter", "count"),
    [
        ({"type": "prompt", "tokens": 10}, 10 * 512),
        ({"type": "prefix", "tokens": 10}, 10 * 2 * 8 * 512),
        (
            {"type": "p_tuning", "tokens": 10, "hidden": 64},
            10 * 512 + 64 * (2 * 512 + 64) + 2 * 64 + 512,
        ),
        ({"type": "qat"}, Model().parameters),
        ({"type": "pruning"}, Model().parameters),
    ],
)
def test_a_forecast_counts_what_an_adapter_trains(adapter: dict[str, Any], count: int) -> None:
    from stead.planning.shape import trainable

    made = make(ASKED | {"adapter": adapter})

    assert trainable(Model(), made.config.adapter) == count
    assert made.config.trainer.lr == (1e-2 if count < Model().parameters else 2e-5)


def test_every_process_needs_its_own_memory() -> None:
    one, two = (make(over={"launch.processes": n}).verdicts[0] for n in (1, 2))

    assert two["expected_bytes"] == 2 * one["expected_bytes"]


def test_what_only_the_machine_makes_wrong_is_told_as_plainly() -> None:
    """fp16 is fine until "auto" has become the CPU."""
    with pytest.raises(ConfigError, match=r"fp16 cannot be trained on model\.device=cpu") as caught:
        make(over={"model.dtype": "fp16"})

    assert caught.value.code == "conflict"


def test_a_learning_rate_of_0_is_a_value_that_is_remarked() -> None:
    found = make(over={"trainer.lr": 0})

    assert found.config.trainer.lr == 0
    assert any("trainer.lr is 0" in note for note in found.notes)
