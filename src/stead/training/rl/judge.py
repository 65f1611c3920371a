"""A model behind an endpoint that grades answers or says which of two is better.

Knows nothing about training. Speaks to whatever answers chat requests: a cloud, a local server, our
own gateway. A reply without a grade is asked for again once, then stops the run.
"""

import asyncio
import os
import re
import shlex
import time
from collections.abc import Sequence

from pydantic import Field

from stead.config.kinds import Section
from stead.core.errors import BackendError, ConfigError, TrainingError
from stead.core.suggest import nearest
from stead.inference.address import Address
from stead.inference.backend import Backend
from stead.inference.remote import Remote
from stead.messages import GenerateRequest, Message, Sampling

_GRADE = """{rubric}

Question:
{prompt}
{reference}
Answer to grade:
{answer}

Reply with one number from 0 (worst) to {top} (best), and nothing else."""
_CHOICE = """{rubric}

Question:
{prompt}
{reference}
Answer A:
{first}

Answer B:
{second}

Reply with the letter of the better answer, A or B, and nothing else."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LETTER = re.compile(r"\b([AB])\b")
_TRIES = 2
_FIRST_S = 300.0  # for the first question: a local server may load its model for it
_LISTED = 20  # names of models in an error
_SHOWN = 80  # characters of a reply in an error


class JudgeSettings(Section):
    """Where the judge is and what it is told."""

    url: str = Field(description="the endpoint, e.g. http://127.0.0.1:8000")
    model: str = Field(description="the model's name there")
    rubric: str = Field(default="You grade answers for correctness and clarity.", description="what the judge is told to look at")  # fmt: skip
    top: float = Field(default=10.0, gt=0, description="the best grade; rewards are grade / top")
    token_env: str | None = Field(default=None, description="environment variable that holds the endpoint's key")  # fmt: skip
    with_reference: bool = Field(default=True, description="show the judge the row's own answer, if there is one")  # fmt: skip
    max_tokens: int = Field(default=16, gt=0, description="length limit of the judge's reply")

    @property
    def remark(self) -> str:
        """What a plan says of it: a plan asks no endpoint."""
        return (
            f"the judge {self.model!r} at {self.url} was not asked: the run asks it one question "
            "before the model is loaded"
        )


class Judge:
    """Asks all questions of a step side by side; temperature 0, so that a resume asks the same."""

    def __init__(self, settings: JudgeSettings, backend: Backend | None = None) -> None:
        self.settings = settings
        self._backend = backend
        self._token = _token(settings.token_env)

    def grades(self, answers: Sequence[tuple[str, str, str]]) -> list[float]:
        """Return a grade from 0 to 1 for each (prompt, answer, reference).

        Raises: TrainingError("judge-unclear"), BackendError.
        """
        top = self.settings.top
        texts = [
            _GRADE.format(rubric=self.settings.rubric, prompt=p, answer=a, top=f"{top:g}",
                          reference=self._reference(r))
            for p, a, r in answers
        ]  # fmt: skip
        found = self._ask(texts, _NUMBER)
        return [min(max(float(x), 0.0), top) / top for x in found]

    def try_out(self, key: str | None = None) -> None:
        """Ask one easy question: an endpoint that is away is told before a model is loaded.

        `key` is where a recipe has these settings, for hints. What it says is not looked at: a judge
        may be unsure of a question that is none of the run's. Raises: BackendError, with what helps.
        """
        s = self.settings
        text = _GRADE.format(rubric=s.rubric, prompt="What is 1 + 1?", answer="2", top=f"{s.top:g}",
                             reference="")  # fmt: skip
        try:
            asyncio.run(self._replies([text], time.monotonic() + _FIRST_S))
        except BackendError as error:
            known = asyncio.run(self._known()) if error.code == "model-not-found" else []
            listed = f" (it has: {', '.join(known)})" if known else ""
            raise type(error)(
                error.code,
                f"the judge {s.model!r} at {s.url} does not answer: {error.message}{listed}",
                hint=self._helps(error.code, key, known), **error.details,
            ) from error  # fmt: skip

    async def _known(self) -> list[str]:
        """Return the names the endpoint lists, as far as it tells."""
        backend = Remote(self.settings.url, token=self._token)
        try:
            return [card.id for card in await backend.models()][:_LISTED]
        except BackendError:
            return []
        finally:
            await backend.close()

    def _helps(self, code: str, key: str | None, known: Sequence[str]) -> str:
        s = self.settings
        likely = nearest(s.model, known) if known else None
        if key is not None and likely is not None:
            return f"stead train RECIPE -s {key}.model={shlex.quote(likely)}"
        if code == "upstream-auth" and s.token_env is not None:
            return f"export {s.token_env}=KEY"
        if code == "upstream-auth" and key is not None:
            return f"stead train RECIPE -s {key}.token_env=NAME_OF_A_VARIABLE"
        return f"curl -sS {shlex.quote(Address.of(s.url).to('/v1/models'))}"

    def prefers_first(self, pairs: Sequence[tuple[str, str, str, str]]) -> list[bool]:
        """Say for each (prompt, answer, other answer, reference) whether the first is better.

        Every second pair is shown in the other order, because judges like a position.
        """
        texts = []
        for i, (prompt, one, other, reference) in enumerate(pairs):
            first, second = (one, other) if i % 2 == 0 else (other, one)
            texts.append(
                _CHOICE.format(rubric=self.settings.rubric, prompt=prompt, first=first,
                               second=second, reference=self._reference(reference))
            )  # fmt: skip
        found = self._ask(texts, _LETTER)
        return [(letter == "A") == (i % 2 == 0) for i, letter in enumerate(found)]

    def _reference(self, text: str) -> str:
        return f"\nA correct answer:\n{text}\n" if text and self.settings.with_reference else ""

    def _ask(self, texts: Sequence[str], wanted: "re.Pattern[str]") -> list[str]:
        """Ask every text; return what matched in each reply."""
        found: dict[int, str] = {}
        replies: list[str] = []
        for _ in range(_TRIES):
            left = [i for i in range(len(texts)) if i not in found]
            replies = asyncio.run(self._replies([texts[i] for i in left])) if left else []
            for i, reply in zip(left, replies, strict=True):
                match = wanted.search(reply)
                if match is not None:
                    found[i] = match.group()
            if len(found) == len(texts):
                return [found[i] for i in range(len(texts))]
        named = "grade" if wanted is _NUMBER else "choice"
        shown = next(r for r in replies if wanted.search(r) is None)[:_SHOWN]
        raise TrainingError(
            "judge-unclear",
            f"the judge {self.settings.model!r} gave no {named} for {len(texts) - len(found)} of "
            f"{len(texts)} questions; it said {shown!r}",
        )

    async def _replies(self, texts: Sequence[str], deadline: float | None = None) -> list[str]:
        s = self.settings
        backend = Remote(s.url, token=self._token) if self._backend is None else self._backend
        sampling = Sampling(max_tokens=s.max_tokens, temperature=0.0)
        requests = [
            GenerateRequest(model=s.model, messages=(Message("user", t),), sampling=sampling)
            for t in texts
        ]
        try:
            return [reply.text for reply in await backend.batch(requests, deadline)]
        finally:
            if self._backend is None:
                await backend.close()


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise ConfigError("no-judge-key", f"the environment has no {variable!r} (judge.token_env)")
    return os.environ[variable]
