"""Training under faults (RELIABILITY 2.1, 2.2): every run must end as the one that nobody touched.

TR1, TR3: through the command line, hurt at random times. TR2: in this process, stopped after every step, over the
registries' methods and adapters. TR9: races for one run. CK1: the writer killed at every system call (strace). CK2:
damaged checkpoints. CK5: what a checkpoint costs. Knows nothing about how resuming works.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes import matrix

import faulty_training as faulty
import forked
from campaign import ROOT, Order, Result
from stead.config.kinds import registry

# Each with what could go wrong when it is taken up again: dropout, noise, means, packing, sampled answers.
CELLS: dict[str, tuple[str, str, list[str]]] = {
    "sft-lora": ("sft", "lora", ["adapter.dropout=0.1", "trainer.accumulation=2"]),
    "sft-full": ("sft", "full", ["trainer.ema=0.9", "trainer.neftune_alpha=5", "trainer.optimizer=adafactor",
                                 "trainer.eval_every=5", "trainer.keep_best=true", "data.eval_share=0.1"]),
    "pretrain-full": ("pretrain", "full", ["trainer.optimizer=muon", "trainer.schedule=wsd"]),
    "dpo-qlora": ("dpo", "qlora", ["adapter.dropout=0.1", "trainer.optimizer=adamw_8bit"]),
    "grpo-lora": ("grpo", "lora", ["method.num_generations=2", "method.max_completion_length=6",
                                   "trainer.optimizer=lion"]),
    "kto-freeze": ("kto", "freeze", ["adapter.layers=1", "trainer.label_smoothing=0"]),
    "ppo-lora": ("ppo", "lora", ["method.max_completion_length=6", "adapter.dropout=0.1"]),
    "self-distillation": ("distillation", "lora", ["method.teacher=base", "trainer.ema=0.5"]),
}  # fmt: skip
_KEYS_OF_REWARDS = ("grpo", "ppo")
_PATIENCE_S = 900.0
_NO_HIT = ("nobody there", "started again by hand", "before it began")


def run(order: Order) -> list[Result]:
    """Try every promise of this part."""
    os.environ |= order.env
    found = []
    for name, check in PROMISES.items():
        if order.wants(name):
            begun = time.monotonic()
            result = check(order)
            result.seconds = time.monotonic() - begun
            found.append(result)
    return found


# Through the command line


class Cli:
    """One kind of run, its inputs, and the run nobody touched.

    Its processes are forks of this one, except in the smallest size: a start is then a fork, not three
    seconds of imports, and two hundred kills are minutes.
    """

    def __init__(self, order: Order, cell: str, *settings: str) -> None:
        self.order, self.cell = order, cell
        self.work = order.work / "cli"
        method, adapter, more = CELLS[cell]
        self._prepare()
        rewards = [f'method.rewards=[{{"function": "{self.work}/reward.py:vowels"}}]']
        more = [m.replace("teacher=base", f"teacher={self.work}/base") for m in more]
        more += rewards if method in _KEYS_OF_REWARDS else []
        kind = registry("method").get(method).kinds[0]
        self.options = [
            "--model", str(self.work / "base"), "--data", str(self.work / f"{kind}.jsonl"),
            "--method", method, "--adapter", adapter, "--max-steps", "60", "--epochs", "99", "--batch-rows", "4",
            "--max-length", "64", "-s", "trainer.checkpoint_every=3", "-s", "trainer.trackers=[]",
            *(x for setting in (*more, *settings) for x in ("-s", setting)),
        ]  # fmt: skip
        whole = self.work / cell
        begun = time.monotonic()
        if not whole.exists():
            status = self.start(whole).wait()
            assert status == 0, (self.work / "log").read_text()[-2000:]  # noqa: S101
            (self.work / f"{cell}.seconds").write_text(str(time.monotonic() - begun))
        self.span_s = float((self.work / f"{cell}.seconds").read_text())
        self.wanted = outcome(whole)

    def _prepare(self) -> None:
        if self.work.exists():
            return
        self.work.mkdir(parents=True)
        for kind, row in matrix.ROWS.items():
            lines = [json.dumps(row(i)) + "\n" for i in range(40)]
            (self.work / f"{kind}.jsonl").write_text("".join(lines))
        (self.work / "reward.py").write_text(_REWARD)
        forked.warm()
        self._stead("model", "new", str(self.work / "base"), "--preset", "nano", "--text",
                    str(self.work / "text.jsonl")).wait()  # fmt: skip

    def _stead(self, *arguments: str) -> Any:  # Any: Popen, or what stands for it
        log = self.work / "log"
        if self.order.size != "smoke" and arguments[0] == "train":
            return forked.start([*arguments, "--quiet"], log)
        env = dict(self.order.env, PYTHONPATH=str(ROOT / "src"))
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "stead", *arguments, "--quiet"], env=env,
                start_new_session=True, stdout=file, stderr=file,
            )  # fmt: skip

    def start(self, out: Path) -> Any:  # Any: Popen, or what stands for it
        """Start or go on with a run."""
        resume = ["--resume"] if out.exists() else []
        return self._stead("train", *self.options, "--out", str(out), *resume)


_REWARD = """import pathlib, time

