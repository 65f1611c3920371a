"""RunConfig: everything a person may decide about one training run, as frozen, checked values.

Knows nothing about models, data or hardware: "auto" is settled by `planning/resolve`. Methods and
adapters bring their own config class; their section is checked by it, chosen by `type`.
"""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, model_validator

from stead.config import pairing
from stead.config.kinds import Section, registry
from stead.config.sections import ExtensionConfig, Owned, Registered

Auto = Literal["auto"]
Positive = Annotated[int, Field(ge=1)]
ReaderName = Annotated[str, Registered("reader", always=("auto",))]
FormatName = Annotated[str, Registered("format", always=("auto",))]
ProofName = Literal["mask", "labels", "packing", "accumulation"]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
ScheduleName = Literal[
    "cosine", "linear", "constant", "wsd", "inverse_sqrt", "polynomial", "cosine_restarts"
]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # 63 bits: torch and numpy both accept it
_READER = Field(default="auto", description="how bytes become rows; auto: by ending and content")
_FORMAT = Field(default="auto", description="how columns become messages; auto: by their names")
_COLUMNS: dict[str, str] = Field(
    default={}, description="role → column name, when names are unusual"
)


class ModelSection(Section):
    """Which model is trained and how it is held in memory."""

    path: str = Field(default="", description="model folder, or the name of an added model")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="number type of the weights while training; auto: by hardware"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="where the model runs; auto: the fastest that is there"
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        default="auto", description="attention kernel; auto: the fastest exact one for packed rows"
    )
    revision: str | None = Field(
        default=None, description="revision of a model that comes from a hub"
    )


class DataSource(Section):
    """One of several files or data sets that are read one after the other."""

    path: str = Field(description="file, folder or data set name")
    reader: ReaderName = _READER
    format: FormatName = _FORMAT
    columns: dict[str, str] = _COLUMNS
    split: str | None = Field(default=None, description="split of a Hugging Face data set")
    limit: Positive | None = Field(default=None, description="read at most so many rows")


class DataSection(Section):
    """Which rows are learnt from, and how they become token sequences."""

    path: str | tuple[str | DataSource, ...] = Field(
        default="", description="file, folder, or several"
    )
    reader: ReaderName = _READER
    format: FormatName = _FORMAT
    columns: dict[str, str] = _COLUMNS
    split: str | None = Field(default=None, description="split of a Hugging Face data set")
    eval_path: str | None = Field(
        default=None, description="held-out rows; None: eval_share of the data"
    )
    eval_share: float = Field(
        default=0.1, ge=0, lt=1, description="share of rows held out of training"
    )
    limit: Positive | None = Field(default=None, description="use at most so many rows")
    max_length: Annotated[int, Field(ge=8)] | Auto = Field(
        default="auto", description="longest sequence in tokens; auto: from the data and the model"
    )
    on_error: Literal["refuse", "skip"] = Field(
        default="skip", description="invalid rows: stop, or leave out; named and counted either way"
    )
    dedupe: bool = Field(default=True, description="drop rows that are equal to an earlier one")
    train_on: Literal["all", "last"] = Field(
        default="all", description="learn from every assistant turn, or the last one only"
    )
    seed: Seed = Field(default=42, description="seed of the split into train and eval rows")
    streaming: bool = Field(
        default=False, description="read a hub data set without downloading it whole"
    )
    pack: bool = Field(
        default=True, description="join short documents of plain text into full blocks"
    )


class SamplesSection(Section):
    """What the model is asked while it trains; greedy answers, written to samples.jsonl of the run."""

    prompts: Annotated[tuple[str, ...], Field(max_length=16)] = Field(
        default=(), description="what the model is asked while it trains; none: nothing"
    )
    every: Positive | None = Field(
        default=None, description="optimizer steps between samples; null: as often as checkpoints"
    )
    max_new_tokens: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=64, description="longest sampled answer in tokens"
    )


