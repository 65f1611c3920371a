"""The parts of a strategy that train, fetch and convert models; together they are a recipe.

Knows nothing about training: `recipe_of` gives the keys of a `RunConfig`, which checks them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from stead.config.kinds import Section
from stead.config.run import Positive
from stead.config.sections import Registered


class BaseModelSection(Section):
    """Which model is trained."""

    name: str | None = Field(default=None, description="name of an added model, or a folder")
    huggingface_id: str | None = Field(default=None, description="name on the Hugging Face hub")
    torch_dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="number type of the weights"
    )
    load_in_4bit: bool = Field(default=False, description="hold the weights in 4 bits (qlora)")


class MethodSection(Section):
    """What is trained."""

    type: Literal["lora", "qlora", "full_finetune"] = Field(
        default="lora", description="small added weights, the same over 4 bits, or all weights"
    )
    r: Annotated[int, Field(ge=1, le=512)] | None = Field(default=None, description="rank")
    alpha: Annotated[float, Field(gt=0)] | None = Field(default=None, description="scale")
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="share of inputs of the added weights that are dropped"
    )
    target_modules: tuple[str, ...] | None = Field(
        default=None, description="layers that get added weights"
    )


class DatasetSection(Section):
    """What is learnt from."""

    path: str | None = Field(default=None, description="file or folder of rows")


class TrainingSection(Section):
    """How it is learnt."""

    batch_size: Positive | None = Field(default=None, description="rows per micro-batch")
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="peak learning rate"
    )
    num_epochs: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="passes over the rows"
    )
    gradient_accumulation_steps: Positive | None = Field(
        default=None, description="micro-batches per step"
    )
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="share of the steps with a rising learning rate"
    )


class TunerConfig(Section):
    """A training, as the strategy describes it."""

    base_model: BaseModelSection = Field(default=BaseModelSection(), description="which model")
    method: MethodSection = Field(default=MethodSection(), description="what is trained")
    dataset: DatasetSection = Field(default=DatasetSection(), description="what is learnt from")
    training: TrainingSection = Field(default=TrainingSection(), description="how it is learnt")


class TunerComponent(Section):
    """A trainer."""

    type: Literal["pytorch", "llamafactory"] = Field(description="who runs the training loop")
    config: TunerConfig = Field(default=TunerConfig(), description="the training")


class RepositoryConfig(Section):
    """How to reach a hub."""

    token: str | None = Field(
        default=None, description="access token, as `${VARIABLE}`", repr=False
    )


class RepositoryComponent(Section):
    """Where models come from."""

    type: Annotated[str, Registered("source")] = Field(description="huggingface, or another source")
    config: RepositoryConfig = Field(default=RepositoryConfig(), description="how to reach it")


class ConverterConfig(Section):
    """How to convert."""

    quantization: str | None = Field(default=None, description="number type of the file: q4_0 …")


class ConverterComponent(Section):
    """What a trained model is converted to."""

    type: Annotated[str, Registered("exporter")] = Field(description="gguf, ollama or another")
    config: ConverterConfig = Field(default=ConverterConfig(), description="how to convert")


_DTYPES = {"auto": "auto", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_TRAINERS = {"pytorch": "native", "llamafactory": "llamafactory"}
_ADAPTERS = {"lora": "lora", "qlora": "qlora", "full_finetune": "full"}


def recipe_of(
    tuner: TunerComponent, converter: ConverterComponent | None = None
) -> dict[str, Any]:  # Any: JSON values
    """Return the recipe that the parts stand for; keys nobody gave are left out."""
    config = tuner.config
    base, method, training = config.base_model, config.method, config.training
    path = base.name if base.name is not None else base.huggingface_id
    lora: dict[str, Any] = {
        "r": method.r,
        "alpha": method.alpha,
        "dropout": method.dropout,
        "target_modules": None if method.target_modules is None else list(method.target_modules),
    }
    adapter = _ADAPTERS["qlora" if base.load_in_4bit else method.type]
    recipe: dict[str, dict[str, Any]] = {
        "model": {"path": path, "dtype": _DTYPES[base.torch_dtype]},
        "data": {"path": config.dataset.path},
        "adapter": {"type": adapter, **(lora if adapter != "full" else {})},
        "trainer": {
            "type": _TRAINERS[tuner.type],
            "batch_rows": training.batch_size,
            "lr": training.learning_rate,
            "epochs": training.num_epochs,
            "accumulation": training.gradient_accumulation_steps,
            "warmup": training.warmup_ratio,
        },
    }
    kept = ((n, {k: v for k, v in s.items() if v is not None}) for n, s in recipe.items())
    found: dict[str, Any] = {name: section for name, section in kept if section}
    if converter is not None:
        export = {"format": converter.type, "quant": converter.config.quantization}
        found["export"] = [{k: v for k, v in export.items() if v is not None}]
    return found
