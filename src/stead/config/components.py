"""The parts a strategy is made of: cloud APIs and local model programs, and the entries of a chain.

Knows nothing about vendors or engines but that they have names: whoever opens a strategy knows which
there are. Parts that train, fetch and convert are in `config/workshop`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, JsonValue, Tag

from stead.config.kinds import Section, registry

Tokens = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Name = Annotated[str, Field(min_length=1, max_length=96, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]
CLOUD_SLOT, LOCAL_SLOT = "cloud_api", "model_app"
LOCAL_TYPES = ("ollama", "llamacpp", "vllm", "tgi", "mock_model")  # besides the engines' own names
_LOCAL_KEYS = frozenset(
    {"auto_start", "gpu_layers", "num_thread", "cpu_threads", "context_size"}
)  # only a model program has these, so they tell what an entry of type "custom" is


class ModelDefaults(Section):
    """What is sent for one model when the request says nothing."""

    max_tokens: Tokens | None = Field(default=None, description="longest answer in tokens")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="randomness of the answer; 0 takes the likeliest token"
    )


class CloudConfig(Section):
    """How to reach a vendor's API."""

    provider: str | None = Field(
        default=None, description="vendor: openai, groq, together, deepseek, mistral …"
    )
    api_key: str | None = Field(
        default=None,
        description="key, as `${VARIABLE}`; not given: the vendor's own variable",
        repr=False,
    )
    base_url: str | None = Field(
        default=None, description="address of the API; not given: the vendor's own"
    )
    default_model: str | None = Field(
        default=None, description="model that answers; not given: the first of `models`"
    )
    timeout: Seconds | None = Field(default=None, description="seconds one attempt may take")
    max_retries: Annotated[int, Field(ge=0, le=20)] | None = Field(
        default=None, description="attempts after the first; not given: as retry_policy says"
    )
    retry_delay: Annotated[float, Field(ge=0, le=300)] | None = Field(
        default=None, description="seconds before the first retry, before jitter"
    )
    organization: str | None = Field(
        default=None, description="organization the vendor charges (openai)"
    )
    models: dict[str, ModelDefaults] = Field(
        default={}, description="further models that can be asked for by name, with their defaults"
    )


class PulledModel(Section):
    """A model a program should have."""

    name: str = Field(min_length=1, description="name of the model, for instance llama3.2:3b")
    pull_on_start: bool = Field(
        default=False, description="fetch it before the first request when it is absent"
    )


class LocalConfig(Section):
    """How to reach or start a program that runs models on this machine or network."""

    base_url: str | None = Field(
        default=None, description="address of a running program; not given: it is started here"
    )
    default_model: str | None = Field(
        default=None, description="model that answers; not given: the first of `models`"
    )
    api_key: str | None = Field(
        default=None, description="key of the program, when it wants one", repr=False
    )
    timeout: Seconds | None = Field(default=None, description="seconds one attempt may take")
    auto_start: bool = Field(
        default=True, description="start the program when it is needed and does not run"
    )
    models: tuple[PulledModel, ...] = Field(
        default=(), description="further models that can be asked for by name"
    )
    gpu_layers: Annotated[int, Field(ge=-1)] | None = Field(
        default=None, description="layers put on the GPU; -1: all, 0: none"
    )
    num_thread: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="CPU threads"
    )
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="the same as num_thread, which wins"
    )
    context_size: Tokens | None = Field(default=None, description="context in tokens")


class CloudComponent(Section):
    """A cloud API."""

    type: Name = Field(description="openai_compatible, custom, or a vendor's name")
    config: CloudConfig = Field(default=CloudConfig(), description="how to reach it")


class LocalComponent(Section):
    """A program that runs models."""

    type: Name = Field(description="ollama, llamacpp, vllm, tgi, custom, mock_model or an engine")
    config: LocalConfig = Field(default=LocalConfig(), description="how to reach or start it")


class CloudEntry(CloudComponent):
    """A cloud API in the chain."""

    name: Name | None = Field(default=None, description="name for rules; not given: the model's")

    @classmethod
    def takes(cls, data: Any) -> bool:  # Any: what people wrote
        """Say whether an entry of the chain is meant to be one of these."""
        return entry_slot(data) == CLOUD_SLOT


class LocalEntry(LocalComponent):
    """A model program in the chain."""

    name: Name | None = Field(default=None, description="name for rules; not given: the model's")

    @classmethod
    def takes(cls, data: Any) -> bool:  # Any: what people wrote
        """Say whether an entry of the chain is meant to be one of these."""
        return entry_slot(data) == LOCAL_SLOT


def entry_slot(data: Any) -> str:  # Any: what people wrote, or a checked entry
    """Return "cloud_api", "model_app", or "name" for an entry that is only a name."""
    if isinstance(data, str):
        return "name"
    if isinstance(data, CloudComponent | LocalComponent):
        return CLOUD_SLOT if isinstance(data, CloudComponent) else LOCAL_SLOT
    kind = data.get("type") if isinstance(data, Mapping) else None
    if kind == LOCAL_SLOT or kind in LOCAL_TYPES or kind in registry("engine").names():
        return LOCAL_SLOT
    config = data.get("config") if isinstance(data, Mapping) else None
    is_local = kind == "custom" and isinstance(config, Mapping) and bool(_LOCAL_KEYS & set(config))
    return LOCAL_SLOT if is_local else CLOUD_SLOT


ChainEntry = Annotated[
    Annotated[CloudEntry, Tag("cloud entry")]
    | Annotated[LocalEntry, Tag("local entry")]
    | Annotated[Name, Tag("entry name")],
    Discriminator(lambda data: _TAGS[entry_slot(data)]),
]
_TAGS = {CLOUD_SLOT: "cloud entry", LOCAL_SLOT: "local entry", "name": "entry name"}
Facts = dict[str, JsonValue]
