"""The common part of methods that learn from their own answers: write, reward, compare, learn.

Knows nothing about how advantages are made or what the loss is: a method adds `judge` and `loss`.
Everything drawn is a function of (seed, step, row, number of the answer), so a resume writes the same
answers; what is used for several steps is part of the checkpoint.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from stead.core import seeds
from stead.core.errors import ConfigError
from stead.core.lazy import lazy
from stead.messages import Sampling
from stead.training.method import Columns, Kept, Method, Model, Store, Tools
from stead.training.rl.advantages import is_flat
from stead.training.rl.policy import by_answer
from stead.training.rl.reward_signs import signs
from stead.training.rl.reward_source import Answered
from stead.training.rl.rewards import Rewards, Scores
from stead.training.rl.rollout_buffer import Buffer, Rolled
from stead.training.rl.rollout_prompts import CutNote, Prompt, Prompts
from stead.training.rl.settings import RolloutConfig
from stead.training.rl.sources import Source, open_source

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy("numpy", extra="data")
    torch = lazy("torch", extra="train")

IGNORED = -100


Ask = Callable[[], AbstractContextManager[Model]]


@contextmanager
def asked(tools: Tools) -> Iterator[Model]:
    """Give the trained model, without gradient and dropout."""
    with torch.no_grad():
        yield tools.model


@dataclass(slots=True)
class Scored:
    """What a training pass says about a micro-batch. Shapes: [N] each; `hidden` [N, E]."""

    logp: "Tensor"
    entropy: "Tensor"
    hidden: "Tensor"


class RolloutMethod(Method):
    """Generate answers with the current weights and learn from their rewards.

    A step: `gather` writes `num_generations` answers to each prompt, asks the rewards, lets `judge`
    fill the columns that `loss` reads, and cuts micro-batches. With `repeat` > 1 the same answers
    serve several steps. "old" log-probabilities are those of the first training pass itself, so its
    ratios are 1 exactly, dropout included.
    """

    config: RolloutConfig
    kinds = ("prompts", "messages")
    columns = ("tokens",)
    unit: ClassVar[str] = "answers"
    rollout: ClassVar[bool] = True

    _prompts: Prompts
    _unseen: Prompts | None = None
    _rewards: Rewards
    _source: Source | None = None
    _buffer: Buffer | None = None
    _next: int = 0  # the phase that the next step has

    @property
    def repeat(self) -> int:
        """Steps made with one generation."""
        return self.config.num_iterations * self.config.steps_per_generation

    @property
    def group(self) -> int:
        """Answers per prompt."""
        return self.config.num_generations

    @property
    def together(self) -> int:
        """How many answers in a row a loss looks at together."""
        return 1

    @property
    def needs_reference(self) -> bool:
        """Whether log-probabilities of the starting model are wanted."""
        return False

    def setup(self, tools: Tools) -> None:
        """Open prompts and rewards; see that the starting model stays known where it is needed."""
        c = self.config
        context = int(getattr(tools.loaded.model.config, "max_position_embeddings", 1 << 30))
        room = context - c.max_completion_length
        if room < 1:
            raise ConfigError(
                "no-room-for-prompt",
                f"max_completion_length={c.max_completion_length} leaves no room for a prompt in a context of {context} tokens",
                hint=f"stead train RECIPE --set method.max_completion_length={max(1, context // 2)}",
            )
        limit = room if c.max_prompt_length is None else min(room, c.max_prompt_length)
        on_cut = CutNote(tools.emit, limit)
        self._prompts = Prompts(tools.loaded.folder, tools.train.prepared, tools.train.split, limit, on_cut)  # fmt: skip
        if tools.held_out is not None:
            self._unseen = Prompts(tools.loaded.folder, tools.held_out.prepared, tools.held_out.split, limit, on_cut)  # fmt: skip
        if c.sampler is not None:
            self._source = open_source(c.sampler, tools, alone=not _is_shared())
        self.open_rewards(tools)
        if self.needs_reference:
            tools.keep_reference()

    def open_rewards(self, tools: Tools) -> None:
        """Make the rewards that the settings name."""
        columns = tools.train.prepared.columns or ()
        self._rewards = Rewards.open(self.config.rewards, tools.reward_model, columns)

    def reward(self, answers: Sequence[Answered]) -> tuple[list[float], Scores]:
        """Return what each answer earns, and the parts of it."""
        return self._rewards.score(answers)

    def unrepeatable(self) -> str:
        """Name the engine that writes the answers: what it draws is not a function of the seed."""
        return "" if self._source is None else self._source.name

    def callbacks(self) -> dict[str, dict[str, Any]]:
        """Watch for games with the reward, unless switched off."""
        watch = self.config.watch
        watched = [f"rewards/{r.title}" for r in self.config.rewards if r.weight == 0]
        return {"reward_hacking": {"settings": watch, "watched": watched}} if watch.enabled else {}

    def lengths(self, store: Store) -> Any:
        """Return what a row costs: its prompt (at most the row) and all its answers."""
        return store.lengths + self.group * self.config.max_completion_length

    # Writing and rewarding

    def gather(self, tools: Tools, step: int, rows: Sequence[Sequence[int]]) -> list[Columns]:
        """Write answers in the first step of a round, and return this step's micro-batches."""
        phase = step % self.repeat
        if phase == 0 or self._buffer is None:
            self._buffer = self._roll(tools, step - phase, [int(r) for part in rows for r in part])
        self._next = (phase + 1) % self.repeat
        return self._micro_batches(tools, self._buffer, phase % self.config.steps_per_generation)

    def write(self, tools: Tools, step: int, rows: Sequence[int], attempt: int = 0) -> Buffer:
        """Write and reward answers to the prompts of `rows`; column "reward" has [N] tokens' sums."""
        prompts = [self._prompts[row] for row in rows]
        each = [
            [seeds.stream(tools.seed, step, f"rollout-{row}-{i}-{attempt}") for i in range(self.group)]
            for row in rows
        ]  # fmt: skip
        buffer = self._answers(tools, prompts, each)
        answered = self._answered(buffer, prompts)
        buffer.rewards, buffer.parts = self.reward(answered)
        buffer.signs = signs(answered, [a.ids for a in buffer.answers])
        return buffer

    def _answers(
        self, tools: Tools, prompts: Sequence[Prompt], each: Sequence[Sequence[int]]
    ) -> Buffer:
        """Write an answer per seed; column "sampled" has the sampler's log-probabilities."""
        c = self.config
        sampling = Sampling(max_tokens=c.max_completion_length, temperature=c.temperature,
                            top_p=c.top_p, top_k=c.top_k, min_p=c.min_p)  # fmt: skip
        tools.loaded.model.eval()
        ids = [p.ids for p in prompts]
        writer = tools if self._source is None else self._source
        written = writer.write(ids, each, sampling, self._prompts.tokenizer.stop_ids)
        answers = [one for group in written for one in group]
        owner = np.repeat(np.arange(len(prompts)), [len(group) for group in written])
        buffer = Buffer([p.row for p in prompts], ids, answers, owner)
        logprobs = [x for a in answers for x in a.logprobs]
        buffer.columns["sampled"] = np.array(logprobs, dtype=np.float32)
        return buffer

    def _answered(self, buffer: Buffer, prompts: Sequence[Prompt]) -> list[Answered]:
        """Return what rewards look at, answer by answer."""
        decode = self._prompts.tokenizer.decode
        stops = frozenset(self._prompts.tokenizer.stop_ids)
        found = []
        for owner, one in zip(buffer.owner, buffer.answers, strict=True):
            prompt = prompts[int(owner)]
            ids = one.ids[:-1] if one.stopped and one.ids[-1] in stops else one.ids
            found.append(
                Answered(prompt.where, prompt.messages, decode(ids), prompt.reference,
                         prompt.columns, one.stopped, len(one.ids))
            )  # fmt: skip
        return found

    def examine(self, tools: Tools) -> dict[str, float]:
        """Answer held-out prompts once each, with the same draws at every evaluation."""
        if self._unseen is None:
            return {}
        count = min(len(self._unseen), self.config.eval_prompts)
        prompts = [self._unseen[row] for row in range(count)]
        each = [[seeds.stream(tools.seed, row, "held-out")] for row in range(count)]
        buffer = self._answers(tools, prompts, each)
        rewards, parts = self.reward(self._answered(buffer, prompts))
        means = {f"eval_rewards/{name}": float(np.mean(part)) for name, part in parts.items()}
        length = float(buffer.lengths.mean())
        return {"eval_reward": float(np.mean(rewards)), "eval_completion_length": length} | means

    def fill(self, tools: Tools, step: int, rows: Sequence[int]) -> Buffer:
        """Return the answers to learn from; a method may drop or replace groups."""
        return self.write(tools, step, rows)

    def other_rows(self, tools: Tools, step: int, attempt: int, count: int) -> list[int]:
        """Return rows to take instead of others: a function of the step, as all that is drawn."""
        rows = tools.train.rows
        return [seeds.stream(tools.seed, step, f"other-{attempt}-{i}") % rows for i in range(count)]

    def _roll(self, tools: Tools, step: int, rows: Sequence[int]) -> Buffer:
        buffer = self.fill(tools, step, rows)
        count = len(buffer.columns["sampled"])
        buffer.columns["old"] = np.full(count, np.nan, dtype=np.float32)
        if self.needs_reference:
            buffer.columns["reference"] = self._scores(tools, buffer, tools.reference)
        # Later parts meet weights that have moved; another process's part is never seen here.
        if self.config.steps_per_generation > 1 or (self.repeat > 1 and _is_shared()):
            buffer.columns["old"] = self._scores(tools, buffer, partial(asked, tools))
        self.judge(tools, buffer)
        buffer.values |= self._facts(buffer)
        return buffer

    def _scores(self, tools: Tools, buffer: Buffer, ask: Ask) -> Any:  # Any: float32 [N]
        """Return log-probabilities of all answer tokens by a model, without gradient."""
        return self.over(tools, buffer, ask, lambda model, part: self.score(model, part).logp)

    def over(
        self, tools: Tools, buffer: Buffer, ask: Ask, read: "Callable[[Model, Rolled], Tensor]"
    ) -> Any:  # Any: float32 [N]
        """Compute something for every answer token, in lanes of one thread as training does.

        `ask` gives the model inside a `with`, in each lane, and sees that there is no gradient.
        """
        count = len(buffer.answers)
        cuts = buffer.cuts(0, count, self.config.micro_batch_tokens, tools.lanes)

        def work(cut: tuple[int, int]) -> "Tensor":
            with ask() as model:
                return read(model, buffer.part(*cut)).detach().float().cpu()

        if tools.lanes == 1 or len(cuts) == 1:
            return torch.cat([work(cut) for cut in cuts]).numpy()
        with ThreadPoolExecutor(tools.lanes, "ask", torch.set_num_threads, (1,)) as pool:
            return torch.cat(list(pool.map(work, cuts))).numpy()

    def sampled(self, tools: Tools, buffer: Buffer) -> Any:  # Any: float32 [N]
        """Return log-probabilities of the answers' tokens by the weights that wrote them.

        The sampler's own, or a forward pass without dropout where it does not know them, or rounds
        otherwise than training does.
        """
        found = buffer.columns["sampled"]
        if self._source is None and not np.isnan(found).any():
            return found
        return self._scores(tools, buffer, partial(asked, tools))

    def _facts(self, buffer: Buffer) -> dict[str, float]:
        """Return what is logged about the answers. Values are the means of the step."""
        rewards = np.asarray(buffer.rewards)
        lengths, ended = buffer.lengths, buffer.ended
        values = {
            "reward": float(rewards.mean()),
            "reward_std": float(rewards.std(ddof=1)) if len(rewards) > 1 else 0.0,
            "completion_length": float(lengths.mean()),
            "truncated": float(1 - ended.mean()),
        }
        if self.group > 1:  # one answer has no other to be told from
            values["flat_groups"] = float(is_flat(buffer.rewards, self.group).mean())
        for name, part in buffer.parts.items():
            values[f"rewards/{name}"] = float(np.mean(part))
            values[f"rewards/{name}_std"] = float(np.std(part))
        return values | {f"answers/{name}": value for name, value in buffer.signs.items()}

    @abstractmethod
    def judge(self, tools: Tools, buffer: Buffer) -> None:
        """Fill the columns that `loss` reads from `buffer.rewards` and log-probabilities."""

    # Cutting and scoring

    def weights(self, part: Rolled) -> float:
        """Return what a part's summed loss is divided by; see `Loss`."""
        return float(len(part.lengths))

    def _micro_batches(self, tools: Tools, buffer: Buffer, number: int) -> list[Columns]:
        shares = self.config.steps_per_generation
        edges = [round(i * len(buffer.rows) / shares) for i in range(shares + 1)]
        owner = buffer.owner
        low, high = (int(np.searchsorted(owner, e)) for e in edges[number : number + 2])
        if low == high:
            return []
        cuts = buffer.cuts(low, high, self.config.micro_batch_tokens, tools.lanes, self.together)
        parts = [buffer.part(a, b) for a, b in cuts]
        weights = [self.weights(p) for p in parts]
        whole, tokens = max(1.0, sum(weights)), sum(int(p.lengths.sum()) for p in parts)
        made = []
        for i, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            values = {n: v * whole for n, v in buffer.values.items()} if i == 0 else {}
            made.append(
                replace(part, weight=weight, whole=whole, step_tokens=tokens, values=values)
            )
        return [{"tokens": part} for part in made]

    def weight(self, batch: Columns) -> float:
        """Return this part's share; held-out rows, which have no answers written, count nothing."""
        part = batch["tokens"]
        return part.weight if isinstance(part, Rolled) else 0.0

    def hidden(self, model: Model, part: Rolled) -> "Tensor":
        """Return the hidden states that the answers' tokens are predicted from. Shapes: [N, E]."""
        hidden_TE = model.hidden(part)
        return hidden_TE.index_select(0, torch.as_tensor(_places(part), device=hidden_TE.device))

    def score(self, model: Model, part: Rolled) -> Scored:
        """Run the training pass over a micro-batch."""
        hidden_NE = self.hidden(model, part)
        labels = torch.as_tensor(part.labels[_places(part)], device=hidden_NE.device)
        logp, entropy = model.token_scores(hidden_NE, labels, self.config.temperature)
        return Scored(logp, entropy, hidden_NE)

    def column(self, part: Rolled, name: str, like: "Tensor") -> "Tensor":
        """Return a column of the micro-batch where the model is. Shapes: float32 [N]."""
        return torch.as_tensor(part.columns[name], device=like.device)

    def answer(self, part: Rolled, like: "Tensor") -> "Tensor":
        """Return which answer each token belongs to. Shapes: int64 [N]."""
        return torch.as_tensor(part.answer, device=like.device)

    def old(self, part: Rolled, logp: "Tensor") -> "Tensor":
        """Return the log-probabilities of the first pass, and keep them when this is it."""
        kept = part.columns["old"]
        if len(kept) and np.isnan(kept[0]):
            kept[:] = logp.detach().float().cpu().numpy()
        return self.column(part, "old", logp)

    def trust(self, part: Rolled, like: "Tensor", *, whole: bool = False) -> "Tensor | float":
        """Return by how much likelier training finds each token than the engine that drew it, capped.

        1 where this process drew it, or the engine did not say. `whole`: of answers. Shapes: [N] or
        [A]. Source: truncated importance weights, Ionides 2008; as TRL has them for vLLM.
        """
        if self.config.sampler is None:
            return 1.0
        gap = (self.column(part, "old", like) - self.column(part, "sampled", like)).nan_to_num(nan=0.0)  # fmt: skip
        if whole:
            gap = by_answer(gap, self.answer(part, like), len(part.lengths))
        return gap.exp().clamp(max=self.config.sampler.cap)

    def kept_tokens(self, part: Rolled) -> "Tensor":
        """Return 1 for tokens that are learnt from, 0 for those of masked answers. Shapes: [N]."""
        shown = np.ones(len(part.answer), dtype=np.float32)
        if self.config.mask_truncated_completions:
            shown *= part.ended[part.answer]
        return torch.from_numpy(shown)

    def measured(self, part: Rolled, scored: Scored, **sums: "Tensor") -> dict[str, float]:
        """Return a step's values: given sums over tokens, entropy, and the sampler's distance."""
        logp = scored.logp.detach()
        gap = (logp - self.column(part, "sampled", logp)).abs()
        sums |= {"entropy": scored.entropy.sum(), "sampler_gap": gap.nan_to_num(nan=0.0).sum()}
        return part.values | {n: float(v.detach()) * part.per_token for n, v in sums.items()}

    # Resume

    def state(self) -> Kept:
        """Return the answers, when the next step learns from them again."""
        if self._buffer is None or self._next == 0:
            return Kept()
        return Kept(self._buffer.pack(), {"values": self._buffer.values, "next": self._next})

    def restore(self, kept: Kept) -> None:
        """Put the answers back."""
        if "owner" in kept.tensors:
            self._buffer = Buffer.unpack(kept.tensors, kept.values["values"])
            self._next = int(kept.values["next"])


def _is_shared() -> bool:
    """Say whether several processes train together, each on its share of a step."""
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def _places(part: Rolled) -> Any:  # Any: int64 [N]
    return np.flatnonzero(part.labels != IGNORED)