class TrainerSection(Section):
    """How the loop walks over the data and changes weights."""

    type: Annotated[str, Registered("trainer", always=("native",))] = Field(
        default="native", description="who runs the loop"
    )
    epochs: float = Field(default=3.0, gt=0, le=10_000, description="passes over the training rows")
    max_steps: Positive | None = Field(
        default=None, description="stop after so many optimizer steps"
    )
    batch_tokens: Annotated[int, Field(ge=8)] | Auto | None = Field(
        default="auto",
        description="most tokens per micro-batch; auto: from memory and lengths; None: batch_rows",
    )
    batch_rows: Positive | None = Field(
        default=None, description="exactly so many rows per micro-batch instead of a token budget"
    )
    accumulation: Positive = Field(default=1, description="micro-batches per optimizer step")
    lr: Annotated[float, Field(ge=0, le=10)] | Auto = Field(
        default="auto", description="peak learning rate; auto: by method and adapter"
    )
    schedule: ScheduleName = Field(
        default="cosine",
        description="learning rate after warm-up; wsd: constant, then down over decay_share",
    )
    lr_floor: Share = Field(default=0.0, description="lowest learning rate, as a share of the peak")
    decay_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2, description="share of the steps after warm-up in which wsd falls"
    )
    cycles: Positive = Field(default=1, description="periods of cosine_restarts")
    power: float = Field(default=1.0, gt=0, description="power of polynomial; 1 is linear")
    warmup: float = Field(
        default=0.1, ge=0, description="share of the steps, or steps when 1 or more"
    )
    weight_decay: float = Field(
        default=0.01, ge=0, le=1, description="decoupled decay of matrix weights"
    )
    clip: float = Field(default=1.0, ge=0, description="largest gradient norm; 0: no clipping")
    optimizer: Annotated[str, Registered("optimizer")] = Field(
        default="adamw", description="how gradients become steps"
    )
    betas: tuple[Decay, Decay] | None = Field(
        default=None,
        description="decay rates of the moments; null: the optimizer's own (AdamW 0.9, 0.999)",
    )
    momentum: Decay | None = Field(
        default=None, description="momentum of sgd and muon; null: their own (0.9, 0.95)"
    )
    seed: Seed = Field(default=42, description="seed of row order, new weights and dropout")
    shuffle: bool = Field(default=True, description="a new row order every epoch; off: file order")
    gradient_checkpointing: bool = Field(
        default=False,
        description="recompute activations in the backward pass: less memory, more time",
    )
    checkpoint_every: Positive | Auto = Field(
        default="auto", description="optimizer steps between checkpoints; auto: about ten per run"
    )
    keep: Positive = Field(default=3, description="checkpoints kept; older ones are retired")
    log_every: Positive = Field(default=1, description="optimizer steps between progress events")
    eval_every: Positive | None = Field(
        default=None,
        description="optimizer steps between losses on the held-out rows; None: at the end",
    )
    logits_chunk: Positive | Auto = Field(
        default="auto",
        description="labelled tokens whose logits are computed at once; auto: by memory",
    )
    label_smoothing: Decay = Field(
        default=0.0, description="share of each label given to all words alike while training"
    )
    neftune_alpha: float = Field(
        default=0.0, ge=0, description="size of the noise on embeddings while training; 0: none"
    )
    patience: Positive | None = Field(
        default=None,
        description="end the run after so many held-out losses without a better one; null: never",
    )
    min_delta: float = Field(
        default=0.0,
        ge=0,
        description="a held-out loss counts as better when lower by more than this",
    )
    keep_best: bool = Field(
        default=False,
        description="write the weights with the lowest held-out loss to final, not the last ones",
    )
    ema: Decay | None = Field(
        default=None,
        description="decay of a running mean of the weights, which is evaluated and written instead",
    )
    samples: SamplesSection = Field(
        default=SamplesSection(), description="what the model is asked while it trains"
    )
    trackers: tuple[Annotated[str, Registered("tracker")], ...] | Auto = Field(
        default="auto",
        description="who else is told of every step: tensorboard, mlflow, wandb; "
        "auto: TensorBoard when it is installed",
    )
    on_nan: Literal["stop", "skip", "rewind"] = Field(
        default="stop",
        description="when a loss or gradient is NaN or infinite: end the run, leave the step's rows out, "
        "or go back to the last checkpoint and leave out all rows since",
    )
    on_spike: Literal["warn", "skip", "rewind", "stop"] = Field(
        default="warn", description="when a loss jumps above spike_factor times the usual one"
    )
    spike_factor: float = Field(
        default=10.0, gt=1, description="how many times the median of recent losses is a jump, if also large beside the first ones"
    )  # fmt: skip
    proofs: bool = Field(
        default=True,
        description="check mask, packing and accumulation on the model and its rows before the first step",
    )
    allow: tuple[ProofName, ...] = Field(
        default=(), description="proofs that may fail without ending the run, by name"
    )


class LaunchSection(Section):
    """Where the training process runs."""

    type: Annotated[str, Registered("launcher", always=("process",))] = Field(
        default="process", description="launcher of the worker"
    )
    processes: Positive = Field(
        default=1,
        description="processes that train together; each adds its own micro-batches to every step",
    )
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="none: every process holds the whole model (DDP); full: each holds a share (FSDP2)",
    )
    step_timeout_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="seconds without a step after which a worker counts as hanging and is restarted; null: never",
    )


class EvaluationSection(Section):
    """What is measured when training has ended; no metrics: nothing."""

    metrics: tuple[Annotated[str, Registered("scorer", always=("rouge",))], ...] = Field(
        default=(), description="scorers, for instance exact_match and rouge"
    )
    data: str | None = Field(
        default=None, description="rows to measure on; None: the held-out rows"
    )
    limit: Positive | None = Field(default=None, description="measure at most so many rows")
    max_new_tokens: Positive = Field(default=256, description="longest generated answer in tokens")