def vowels(completions, **_):
    while pathlib.Path(__file__).with_name("hold").exists():  # a reward that never answers
        time.sleep(0.05)
    return [sum(c in "aeiou" for c in t) / max(1, len(t)) for t in completions]
"""


def outcome(out: Path) -> tuple[str, str]:
    """Return the hashes of the weights and of the loss log, each step of which must be there once."""
    log = (out / "metrics.jsonl").read_bytes()
    steps = [json.loads(line)["step"] for line in log.splitlines()]
    assert steps == list(range(1, len(steps) + 1)), steps  # noqa: S101
    weights = json.loads((out / "result.json").read_text())["weights_sha256"]
    return weights, hashlib.sha256(log).hexdigest()


def worker_of(out: Path) -> int | None:
    """Return the process that works on a run."""
    from stead.core import lease

    return lease.holder(out / ".worker")


def kill(pid: int | None, number: int = signal.SIGKILL) -> bool:
    """Send a signal; False when there is nobody."""
    try:
        if pid:
            os.kill(pid, number)
        return bool(pid)
    except ProcessLookupError:
        return False


def hurt_until_done(
    cli: Cli, out: Path, rng: random.Random, hits: int, hurt: Callable[[Any, Path], str]
) -> dict[str, int]:
    """Run to the end, hurt at random times at most `hits` times; return how often, by kind."""
    counts: dict[str, int] = {}
    end = time.monotonic() + _PATIENCE_S
    process = cli.start(out)
    while time.monotonic() < end:
        left = hits - sum(c for k, c in counts.items() if k not in _NO_HIT)
        try:
            status = process.wait(rng.uniform(0.1, cli.span_s * 0.6) if left > 0 else 1.0)
        except subprocess.TimeoutExpired:
            if left > 0:
                kind = hurt(process, out)
                counts[kind] = counts.get(kind, 0) + 1
            continue
        if status == 0:
            return counts
        counts["started again by hand"] = counts.get("started again by hand", 0) + 1
        process = cli.start(out)
    raise SystemExit(f"{out} did not end")


def _kill_something(rng: random.Random) -> Callable[[Any, Path], str]:
    def hurt(process: Any, out: Path) -> str:
        kind = rng.choice(("worker", "worker", "follower", "both"))
        hit = False
        if kind in ("worker", "both"):
            hit = kill(worker_of(out))
        if kind in ("follower", "both"):
            process.kill()
            hit = True
        return kind if hit else "nobody there"

    return hurt


def _stop_politely(rng: random.Random) -> Callable[[Any, Path], str]:
    """Ask once, or twice, which stops at once; asked once, nothing that was done is done again."""

    def hurt(process: Any, out: Path) -> str:
        number, twice = rng.choice((signal.SIGTERM, signal.SIGINT)), rng.random() < 0.25
        begun = time.monotonic()
        process.send_signal(number)
        if twice:
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(number)
        status = process.wait()
        if status == -number and worker_of(out) is None:
            return "before it began"  # the command was still starting: there is nothing to save
        slow = time.monotonic() - begun > 30
        if status not in (130, 0) or slow:
            raise SystemExit(
                f"{number!r} ended with {status} after {time.monotonic() - begun:.1f} s"
            )
        if status == 130 and not twice and not (out / "final").exists():
            _check_saved(out)
        return number.name + (" twice" if twice else "")

    return hurt


def _check_saved(out: Path) -> None:
    """The newest checkpoint is of the last step in the log."""
    log = out / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    saved = [int(p.name[5:]) for p in (out / "checkpoints").glob("step-*")]
    if len(lines) != max(saved, default=0):
        raise SystemExit(f"{out}: stopped after step {len(lines)}, saved are {saved}")


def _hurt_runs(order: Order, name: str, tries: int, make: Callable[..., Any]) -> Result:
    rng, done, failures = random.Random(order.seed), 0, 0
    failed: list[str] = []
    counts: dict[str, int] = {}
    runs = 0
    while done < tries:
        for cell in CELLS:
            if done >= tries:
                break
            cli = Cli(order, cell)
            out = order.work / f"{name}-{runs}"
            found = hurt_until_done(cli, out, rng, min(8, tries - done), make(rng))
            same = outcome(out) == cli.wanted
            failures += not same
            runs += 1
            if same:
                shutil.rmtree(out)
            else:
                failed.append(f"{cell}: {out}")
            for kind, count in found.items():
                counts[kind] = counts.get(kind, 0) + count
            hits = sum(c for k, c in found.items() if k not in _NO_HIT)
            done += hits
    return Result(
        name,
        done,
        failures,
        facts={"runs": runs, "cells": list(CELLS), "hits": counts, "failed": failed},
    )


def killed(order: Order) -> Result:
    """TR1: SIGKILL of worker, follower or both at random times."""
    return _hurt_runs(order, "TR1", order.count(6, 200, 1000), _kill_something)


def preempted(order: Order) -> Result:
    """TR3: SIGTERM and SIGINT: saved at that very step, status 130."""
    return _hurt_runs(order, "TR3", order.count(3, 50, 200), _stop_politely)


def frozen(order: Order) -> Result:
    """TR7: the worker stopped by SIGSTOP, or held for ever in a reward: noticed in time, restarted, same bytes."""
    rng, failed, noticed = random.Random(order.seed), [], []  # type: random.Random, list[str], list[float]
    patience_s, tries = 3.0, order.count(2, 25, 100)
    for number in range(tries):
        cell = ("sft-lora", "grpo-lora")[number % 2]
        cli = Cli(order, cell, f"launch.step_timeout_s={patience_s}")
        out, held = order.work / f"TR7-{number}", cli.work / "hold"
        process, step = cli.start(out), rng.randrange(1, 55)
        while _steps(out) < step and process.poll() is None:
            time.sleep(0.01)
        pid = worker_of(out)
        if cell == "grpo-lora":
            held.touch()
        elif not kill(pid, signal.SIGSTOP):
            continue
        begun = time.monotonic()
        while worker_of(out) == pid and process.poll() is None:
            time.sleep(0.02)
        noticed.append(time.monotonic() - begun)
        held.unlink(missing_ok=True)
        status = process.wait()
        if status != 0 or outcome(out) != cli.wanted or noticed[-1] > 2 * patience_s:
            failed.append(
                f"{cell} at step {step}: status {status}, noticed after {noticed[-1]:.1f} s"
            )
        else:
            shutil.rmtree(out)
    facts = {
        "step_timeout_s": patience_s,
        "noticed_s_most": round(max(noticed), 2),
        "failed": failed,
    }
    return Result("TR7", tries, len(failed), facts=facts)


def _steps(out: Path) -> int:
    log = out / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


# In this process


def stopped_everywhere(order: Order) -> Result:
    """TR2: stop after every step and resume, over methods × adapters × accumulation."""
    from stead.config import pairing

    cells = [
        (m, a, accumulation)
        for m in registry("method").names()
        for a in registry("adapter").names()
        for accumulation in (1, 4)
        if pairing.refusal(m, a) is None
    ]
    random.Random(order.seed).shuffle(cells)
    cells = cells[: order.count(4, 48, 10**6)]
    steps, failed, rows = 20, [], {}  # type: int, list[str], dict[str, Any]
    with matrix.judge() as url:
        base = faulty.base(order.work)
        for method, adapter, accumulation in cells:
            kind = registry("method").get(method).kinds[0]
            if kind not in rows:
                rows[kind] = matrix.data(kind, base.folder, order.work)
            cell = {"method": method, "adapter": adapter, "base_hash": "tiny", "url": url,
                    "max_steps": steps, "epochs": 99.0, "batch_rows": 1, "accumulation": accumulation}  # fmt: skip
            out = order.work / f"{method}-{adapter}-{accumulation}"
            whole = matrix.train(base, rows[kind], out / "whole", **cell)[1]
            last = _stop_after_each(base, rows[kind], out / "cut", steps, cell)
            same = last["weights_sha256"] == whole["weights_sha256"]
            logs = [(out / n / "metrics.jsonl").read_bytes() for n in ("whole", "cut")]
            if not same or logs[0] != logs[1] or last["resume_level"] != "exact":
                failed.append(out.name)
            shutil.rmtree(out)
    facts = {"cells": len(cells), "stops_per_cell": steps - 1, "failed": failed}
    return Result("TR2", len(cells) * (steps - 1), len(failed), facts=facts)


def _stop_after_each(
    base: Any, rows: Any, out: Path, steps: int, cell: dict[str, Any]
) -> dict[str, Any]:
    from stead.core.errors import Interrupted
    from stead.core.process import stop_requested

    for step in range(1, steps):

        def stop(event: Any, step: int = step) -> None:
            if getattr(event, "stage", "") == "train" and getattr(event, "done", None) == step:
                stop_requested.set()

        try:
            matrix.train(base, rows, out, resume=step > 1, emit=stop, **cell)
        except Interrupted:
            stop_requested.clear()
    found: dict[str, Any] = matrix.train(base, rows, out, resume=True, **cell)[1]
    return found


def raced(order: Order) -> Result:
    """TR9: processes race for one run; exactly one holds it."""
    from stead.core.errors import TrainingError
    from stead.training.saving import lease

    failures, races = 0, order.count(20, 100, 1000)
    for race in range(races):
        folder = order.work / f"race-{race}"
        folder.mkdir()
        go, pids = time.monotonic() + 0.05, []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                while time.monotonic() < go:
                    pass
                try:
                    with lease.held(folder):
                        time.sleep(0.8)  # longer than the others ask
                        os._exit(1)
                except TrainingError:
                    os._exit(2)
            pids.append(pid)
        ends = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
        failures += ends != [1, 2, 2, 2]
    return Result("TR9", races, failures)


# Checkpoints

_CALLS = ("write", "fsync", "rename", "unlink", "unlinkat", "mkdir", "rmdir", "ftruncate")
_VICTIM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from stead.core import files, manifest
from stead.core.errors import SteadError
parent = Path(sys.argv[1])

def save(step):
    def fill(folder):
        for name in ("model", "optimizer", "state"):
            files.write_bytes(folder / name, f"{step}".encode() * 5000)
    manifest.commit(parent / f"step-{step:08d}", "checkpoint", fill, {"step": step})

for step in (2, 4, 6):
    save(step)
"""


