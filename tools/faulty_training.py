"""Numbers that are none and memory that runs out, at random places of random runs (RELIABILITY TR5, TR6).

Runs of the tiny model in this process; knows nothing about the command line.
"""

import json
import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import make_tiny_model
from tests.fakes import faults, training
from tests.fakes import matrix as cells

from campaign import Order, Result

ADAPTERS = ("lora", "full", "qlora", "freeze", "ia3")
OPTIMIZERS = ("adamw", "adamw_8bit", "adafactor", "lion", "muon", "sgd")
_MARK = 299  # a token that no other row has
_SPOILED = ("nan", "infinity", "gradient", "jump")


def base(work: Path) -> Any:  # Any: LoadedModel; torch is imported late
    """Return the tiny model, made and loaded."""
    import torch

    from stead.models.load import load_model

    torch.set_num_threads(1)
    if not (work / "model").exists():
        (work / "model").mkdir()
        make_tiny_model(work / "model")
    return load_model(work / "model", dtype="fp32", device="cpu")


# TR5


def numbers(order: Order) -> Result:
    """TR5: seen in the same step, the policy obeyed, weights finite, a rewound run the same twice."""
    rng, failed = random.Random(order.seed), []  # type: random.Random, list[str]
    loaded, kinds = base(order.work), {}  # type: Any, dict[str, int]
    tries = order.count(20, 100, 1000)
    for number in range(tries):
        fault, policy = rng.choice(_SPOILED), rng.choice(("stop", "skip", "rewind"))
        steps, bad = 24, rng.randrange(9, 23)  # a jump is one only after eight losses
        rows = [(list(t), m) for t, m in training.rows(2 * steps, rng.random(), vocabulary=298)]
        rows[2 * bad][0][0] = _MARK
        data = training.prepared(order.work / f"tr5-{number}", rows)
        cell = {
            "method": "sft", "adapter": rng.choice(ADAPTERS), "base_hash": "tiny", "max_steps": steps,
            "epochs": 1.0, "shuffle": False, "checkpoint_every": rng.randrange(2, 9), "lr": 1e-3,
            "optimizer": rng.choice(OPTIMIZERS), ("on_spike" if fault == "jump" else "on_nan"): policy,
        }  # fmt: skip
        kinds[f"{fault}, {policy}"] = kinds.get(f"{fault}, {policy}", 0) + 1
        wrong = _with_bad_number(
            loaded, data, order.work / f"TR5-{number}", fault, policy, bad, cell
        )
        if wrong:
            failed.append(
                f"{number}: {fault}, {policy}, step {bad + 1}, {cell['adapter']}: {wrong}"
            )
        else:
            shutil.rmtree(order.work / f"TR5-{number}")
        shutil.rmtree(data.path)
    return Result("TR5", tries, len(failed), facts={"kinds": kinds, "failed": failed})


def _with_bad_number(
    loaded: Any, data: Any, out: Path, fault: str, policy: str, bad: int, cell: dict[str, Any]
) -> str:
    """Train twice with a fault; return what is wrong with it, or ""."""
    from stead.core.errors import TrainingError

    found = []
    for name in ("first", "second"):
        code = ""
        with _spoiled(fault):
            try:
                cells.train(loaded, data, out / name, **cell)
            except TrainingError as error:
                code = error.code
        lines = [json.loads(x) for x in (out / name / "metrics.jsonl").read_text().splitlines()]
        if (code != "") != (policy == "stop"):
            return f"ended with {code or 'no error'}"
        if policy == "stop" and len(lines) != bad + 1:
            return f"stopped after {len(lines)} steps"
        skipped = [line["step"] for line in lines if "skipped" in line]
        first = bad // cell["checkpoint_every"] * cell["checkpoint_every"] + 1
        wanted = {"stop": [bad + 1], "skip": [bad + 1], "rewind": [*range(first, bad + 2)]}[policy]
        if skipped != wanted and policy != "stop":
            return f"left out {skipped}, not {wanted}"
        if not _finite(out / name):
            return "weights that are no numbers"
        result = out / name / "result.json"
        weights = json.loads(result.read_text())["weights_sha256"] if result.exists() else ""
        found.append((weights, lines))
    return "" if found[0] == found[1] else "not the same twice"


@contextmanager
def _spoiled(fault: str) -> Iterator[None]:
    """Let one sample spoil what is computed of it."""
    import torch
    from tests.fakes.bad_numbers import FAULTS

    from stead.training.method import Loss
    from stead.training.methods.sft import SFT

    real = SFT.loss

    def loss(self: Any, model: Any, batch: Any) -> Any:
        found = real(self, model, batch)
        marked = bool((torch.as_tensor(batch["tokens"].tokens) == _MARK).any())
        return Loss(FAULTS[fault](found.total)) if marked else found

    SFT.loss = loss  # type: ignore[method-assign] # for one run
    try:
        yield
    finally:
        SFT.loss = real  # type: ignore[method-assign]


