"""Reports of evaluations as the API tells them.

Knows nothing about routes or how anything is scored. Of one model a score has `value`; of two it has both values,
and `ci_low` to `ci_high` is the interval of `delta`.
"""

from typing import Literal

from pydantic import BaseModel

Verdict = Literal["better", "worse", "no difference shown"]
Marks = dict[str, float | None]  # by metric; None: could not be scored


class Score(BaseModel):
    """One metric over all rows; `level`: of the intervals, `p`: of no difference."""

    value: float | None = None
    base: float | None = None
    base_ci_low: float | None = None
    base_ci_high: float | None = None
    tuned: float | None = None
    tuned_ci_low: float | None = None
    tuned_ci_high: float | None = None
    delta: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    n: int
    higher_is_better: bool = True
    level: float
    verdict: Verdict | None = None
    method: str = ""
    signature: str = ""


class Summary(BaseModel):
    """A report without its rows."""

    metrics: dict[str, Score]
    model: str
    against: str | None = None
    n: int
    seconds: float


class AnswerRow(BaseModel):
    """One row with its answers; `base_answer`: what the model beside it said."""

    where: str
    prompt: str
    reference: str
    answer: str
    scores: Marks
    base_answer: str | None = None
    base_scores: Marks | None = None