def written_under_kills(order: Order) -> Result:
    """CK1, CK3: the writer killed, or told "no space", at every write, fsync, rename, unlink and mkdir."""
    from stead.core import manifest

    strace = shutil.which("strace")
    if strace is None:
        return Result("CK1", 0, 0, not_run=["strace is not installed"])
    victim = order.work / "victim.py"
    victim.write_text(_VICTIM)
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}

    def traced(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
        folder.mkdir()
        argv = [strace, "-f", "-o", str(order.work / "trace"), *options, sys.executable, "-S", str(victim),
                str(folder), str(ROOT / "src")]  # fmt: skip
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    done = traced(order.work / "ck1-whole", "-e", "trace=" + ",".join(_CALLS))
    if done.returncode != 0:
        return Result("CK1", 0, 0, not_run=[f"strace cannot trace here: {done.stderr[-200:]}"])
    lines = (order.work / "trace").read_text().splitlines()
    counts = {c: sum(f" {c}(" in line for line in lines) for c in _CALLS}
    tries = [(c, n + 1, how) for c, count in counts.items() for n in range(count)
             for how in ("signal=SIGKILL", "error=ENOSPC", "error=EIO")]  # fmt: skip
    random.Random(order.seed).shuffle(tries)
    tries = tries[: order.count(12, len(tries), len(tries))]
    failures, failed = 0, []
    for call, number, how in tries:
        folder = order.work / f"ck1-{call}-{number}-{how[:3]}"
        traced(folder, "-e", f"inject={call}:{how}:when={number}")
        rejected: list[Any] = []
        found = manifest.newest(
            folder, "step-", "checkpoint", lambda *why, all=rejected: all.append(why)
        )
        torn = (
            found is not None
            and b"".join((found / n).read_bytes() for n in ("model", "optimizer", "state"))
            != str(int(found.name[5:])).encode() * 15000
        )
        if torn or rejected:
            failures += 1
            failed.append(folder.name)
        shutil.rmtree(folder)
    return Result("CK1", len(tries), failures, facts={"calls": counts, "failed": failed})


def damaged(order: Order) -> Result:
    """CK2: random damage to the newest of two checkpoints: found every time, the older one is used."""
    import torch

    from stead.models import checkpoint

    parent, rng = order.work / "ck2", random.Random(order.seed)
    for step in (2, 4):
        draw = torch.Generator().manual_seed(step)
        tensors = {
            g: {"w": torch.randn(64, 64, generator=draw)} for g in ("model", "optimizer", "extra")
        }
        checkpoint.save(parent, step, checkpoint.State(tensors, {"step": step}), lambda event: None)
    good = parent / "step-00000004"
    names = sorted(p.name for p in good.iterdir())
    failures, tries = 0, order.count(100, 1000, 10_000)
    for _ in range(tries):
        path = good / rng.choice(names)
        whole = path.read_bytes()
        how = rng.choice(("flip", "flip", "cut", "zero", "missing"))
        data = bytearray(whole)
        if how == "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif how == "cut":
            data = data[: rng.randrange(len(data))]
        elif how == "zero":
            at = rng.randrange(len(data))
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        path.unlink()
        if how != "missing":
            path.write_bytes(data)
        if bytes(data) != whole or how == "missing":
            found = checkpoint.newest(parent, lambda event: None)
            failures += found is None or found.step != 2
            (parent / "damaged-step-00000004").rename(good)
        path.write_bytes(whole)
    return Result("CK2", tries, failures, facts={"files": names})


def cost(order: Order) -> Result:
    """CK5: saving 100 MB against raw writes and fsync of the same bytes; verifying on load."""
    import torch

    from stead.core import manifest
    from stead.models import checkpoint

    tensors = {"model": {"w": torch.randn(5_000_000)}, "optimizer": {"m": torch.randn(20_000_000)}}
    pairs = order.count(3, 5, 9)
    saves, raws, reads = [], [], []
    for number in range(pairs):
        parent = order.work / f"ck5-{number}"
        begun = time.perf_counter()
        checkpoint.save(parent, 1, checkpoint.State(tensors, {}), lambda event: None)
        saves.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with (parent / "raw").open("wb") as file:
            for group in tensors.values():
                for tensor in group.values():
                    file.write(tensor.numpy().data)
            os.fsync(file.fileno())
        raws.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        manifest.verify(parent / "step-00000001")
        reads.append(100 / (time.perf_counter() - begun))
        shutil.rmtree(parent)
    ratio = sorted(s / r for s, r in zip(saves, raws, strict=True))[pairs // 2]
    facts = {"save_s": sorted(saves)[pairs // 2], "raw_s": sorted(raws)[pairs // 2],
             "save_over_raw": round(ratio, 2), "verify_mb_per_s": round(sorted(reads)[pairs // 2])}  # fmt: skip
    return Result("CK5", pairs, 0, facts=facts)


PROMISES: dict[str, Callable[[Order], Result]] = {
    "TR1": killed, "TR3": preempted, "TR7": frozen,  # forks first: threads are lost in them
    "TR2": stopped_everywhere, "TR5": faulty.numbers, "TR6": faulty.memory, "TR9": raced,
    "CK1": written_under_kills, "CK2": damaged, "CK5": cost,
}  # fmt: skip
