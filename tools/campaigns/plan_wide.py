"""M3 on what the first campaign does not draw: other families, sizes, methods, adapters, optimizers: PART=plan_wide.

Every case is forecast on a data directory that only knows the cases before it, then trained in a fresh process; all
are judged. `make campaign PART=plan` takes every second of its cases from here. Knows nothing about how forecasts are made.
"""

import json
import random
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from campaign import ROOT, Order, Result, load
from stead.core import process

CASES = {"smoke": 4, "full": 30, "long": 90}
# Names of transformers' configurations and their sizes: 5 to 60 million parameters.
MODELS: dict[str, tuple[str, dict[str, int]]] = {
    "llama-26": ("llama", {"hidden_size": 384, "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 1536}),
    "qwen2-33": ("qwen2", {"hidden_size": 448, "num_hidden_layers": 9, "num_attention_heads": 7, "num_key_value_heads": 7, "intermediate_size": 1344}),
    "mistral-8": ("mistral", {"hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 640}),
    "qwen3-17": ("qwen3", {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 5, "num_key_value_heads": 5, "intermediate_size": 960, "head_dim": 64}),
    "gpt2-29": ("gpt2", {"n_embd": 384, "n_layer": 8, "n_head": 6, "n_positions": 2048}),
    "phi3-22": ("phi3", {"hidden_size": 384, "num_hidden_layers": 5, "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 1152}),
    "llama-58": ("llama", {"hidden_size": 640, "num_hidden_layers": 8, "num_attention_heads": 10, "num_key_value_heads": 5, "intermediate_size": 1920}),
}  # fmt: skip
_MAKE = """
import json, sys, shutil, torch, transformers
kind, sizes, base, out = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
kept = json.load(open(base + "/config.json"))
common = {k: kept[k] for k in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id") if k in kept}
shutil.copytree(base, out, ignore=shutil.ignore_patterns("model*", "config.json", "manifest.json"))
torch.manual_seed(7)
config = transformers.AutoConfig.for_model(kind, **common, **sizes, tie_word_embeddings=True)
transformers.AutoModelForCausalLM.from_config(config).save_pretrained(out)
"""
METHODS = ("sft", "dpo", "sft", "kto", "grpo", "sft", "reward", "distillation", "orpo")
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {"adapter": "lora", "adapter.r": 16},
    "dora": {"adapter": "lora", "adapter.r": 8, "adapter.dora": True},
    "qlora": {"adapter": "qlora", "adapter.r": 16},
    "full": {"adapter": "full"},
    "ia3": {"adapter": "ia3"},
    "prefix": {"adapter": "prefix"},
    "freeze": {"adapter": "freeze"},
    "qlora-8": {"adapter": "qlora", "adapter.r": 8, "adapter.bits": 8},
    "prompt": {"adapter": "prompt"},
}
OPTIMIZERS = ("adamw", "adamw_8bit", "adafactor", "muon", "lion", "sgd")
_PAIRED = {"dpo", "kto", "reward", "orpo"}
_REFUSED = {("reward", "prefix"), ("reward", "prompt"), ("grpo", "prompt"), ("grpo", "prefix")}


@dataclass(frozen=True)
class Case:
    """One configuration; `more` are keys of a recipe."""

    model: str
    dtype: str
    method: str
    adapter: str
    optimizer: str
    length: int
    batch_tokens: int
    accumulation: int
    checkpointing: bool
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name the case in one line."""
        again = " recompute" if self.checkpointing else ""
        return f"{self.model} {self.dtype} {self.method} {self.adapter} {self.optimizer} {self.length}/{self.batch_tokens}x{self.accumulation}{again}"

    def overrides(self, work: Path, out: Path) -> dict[str, Any]:
        """Return the case as the keys of a recipe."""
        rows = "pairs" if self.method in _PAIRED else f"rows-{self.length}"
        found = {
            "model.path": str(work / self.model), "model.dtype": self.dtype, "model.device": "cpu",
            "out": str(out), "data.path": str(work / f"{rows}.jsonl"), "data.max_length": self.length,
            "data.eval_share": 0.02, "method": self.method, "trainer.optimizer": self.optimizer,
            "trainer.batch_tokens": self.batch_tokens, "trainer.accumulation": self.accumulation,
            "trainer.max_steps": 2 if self.method == "grpo" else 3, "trainer.proofs": False,
            "trainer.gradient_checkpointing": self.checkpointing, "trainer.trackers": [],
        }  # fmt: skip
        if self.method in _PAIRED:  # a table of the reference is made over all rows
            found |= {"data.limit": 64}
        if self.method == "grpo":
            found |= {"data.limit": 32, "method.rewards": [{"scorer": "contains"}], "method.num_generations": 4,
                      "method.max_completion_length": 48}  # fmt: skip
        if self.method == "distillation":
            found |= {"method.teacher": str(work / "small")}
        return found | ADAPTERS[self.adapter] | self.more


def draw_cases(count: int, seed: int) -> list[Case]:
    """Draw cases in which every model, method, adapter and optimizer comes about equally often."""
    rng = random.Random(f"wide {seed}")
    decks = {n: _deck(rng, items) for n, items in
             {"model": MODELS, "method": METHODS, "adapter": ADAPTERS, "optimizer": OPTIMIZERS}.items()}  # fmt: skip
    cases: list[Case] = []
    while len(cases) < count:
        model, method = next(decks["model"]), next(decks["method"])
        adapter, optimizer = next(decks["adapter"]), next(decks["optimizer"])
        if (method, adapter) in _REFUSED:
            adapter = "lora"
        if model.startswith(("gpt2", "qwen2-")) and method == "distillation":
            method = "sft"  # transformers gives their tokenizers a token that the teacher has not
        length = 512 if method in _PAIRED else rng.choice((128, 256, 512, 1024, 2048))
        batch = rng.choice([b for b in (1024, 2048, 4096) if b >= length])
        cases.append(Case(
            model, rng.choice(("bf16", "fp32")), method, adapter, optimizer, length,
            max(batch, 2 * length if method in _PAIRED else 0), rng.choice((1, 1, 2)),
            rng.random() < 0.2 and method != "grpo",
        ))  # fmt: skip
    return cases


def _deck(rng: random.Random, items: Any) -> Any:
    while True:
        hand = list(items)
        rng.shuffle(hand)
        yield from hand


def make_models(work: Path, wanted: set[str]) -> None:
    """Make the models of other families with the tokenizer of the benchmarks' one."""
    for name in sorted(wanted & set(MODELS)):
        kind, sizes = MODELS[name]
        argv = [process.python("x")[0], "-c", _MAKE, kind, json.dumps(sizes), str(work / "small"), str(work / name)]  # fmt: skip
        child = process.spawn(argv, name=f"make-{name}", log=work / f"make-{name}.log")
        if child.wait() != 0:
            raise SystemExit((work / f"make-{name}.log").read_text()[-2000:])


def run(order: Order) -> list[Result]:
    """Run the cases, print a table, write every case to evidence/plan_wide.json."""
    plan: ModuleType = load("plan")
    cases = draw_cases(order.count(**CASES), order.seed)
    begun = time.monotonic()
    home, blank = plan.begin(order, {c.model for c in cases})
    done: list[dict[str, Any]] = []
    refused: list[str] = []
    for i, case in enumerate(cases):
        try:
            done.append(plan.run_case(case, i, order.work, home, blank))
        except Exception as error:  # a case that is refused is told, the others go on
            refused.append(f"{case.label}: {error}")
            print(refused[-1], flush=True)
            continue
        plan.print_case(i, done[-1])
    errors = sorted(abs(c["memory"]["untaught_error"]) for c in done)
    taught = sorted(abs(c["memory"]["error"]) for c in done)
    found = {
        "memory_median": statistics.median(taught), "memory_p90": taught[int(0.9 * len(taught))],
        "untaught_median": statistics.median(errors), "untaught_p90": errors[int(0.9 * len(errors))],
        "covered": sum(c["memory"]["covered"] for c in done) / len(done),
    }  # fmt: skip
    (ROOT / "evidence" / "plan_wide.json").write_text(
        json.dumps(found | {"cases": done}, indent=1) + "\n"
    )
    missed = int(found["memory_median"] > 0.10) + int(found["memory_p90"] > 0.20)
    return [Result("M3-wide", len(done), missed, time.monotonic() - begun, found, refused)]
