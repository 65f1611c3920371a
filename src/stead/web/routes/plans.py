"""`POST /api/plan`: what a recipe would do, before anything is done.

Knows nothing about planning.
"""

import re
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from stead.app.orders import Orders
from stead.config.load import dump_yaml
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.job_shape import Interval
from stead.web.shapes import Body, Json

router = APIRouter(route_class=Guarded, tags=["runs"])
_SET = re.compile(r"(?:--set|-s) ([\w.]+)=(\S+)")  # as the command line writes it


class Recipe(Body):
    """A recipe, as a mapping or as YAML. Data sets may be named by id."""

    config: Json | None = None
    yaml: str | None = Field(default=None, max_length=1_000_000)


class Fix(BaseModel):
    """A setting that would help."""

    field: str
    value: str | int | float | bool


class Warned(BaseModel):
    """What to know before the start."""

    code: str
    message: str
    fix: Fix | None = None


class Verdict(BaseModel):
    """Whether the machine has enough of something; not `sure`: the forecast rests on no measurement."""

    allow: str
    verdict: Literal["fits", "may not fit", "does not fit"]
    where: str
    have_bytes: int
    expected_bytes: float
    sure: bool
    hint: str | None = None


class Foretold(BaseModel):
    """What the run will need: low, middle, high; `basis` says what each figure rests on."""

    memory_bytes: Interval
    seconds: Interval
    disk_bytes: Interval
    step_seconds: Interval
    steps: int
    tokens: int
    memory_parts: dict[str, Interval]
    time_parts: dict[str, Interval]
    disk_parts: dict[str, int]
    basis: dict[str, str]
    verified: bool


class PlanInfo(BaseModel):
    """A settled recipe: no "auto" is left, each key has an origin."""

    hash: str
    config: Json
    origins: dict[str, str]
    forecast: Foretold
    verdicts: list[Verdict]
    warnings: list[Warned]


class Planned(BaseModel):
    """The plan, and the recipe as YAML."""

    plan: PlanInfo
    yaml: str


@router.post("/api/plan")
def make_plan(here: Here, who: Asking, body: Recipe) -> Planned:
    """Settle a recipe; nothing is loaded or written."""
    orders = Orders(here, who)
    plan = orders.plan(body.config, body.yaml)
    told = plan.to_json()
    info = PlanInfo(
        hash=plan.hash, config=told["config"], origins=plan.origins, forecast=Foretold.model_validate(told["forecast"]),
        verdicts=[Verdict.model_validate(v) for v in told["verdicts"]], warnings=_warnings(told),
    )  # fmt: skip
    recipe = body.config if body.config is not None else None
    return Planned(plan=info, yaml=str(body.yaml) if recipe is None else dump_yaml(recipe))


def _warnings(plan: Json) -> list[Warned]:
    found = [Warned(code="note", message=note) for note in plan["notes"]]
    for item in plan["verdicts"]:
        if item["verdict"] != "fits":
            name = f"{item['allow']} {item['verdict']}"
            message = f"{name}: about {_size(item['expected_bytes'])} needed, {_size(item['have_bytes'])} free"
            found.append(Warned(code=name.replace(" ", "-"), message=message, fix=_fix(item)))
    return found


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def _fix(item: Json) -> Fix | None:
    """Return the first setting that the verdict's hint changes."""
    found = _SET.search(str(item.get("hint", "")))
    if found is None:
        return None
    field, value = found.groups()
    return Fix(field=field, value=int(value) if value.lstrip("-").isdigit() else value)
