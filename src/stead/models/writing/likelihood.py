"""How likely a model finds given tokens, and what vector it makes of them.

Knows nothing about chats or metrics. Legend: B rows, T tokens, V vocabulary. Rows are padded on the
right: under causal attention what follows a token cannot change it, so no mask is needed.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from stead.core import files
from stead.core.errors import ModelError
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.models.writing.batch import inference
from stead.models.writing.generate import Halt, stop_signal
from stead.models.writing.row import context_length
from stead.values import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

_LOGITS = 1 << 26  # logits held at once: 256 MiB in float32
_BATCH_TOKENS = 4096


def score(
    loaded: LoadedModel,
    sequences: Sequence[Sequence[int]],
    from_position: Sequence[int] | int = 1,
    *,
    emit: Emit = ignore,
    halt: Halt = stop_signal,
) -> list[list[float]]:
    """Return the log-probability of each token from `from_position` on, given all before it.

    Units: natural log, computed in float32. Position 0 has nothing before it, so 1 is the least.
    Raises: ModelError("sequence-length") when a row is empty or longer than the context.
    """
    starts = [from_position] * len(sequences) if isinstance(from_position, int) else from_position
    _check(loaded, sequences, starts)
    results: list[list[float]] = [[] for _ in sequences]
    done = 0
    emit(Started(stage="score", total=len(sequences), unit="row"))
    with inference(loaded):
        for batch in _batches(loaded, sequences, starts):
            halt()
            for i, values in zip(batch, _score(loaded, sequences, starts, batch), strict=True):
                results[i] = values
            done += len(batch)
            emit(Progress(stage="score", done=done))
    emit(Finished(stage="score", result={"rows": done}))
    return results


def score_positions(
    loaded: LoadedModel,
    asked: Sequence[tuple[Sequence[int], Sequence[int]]],
    context: int,
    *,
    emit: Emit = ignore,
    halt: Halt = stop_signal,
) -> list[list[float]]:
    """Return the log-probabilities at chosen positions of each text.

    A text longer than the context is read in windows that overlap by one token, so that each token
    but the very first is scored once.
    """
    cuts = [_windows(len(ids), context) for ids, _ in asked]
    rows = [ids[s:e] for (ids, _), spans in zip(asked, cuts, strict=True) for s, e in spans]
    starts = [
        min([p - s for p in scored if s < p < e], default=max(1, e - s - 1))
        for (_, scored), spans in zip(asked, cuts, strict=True)
        for s, e in spans
    ]
    values = iter(zip(starts, score(loaded, rows, starts, emit=emit, halt=halt), strict=True))
    results = []
    for (_, scored), spans in zip(asked, cuts, strict=True):
        at: dict[int, float] = {}
        for (s, _), (start, logprobs) in zip(spans, values, strict=False):
            at |= {s + start + k: value for k, value in enumerate(logprobs)}
        results.append([at[p] for p in scored])
    return results


def _windows(length: int, context: int) -> list[tuple[int, int]]:
    spans = [(0, min(length, context))]
    while spans[-1][1] < length:
        start = spans[-1][1] - 1
        spans.append((start, min(length, start + context)))
    return spans


def embed(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], *, halt: Halt = stop_signal
) -> list[list[float]]:
    """Return one unit vector per row: the mean of the last layer over its tokens, L2-normalized.

    A model that was trained for vectors says beside its weights (`embedding.json`) whether it is the
    last token's instead. Raises: as `score`.
    """
    last = _pooling(loaded) == "last"
    starts = [1] * len(sequences)
    _check(loaded, sequences, starts)
    results: list[list[float]] = [[] for _ in sequences]
    with inference(loaded):
        for batch in _batches(loaded, sequences, starts):
            halt()
            tokens_BT, lengths = _padded(loaded, [sequences[i] for i in batch])
            out = loaded.model(input_ids=tokens_BT, output_hidden_states=True, logits_to_keep=1)
            for i, row_TD, n in zip(batch, out.hidden_states[-1], lengths, strict=True):
                pooled_D = row_TD[n - 1].float() if last else row_TD[:n].float().mean(0)
                results[i] = torch.nn.functional.normalize(pooled_D, dim=0).tolist()
    return results


def _pooling(loaded: LoadedModel) -> str:
    """Return how the method `contrastive` made vectors; the mean where nothing says."""
    for folder in (loaded.adapter, loaded.folder):
        if folder is not None and (folder / "embedding.json").is_file():
            return str(files.read_json(folder / "embedding.json").get("pooling", "mean"))
    return "mean"


def _check(loaded: LoadedModel, sequences: Sequence[Sequence[int]], starts: Sequence[int]) -> None:
    most = context_length(loaded)
    for ids, start in zip(sequences, starts, strict=True):
        if not 0 < len(ids) <= most or start < 1:
            raise ModelError(
                "sequence-length",
                f"a row of {len(ids)} tokens scored from {start} does not fit (1 to {most} tokens)",
            )


def _batches(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], starts: Sequence[int]
) -> Iterator[list[int]]:
    """Group rows of like length, longest first, so that tokens and logits stay within bounds."""
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), starts[i]))
    batch: list[int] = []
    for i in order:
        rows = len(batch) + 1
        longest = len(sequences[batch[0] if batch else i])
        wanted = longest - min(starts[j] for j in [*batch, i])
        if batch and (rows * longest > _BATCH_TOKENS or rows * wanted * vocabulary > _LOGITS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _padded(loaded: LoadedModel, sequences: Sequence[Sequence[int]]) -> tuple["Tensor", list[int]]:
    lengths = [len(s) for s in sequences]
    longest = max(lengths)
    rows = [list(s) + [0] * (longest - len(s)) for s in sequences]
    return torch.tensor(rows, device=loaded.device), lengths


def _score(
    loaded: LoadedModel,
    sequences: Sequence[Sequence[int]],
    starts: Sequence[int],
    batch: list[int],
) -> list[list[float]]:
    tokens_BT, lengths = _padded(loaded, [sequences[i] for i in batch])
    first = min(starts[i] for i in batch) - 1  # the logits at t speak of token t + 1
    keep = torch.arange(first, max(max(lengths) - 1, first + 1), device=loaded.device)
    logits_BTV = loaded.model(input_ids=tokens_BT, use_cache=False, logits_to_keep=keep).logits
    results = []
    for row, (i, n) in enumerate(zip(batch, lengths, strict=True)):
        start = starts[i]
        wanted_TV = logits_BTV[row, start - 1 - first : n - 1 - first].float()
        targets_T = tokens_BT[row, start:n]
        values_T = wanted_TV.gather(1, targets_T[:, None])[:, 0] - wanted_TV.logsumexp(1)
        results.append(values_T.tolist())
    return results
