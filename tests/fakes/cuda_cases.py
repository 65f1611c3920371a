"""What must hold on a CUDA device, shown on the double of `fakes/device`: one process runs them all.

`python -m tests.fakes.cuda_cases MODEL FOLDER [CASE…]` writes FOLDER/told.json: case → "" or what went wrong.
A case is a function whose name begins with `case_`.
"""

import copy
import json
import math
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import device, matrix

from stead.config.kinds import registry
from stead.core.errors import CheckpointError
from stead.hub.inspect import inspect
from stead.messages import Sampling
from stead.models.load import load_model
from stead.models.writing import generate, likelihood
from stead.training.methods.sft import SFT
from stead.values import LoadedModel, PreparedData

CLOSE = 2e-3  # of a loss in four steps: other kernels, so other rounding and other dropout masks
PROBE = [[5, 9, 30, 7, 12, 41], [8, 8, 100, 3]]


class Place:
    """The model on both devices, rows of each kind, and a folder for runs."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.hash = inspect(model, tokenizer=False).hash
        self.read = {d: load_model(model, dtype=d, device="cpu") for d in ("fp32", "bf16", "fp16")}

    @cache  # noqa: B019 - lives as long as the process
    def loaded(self, on: str, dtype: Any = "fp32") -> LoadedModel:
        """Put a model on a device that was read before there was one: the double upsets the reader."""
        own = self.read[dtype]
        return replace(own, model=copy.deepcopy(own.model).to(on), device=torch.device(on))

    @cache  # noqa: B019
    def rows(self, kind: str) -> PreparedData:
        """Prepare rows."""
        return matrix.data(kind, self.model, self.folder)

    def train(
        self, name: str, on: str, method: str = "sft", adapter: str = "lora", *, dtype: str = "fp32",
        base: LoadedModel | None = None, **more: Any,
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # fmt: skip
        """Train four steps into `name`; return the log's lines and the result."""
        prepared = self.rows(registry("method").get(method).kinds[0])
        own = self.loaded(on, dtype) if base is None else base
        _, result = matrix.train(
            own, prepared, self.folder / name, method=method, adapter=adapter,
            base_hash=self.hash, checkpoint_every=2, **more,
        )  # fmt: skip
        text = (self.folder / name / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()], result

    def cut(self, whole: str, name: str) -> None:
        """Leave in `name` what `whole` would have left when killed after step two."""
        shutil.copytree(self.folder / whole, self.folder / name)
        shutil.rmtree(self.folder / name / "final")
        (self.folder / name / "result.json").unlink()
        for later in sorted((self.folder / name / "checkpoints").iterdir())[1:]:
            shutil.rmtree(later)


def _losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


def case_the_double_refuses_what_cuda_refuses(_: Place) -> None:
    there = torch.randn(3, 3, device="cuda")

    for wrong in (lambda: there + torch.ones(3), lambda: torch.ones(3) * there.sum(),
                  lambda: torch.zeros(()).add_(there.sum()), lambda: torch.mm(there, torch.ones(3, 3)),
                  lambda: torch.ones(3)[there[0].long()],
                  lambda: there.normal_(generator=torch.Generator())):  # fmt: skip
        with pytest.raises(RuntimeError, match="device"):
            wrong()
    for wrong in (there.numpy, lambda: torch.from_numpy(there)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(NotImplementedError, match="CUDA"):
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*[there[None, None]] * 3)
    assert (there + torch.tensor(2.0)).device == there[torch.tensor([0])].device == there.device
    assert there.tolist() == there.cpu().tolist()


def case_a_backward_pass_has_a_thread_of_its_own(_: Place) -> None:
    seen: list[Any] = []
    weight = torch.ones(3, device="cuda", requires_grad=True)
    weight.register_hook(lambda grad: seen.append((threading.current_thread(), grad.device)))

    (weight * 2).sum().backward()

    assert seen[0][0] is not threading.current_thread()
    assert seen[0][1] == torch.device("cuda:0")


def case_answers_and_likelihoods(place: Place) -> None:
    sampling = [Sampling(max_tokens=6, temperature=0.0), Sampling(max_tokens=6, temperature=0.0, repeat_penalty=1.3),
                Sampling(max_tokens=3, temperature=0.0, logprobs=2)]  # fmt: skip
    asked = [PROBE[0], PROBE[0], PROBE[1]]
    here, there = place.loaded("cpu"), place.loaded("cuda")

    answers = [generate.generate(x, asked, sampling) for x in (here, there)]

    assert [a.ids for a in answers[1]] == [a.ids for a in answers[0]], answers
    for read in (likelihood.score, likelihood.embed):
        for a, b in zip(read(here, PROBE), read(there, PROBE), strict=True):
            assert b == pytest.approx(a, abs=1e-5)  # float32


def _as_on_the_cpu(place: Place, method: str, adapter: str, **more: Any) -> None:
    name = f"{method}-{adapter}"
    more |= {"max_steps": 2}
    here, _ = place.train(f"cpu-{name}", "cpu", method, adapter, **more)
    there, _ = place.train(f"cuda-{name}", "cuda", method, adapter, **more)

    assert _losses(there) == pytest.approx(_losses(here), rel=CLOSE, abs=CLOSE), (there, here)