def _finite(out: Path) -> bool:
    from safetensors.torch import load_file

    paths = [p for p in out.rglob("*.safetensors") if "optimizer" not in p.name]
    return all(
        bool(t.isfinite().all())
        for p in paths
        for t in load_file(p).values()
        if t.is_floating_point()
    )


# TR6


def memory(order: Order) -> Result:
    """TR6: out of memory at random micro-batches, said in each way, and a real limit of the address space."""
    rng, failed = random.Random(order.seed), []  # type: random.Random, list[str]
    loaded = base(order.work)
    tries = order.count(10, 50, 200)
    real = tries // 10
    for number in range(tries - real):
        data = training.prepared(order.work / f"tr6-{number}", training.rows(64, rng.random()))
        accumulation = rng.choice((1, 2))
        adapter = rng.choice(ADAPTERS[:2])
        cell = {"method": "sft", "adapter": adapter, "base_hash": "tiny", "max_steps": 6, "batch_rows": 8,
                "adapter_config": {"dropout": 0.0} if adapter == "lora" else {},  # drawn per part
                "accumulation": accumulation}  # fmt: skip
        out, fits = order.work / f"TR6-{number}", rng.choice((1, 2, 4, 7, 0))
        after = rng.randrange(6 * accumulation)
        wrong = _with_less_memory(loaded, data, out, rng.randrange(3), fits, after, cell)
        if wrong:
            failed.append(
                f"{number}: {fits} rows fit after {after} parts, {cell['adapter']}: {wrong}"
            )
        else:
            shutil.rmtree(out)
        shutil.rmtree(data.path)
    rows = [([5 + i % 200] * 250, [0] * 4 + [1] * 246) for i in range(64)]
    data = training.prepared(order.work / "tr6-real", rows)
    for number in range(real):
        wrong = _with_a_real_limit(
            loaded, data, order.work / f"TR6-real-{number}", rng.randrange(45, 75)
        )
        failed += [f"real limit: {wrong}"] if wrong else []
    return Result("TR6", tries, len(failed), facts={"real_limits": real, "failed": failed})


def _with_less_memory(
    loaded: Any, data: Any, out: Path, kind: int, fits: int, after: int, cell: dict[str, Any]
) -> str:
    from stead.core.errors import TrainingError

    cells.train(loaded, data, out / "free", **cell)
    code = ""
    with _limited(kind, fits, after):
        try:
            cells.train(loaded, data, out / "tight", **cell)
        except TrainingError as error:
            code = error.code
    if fits == 0:
        return "" if code == "out-of-memory" else f"ended with {code or 'no error'}"
    if code:
        return f"ended with {code}"
    return _same_losses(out)


def _same_losses(out: Path) -> str:
    logs = [[json.loads(x) for x in (out / n / "metrics.jsonl").read_text().splitlines()]
            for n in ("free", "tight")]  # fmt: skip
    if not any(x.get("split", 1) > 1 for x in logs[1]):
        return "nothing was split"
    if [x["tokens"] for x in logs[0]] != [x["tokens"] for x in logs[1]]:
        return "other rows per step"
    worst = max(abs(a["loss"] / b["loss"] - 1) for a, b in zip(*logs, strict=True))
    return "" if worst < _APART else f"losses differ by {worst:.2g}"


_APART = 1e-6  # of the loss; dropout off, float32


@contextmanager
def _limited(kind: int, fits: int, after: int) -> Iterator[None]:
    """Let memory hold only `fits` rows from the part `after` on; it says so as CPU, Python or CUDA do."""
    import torch

    from stead.training.methods.sft import SFT

    text = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
    error = (RuntimeError(text), MemoryError(), torch.OutOfMemoryError("CUDA out of memory."))[kind]
    own, calls = SFT.loss, iter(range(10**6))

    def loss(self: Any, model: Any, batch: Any) -> Any:
        if next(calls) >= after and len(batch["tokens"].starts) - 1 > fits:
            raise error
        return own(self, model, batch)

    SFT.loss = loss  # type: ignore[method-assign] # for one run
    try:
        yield
    finally:
        SFT.loss = own  # type: ignore[method-assign]


def _with_a_real_limit(loaded: Any, data: Any, out: Path, mebibytes: int) -> str:
    def run(name: str, room: int | None) -> None:
        if room is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + room
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        cells.train(loaded, data, out / name, method="sft", adapter="full", base_hash="tiny", batch_rows=64,
                    max_steps=1, logits_chunk=10**6)  # fmt: skip

    for name, room in (("free", None), ("tight", mebibytes << 20)):
        status = faults.in_child(lambda name=name, room=room: run(name, room))
        if status != 0:
            return f"{name} with {mebibytes} MiB more ended with {status}"
    return _same_losses(out)
