"""The strategy file: components, chain, rules, constraints, optimization, monitoring; and use cases.

Knows nothing about files, vendors or running: `config/strategy_read` reads one and checks that its
names lead somewhere, `inference/compose` builds what it describes.
"""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, field_validator
from pydantic_core import PydanticCustomError

from stead.config import rules
from stead.config.components import ChainEntry, CloudComponent, Facts, LocalComponent, Name
from stead.config.constraints import Constraints
from stead.config.kinds import Section
from stead.config.monitoring import Monitoring
from stead.config.optimization import Optimization
from stead.config.sections import ExtensionConfig, Owned
from stead.config.workshop import ConverterComponent, RepositoryComponent, TunerComponent
from stead.core.errors import ConfigError

SLOTS = ("cloud_api", "model_app", "fine_tuner", "repository", "converter")
PRIORITIES = ("low", "normal", "high", "critical")
POLICY = Owned("policy", default="ordered")
Slot = Literal["cloud_api", "model_app", "fine_tuner", "repository", "converter"]
Priority = Literal["low", "normal", "high", "critical"]


class Components(Section):
    """What a strategy is made of. The first of cloud_api and model_app answers first."""

    cloud_api: CloudComponent | None = Field(default=None, description="a vendor's API")
    model_app: LocalComponent | None = Field(
        default=None, description="a program that runs models; next after cloud_api without a chain"
    )
    fine_tuner: TunerComponent | None = Field(default=None, description="a training")
    repository: RepositoryComponent | None = Field(default=None, description="where models are")
    converter: ConverterComponent | None = Field(
        default=None, description="what a trained model is converted to"
    )


class Rule(Section):
    """Sends some requests elsewhere first."""

    condition: str = Field(description="for instance `input.length > 2000`; see config/rules")
    target: Name = Field(description="name of an entry of the chain, or cloud_api or model_app")
    priority: Priority = Field(
        default="normal",
        description="of several rules that apply the highest counts, then the first",
    )

    @field_validator("condition")
    @classmethod
    def _can_be_read(cls, condition: str) -> str:
        try:
            rules.parse(condition)
        except ConfigError as error:
            raise PydanticCustomError(
                "bad_condition", "{message}", {"message": error.message}
            ) from error
        return condition


class Strategy(Section):
    """A recipe for serving."""

    name: Name = Field(description="name of the strategy")
    description: str = Field(default="", description="what it is for")
    template: Name | None = Field(
        default=None, description="entry of strategy_templates that lies under this one"
    )
    components: Components = Field(description="what it is made of")
    fallback_chain: tuple[ChainEntry, ...] = Field(
        default=(),
        description="who answers when the first fails, in order: an API or program, a slot's name, or "
        "the name of another strategy for all of its own",
    )
    routing_rules: tuple[Rule, ...] = Field(default=(), description="who answers first, and when")
    policy: Annotated[SerializeAsAny[ExtensionConfig], POLICY] = Field(
        default_factory=lambda: POLICY.check("ordered"),
        description="how candidates are ordered: its name, or {type, settings}",
    )
    constraints: Constraints = Field(default=Constraints(), description="what it may not pass")
    optimization: Optimization = Field(
        default=Optimization(), description="how it saves time and money"
    )
    monitoring: Monitoring = Field(default=Monitoring(), description="what it tells")


class Thresholds(Section):
    """What `stead test --live` must measure."""

    max_latency_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="slowest allowed answer in milliseconds"
    )
    min_throughput_rps: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="fewest answers per second"
    )
    max_error_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="largest share of failed requests"
    )


class ValidationRules(Section):
    """What every strategy of the file must keep to."""

    required_components: tuple[Slot, ...] = Field(
        default=(), description="slots that every strategy fills"
    )
    incompatible_combinations: tuple[tuple[str, ...], ...] = Field(
        default=(), description="slots or types that no strategy has together"
    )
    performance_thresholds: Thresholds = Field(
        default=Thresholds(), description="what a live test must measure"
    )


class StrategyFile(Section):
    """A file of strategies."""

    version: Literal["1.0", "2.0", "2.0.0"] = Field(
        default="2.0.0", description="version of this format"
    )
    strategies: tuple[Strategy, ...] = Field(description="the strategies")
    use_case_mapping: dict[str, tuple[Name, ...]] = Field(
        default={}, description="use case → strategies, best first"
    )
    strategy_templates: dict[str, Facts] = Field(
        default={}, description="parts of strategies, for their key `template`"
    )
    validation_rules: ValidationRules = Field(
        default=ValidationRules(), description="what every strategy must keep to"
    )
    metadata: Facts = Field(
        default={}, description="anything to know about the file; shown by show"
    )