def case_sft_with_every_weight(place: Place) -> None:
    _as_on_the_cpu(place, "sft", "full")


def case_dpo_with_qlora(place: Place) -> None:
    _as_on_the_cpu(place, "dpo", "qlora")


def case_pretraining_with_a_prefix(place: Place) -> None:
    _as_on_the_cpu(place, "pretrain", "prefix")


def case_rollouts_of_grpo(place: Place) -> None:
    _as_on_the_cpu(place, "grpo", "lora", adapter_config={"dropout": 0.0})


def case_rollouts_of_ppo_and_its_values(place: Place) -> None:
    _as_on_the_cpu(place, "ppo", "full")


def case_bf16_noise_mean_weights_and_small_moments(place: Place) -> None:
    more = {"dtype": "bf16", "neftune_alpha": 5.0, "ema": 0.9, "optimizer": "adamw_8bit"}

    lines, result = place.train("bf16", "cuda", max_steps=2, proofs=True, **more)

    assert len(lines) == 2
    assert all(math.isfinite(x) for x in _losses(lines))
    assert (place.folder / "bf16" / "final").is_dir()
    assert result["resume_level"] == "exact"


def case_fp16_scales_its_loss(place: Place) -> None:
    lines, _ = place.train("fp16", "cuda", adapter="full", dtype="fp16", max_steps=3)

    assert all(math.isfinite(x) for x in _losses(lines))
    state = place.folder / "fp16" / "checkpoints" / "step-00000002" / "state.json"
    assert json.loads(state.read_text())["scaler"]["scale"] > 1.0


def case_a_resumed_run_ends_with_the_same_bytes(place: Place) -> None:
    whole, first = place.train("whole", "cuda")
    place.cut("whole", "resumed")

    again, second = place.train("resumed", "cuda", resume=True)

    assert again == whole
    assert second["weights_sha256"] == first["weights_sha256"]
    assert second["resume_level"] == "exact"


def case_layers_computed_again_draw_the_same_dropout(place: Place) -> None:
    more = {"adapter_config": {"dropout": 0.3}, "max_steps": 2}

    kept, _ = place.train("kept", "cuda", **more)
    again, _ = place.train("again", "cuda", gradient_checkpointing=True, **more)

    numbers = [(x["loss"], x["grad_norm"]) for x in again]
    assert numbers == [pytest.approx((x["loss"], x["grad_norm"]), rel=1e-5) for x in kept]


def case_a_models_own_dropout_depends_on_the_step_alone(place: Place) -> None:
    base = place.loaded("cuda")
    runs = []
    for name in ("one", "two"):
        torch.cuda.manual_seed(len(runs))  # whatever happened on the card before
        base.model.config.attention_dropout = 0.5
        for layer in base.model.get_decoder().layers:
            layer.self_attn.attention_dropout = 0.5
        try:
            runs.append(place.train(f"dropped-{name}", "cuda", base=base, max_steps=2)[0])
        finally:
            base.model.config.attention_dropout = 0.0
            for layer in base.model.get_decoder().layers:
                layer.self_attn.attention_dropout = 0.0

    assert runs[0] == runs[1]
    plain, _ = place.train("undropped", "cuda", max_steps=2)
    assert _losses(runs[0]) != _losses(plain)


def case_a_cpus_checkpoint_is_no_exact_resume(place: Place) -> None:
    place.train("from-cpu", "cpu", max_steps=4)
    for name in ("moved", "allowed"):
        place.cut("from-cpu", name)

    with pytest.raises(CheckpointError, match="device: cpu → cuda") as caught:
        place.train("moved", "cuda", resume=True)
    lines, result = place.train("allowed", "cuda", resume="same-order")

    assert caught.value.code == "fingerprint-changed"
    assert result["resume_level"] == "same-order"
    assert len(lines) == 4


def case_memory_that_runs_out_halves_the_batches(place: Place) -> None:
    plain, calls = SFT.loss, [0]

    def full(self: Any, model: Any, batch: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SFT, "loss", full)
        lines, _ = place.train("halved", "cuda", max_steps=2)

    assert [line.get("split", 1) for line in lines] == [1, 2]


def case_kernels_have_an_order_while_training(place: Place) -> None:
    plain, seen = SFT.loss, []

    def looked(self: Any, model: Any, batch: Any) -> Any:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return plain(self, model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SFT, "loss", looked)
        place.train("ordered", "cuda", max_steps=1)

    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


def main(model: Path, folder: Path, only: list[str]) -> None:
    """Run every case, or those that are named; a failure ends none of the others."""
    torch.set_num_threads(1)
    told: dict[str, str] = {}
    cases: dict[str, Callable[[Place], None]] = {
        n.removeprefix("case_"): f for n, f in globals().items() if n.startswith("case_")
    }
    place = Place(model, folder)
    with device.cuda():
        for name, case in cases.items():
            if only and name not in only:
                continue
            try:
                case(place)
                told[name] = ""
            except Exception:
                told[name] = traceback.format_exc()
            print(name, "failed" if told[name] else "ok", flush=True)
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
