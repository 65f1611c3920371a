"""Supervised fine-tuning as one flat script: the loop of `stead train`, without its machinery.

    python examples/sft_loop.py MODEL_FOLDER PREPARED_FOLDER [STEPS]

Prints the loss of each step; they are those of the real loop, to the bit (tests/unit/training).
No checkpoints, no callbacks, no lanes: read this first, then `src/stead/training/trainer.py`.
"""

import sys
from pathlib import Path

import torch

from stead.data.pack import TokenStore, make_batch, plan_batches
from stead.models.adapters.lora import Lora, LoraConfig
from stead.models.layers import layers
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.training.optimizer import OptimOptions
from stead.training.optimizers.adamw import AdamW
from stead.training.schedules import Schedule
from stead.values import PreparedData

SEED = 42
ROWS_PER_STEP = 2
PEAK_RATE = 5e-3


def train(model_folder: Path, prepared_folder: Path, steps: int) -> list[float]:
    """Train a LoRA adapter for some steps of one epoch; return the loss of each step."""
    # 1. A frozen model, with small trainable matrices beside its linear layers.
    loaded = load_model(model_folder, dtype="fp32", device="cpu")
    Lora(LoraConfig(dropout=0.1)).wrap(loaded.model, layers, SEED)
    learner = Learner(loaded)
    loaded.model.train()

    # 2. Rows → micro-batches: a function of seed and epoch alone, so there is no sampler to save.
    store = TokenStore.open(PreparedData.open(prepared_folder), "train")
    batches = plan_batches(store.lengths, batch_rows=ROWS_PER_STEP, seed=SEED, epoch=0)[:steps]

    # 3. float32 masters, moments for each, and a rate that is a function of the step.
    optimizer = AdamW(learner.trained(), OptimOptions(weight_decay=0.01, clip=1.0))
    rate = Schedule("cosine", PEAK_RATE, warmup=0.1, total=len(batches))

    losses = []
    for step, rows in enumerate(batches):
        batch = make_batch(store, rows)  # rows end to end, no padding

        # 4. Forward. Dropout comes from (seed, step), not from a generator that remembers.
        with learner.draw(SEED, step << 20):
            total, _ = learner.label_loss(batch)  # the sum over labelled tokens, in nats

            # 5. The loss is a mean over the step's labels, however they were cut into batches.
            weight = int((batch.labels != -100).sum())
            found = torch.autograd.grad(total * (1.0 / weight), list(optimizer.parameters.values()))

        # 6. Clip, step, forget.
        optimizer.step(dict(zip(optimizer.parameters, found, strict=True)), rate(step))
        losses.append(float(total.detach()) / weight)
    learner.close()
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, prepared = Path(sys.argv[1]), Path(sys.argv[2])
    how_many = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    for number, loss in enumerate(train(model, prepared, how_many), start=1):
        sys.stdout.write(f"{number:4d}  {loss:.6f}\n")