class ExportSection(Section):
    """One export of the trained model."""

    format: Annotated[str, Registered("exporter")] = Field(
        description="exporter, for instance merged or gguf"
    )
    quant: str | None = Field(
        default=None, description="type written to the file, for instance q8_0"
    )
    out: str | None = Field(
        default=None, description="target; None: below the run's artifacts folder"
    )

    @model_validator(mode="after")
    def _can_store(self) -> "ExportSection":
        known = getattr(registry("exporter").get(self.format), "quants", ())
        if self.quant is not None and self.quant not in known:
            choices = f"(known: {', '.join(known)})" if known else "(it has no choice)"
            raise ValueError(f"{self.format} cannot store quant={self.quant!r} {choices}")
        return self


METHOD = Owned("method", default="sft")
ADAPTER = Owned("adapter", default="lora")
MethodField = Annotated[SerializeAsAny[ExtensionConfig], METHOD]
AdapterField = Annotated[SerializeAsAny[ExtensionConfig], ADAPTER]


class RunConfig(Section):
    """One training run, from data to exported files, before anything is resolved."""

    name: str | None = Field(default=None, description="name of the run, for people")
    out: str | None = Field(
        default=None, description="run folder; None: a new one in the data directory"
    )
    model: ModelSection = Field(default=ModelSection(), description="which model is trained")
    data: DataSection = Field(default=DataSection(), description="which rows are learnt from")
    method: MethodField = Field(
        default_factory=lambda: METHOD.check(METHOD.default),
        description="how to learn: a name, or its settings",
    )
    adapter: AdapterField = Field(
        default_factory=lambda: ADAPTER.check(ADAPTER.default),
        description="what is trained: a name, or settings",
    )
    trainer: TrainerSection = Field(default=TrainerSection(), description="how the loop runs")
    launch: LaunchSection = Field(default=LaunchSection(), description="where the process runs")
    evaluation: EvaluationSection = Field(
        default=EvaluationSection(), description="what is measured at the end"
    )
    export: tuple[ExportSection, ...] = Field(default=(), description="what is written at the end")

    @model_validator(mode="after")
    def _agree(self) -> "RunConfig":
        _check_rules(self)
        return self


def _check_rules(config: RunConfig) -> None:
    """Refuse settings that contradict each other; each rule names both keys."""
    for rule in (
        _one_batch_size,
        _row_fits_batch,
        _rows_to_evaluate,
        _losses_to_judge_by,
        _labels_to_smooth,
        _trainable_dtype,
        _pair_that_goes,
    ):
        rule(config)


def _one_batch_size(config: RunConfig) -> None:
    rows, tokens = config.trainer.batch_rows, config.trainer.batch_tokens
    if rows is not None and isinstance(tokens, int):
        raise ValueError(
            f"trainer.batch_rows={rows} and trainer.batch_tokens={tokens} are both set; keep one"
        )
    if rows is None and tokens is None:
        raise ValueError("trainer.batch_tokens is null, so trainer.batch_rows must be set")


def _row_fits_batch(config: RunConfig) -> None:
    length, tokens = config.data.max_length, config.trainer.batch_tokens
    if isinstance(length, int) and isinstance(tokens, int) and length > tokens:
        raise ValueError(
            f"data.max_length={length} is longer than one micro-batch "
            f"(trainer.batch_tokens={tokens}); raise batch_tokens or lower max_length"
        )


def _rows_to_evaluate(config: RunConfig) -> None:
    data = config.data
    if config.trainer.eval_every is not None and data.eval_share == 0 and data.eval_path is None:
        raise ValueError(
            f"trainer.eval_every={config.trainer.eval_every} needs held-out rows, but "
            "data.eval_share is 0 and data.eval_path is not set"
        )


def _labels_to_smooth(config: RunConfig) -> None:
    method, smoothing = config.method.type, config.trainer.label_smoothing
    if smoothing and not getattr(registry("method").get(method), "smooths_labels", False):
        raise ValueError(
            f"trainer.label_smoothing={smoothing} is for methods that learn labels, as sft and "
            f"pretrain do; method={method!r} would leave it out"
        )


def _losses_to_judge_by(config: RunConfig) -> None:
    trainer = config.trainer
    for name, asked in (
        ("patience", trainer.patience is not None),
        ("keep_best", trainer.keep_best),
    ):
        if asked and trainer.eval_every is None:
            raise ValueError(
                f"trainer.{name}={getattr(trainer, name)} compares held-out losses during the run, "
                "but trainer.eval_every is not set"
            )


def _pair_that_goes(config: RunConfig) -> None:
    refused = pairing.refusal(config.method.type, config.adapter.type)
    words = {"evaluation.metrics": config.evaluation.metrics, "trainer.samples.prompts": config.trainer.samples.prompts}  # fmt: skip
    refused = refused or pairing.wordless(config.method.type, [k for k, v in words.items() if v])
    if refused is not None:
        raise ValueError(refused)


def _trainable_dtype(config: RunConfig) -> None:
    if config.model.dtype == "fp16" and config.model.device == "cpu":
        raise ValueError("model.dtype=fp16 cannot be trained on model.device=cpu; use bf16")
