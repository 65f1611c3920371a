"""Looks into a data set: raw rows, token statistics, the mask of one row, duplicates, shares by content.

Knows nothing about where data sets are kept. Reads whole files and runs tokenizers: call it in a thread.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from stead.core.errors import ConfigError, DataError, NotFound
from stead.data import prepare as preparing
from stead.data.clean import Tally, content_key, prompt_key
from stead.data.examples import Encoder
from stead.data.format import detect, map_columns, open_format
from stead.data.kinds import final_kind
from stead.data.reader import BadRow, Record, read
from stead.data.row import Row
from stead.data.rows import Loaded, load
from stead.data.section import Section, Source
from stead.data.turn_places import turns_of
from stead.store.datasets import Dataset

Json = dict[str, Any]  # Any: JSON values
_BARS = 24
_ENCODED = 20_000  # rows; further ones are counted, not encoded
_BATCH = 64
_GROUPS = 100  # of equal rows that are named
_SAMPLE = 200


def section_of(dataset: Dataset) -> Section:
    """Return how a data set is read."""
    columns = dataset.columns if isinstance(dataset.columns, dict) else {}
    return Section(dataset.path, dataset.reader, dataset.format, columns)


def rows(dataset: Dataset, offset: int, limit: int) -> list[Json]:
    """Return rows as the file has them; a bad one with its problem."""
    found, _ = read(_source(dataset))
    return [_shown(offset + i, one) for i, one in enumerate(islice(found, offset, offset + limit))]


def _shown(number: int, one: Record | BadRow) -> Json:
    where = one.where.rpartition("/")[2]
    if isinstance(one, BadRow):
        return {"row": number, "where": where, "fields": None,
                "problem": {"line": where, "code": one.code, "message": one.reason}}  # fmt: skip
    return {"row": number, "where": where, "fields": _plain(one.fields), "problem": None}


def _plain(value: Any) -> Any:  # Any: what a reader gave
    """Return a value as JSON holds it."""
    return json.loads(json.dumps(value, default=str, allow_nan=True).replace("NaN", "null"))


def statistics(dataset: Dataset, model: Path, max_length: int | None = None) -> Json:
    """Count tokens and trained tokens as training would see them, and how long rows are."""
    loaded = Loaded(Tally("skip"))
    found = load(section_of(dataset), loaded)
    lengths: list[int] = []
    tokens = labels = counted = 0
    encoder: Encoder | None = None
    for batch in preparing.batches(found, _BATCH):
        counted += len(batch)
        if len(lengths) >= _ENCODED:
            continue
        kind = final_kind(loaded, None)
        if encoder is None:
            encoder = preparing.open_encoder(section_of(dataset), model, kind, max_length)
        for example in encoder.encode(batch, kind, loaded.tally):
            masks = example.columns.values()
            lengths.append(max(len(one.ids) for one in masks))
            tokens += sum(len(one.ids) for one in masks)
            labels += sum(one.mask.count(1, 1) for one in masks)
    ordered = sorted(lengths)
    return {
        "rows": counted, "encoded": len(lengths), "tokens": tokens, "label_tokens": labels,
        "lengths": {name: _rank(ordered, share) for name, share in _RANKS.items()},
        "histogram": _histogram(ordered),
        "dropped": [{"reason": r, "count": n} for r, n in sorted(loaded.tally.dropped.items())],
    }  # fmt: skip


_RANKS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def _rank(ordered: list[int], share: float) -> int:
    return ordered[round(share * (len(ordered) - 1))] if ordered else 0


def _histogram(ordered: list[int]) -> list[Json]:
    """Return bars of equal width from the shortest to the longest row."""
    if not ordered:
        return []
    low, high = ordered[0], ordered[-1] + 1
    width = max(1, -(-(high - low) // _BARS))
    edges = [*range(low, high, width), high]
    counts = Counter((length - low) // width for length in ordered)
    return [{"from": a, "to": b, "count": counts[i]} for i, (a, b) in enumerate(pairwise(edges))]


def mask(dataset: Dataset, model: Path, row: int, max_length: int | None = None) -> Json:
    """Return one usable row token by token: which are trained, and in which turn of the row each stands.

    Raises: NotFound("no-row"); DataError("nothing-to-train").
    """
    loaded = Loaded(Tally("skip"))
    picked = list(islice(load(section_of(dataset), loaded), row, row + 1))
    if not picked:
        raise NotFound("no-row", f"there is no row {row} in {dataset.name!r}")
    kind = final_kind(loaded, None)
    encoder = preparing.open_encoder(section_of(dataset), model, kind, max_length)
    example = next(iter(encoder.encode(picked, kind, loaded.tally)), None)
    if example is None:
        dropped = loaded.tally.examples[-1:]
        why = dropped[0].reason if dropped else "it has no token"
        raise DataError("nothing-to-train", f"the row {row} cannot be trained on: {why}")
    tokens: list[Json] = []
    shown = encoder.render(example.row)
    for name, masked in example.columns.items():
        pieces = encoder.tokenizer.decode_pieces(masked.ids)
        turns = turns_of(
            example.row, name, shown[name].text, masked.ids, encoder.tokenizer, encoder.template
        )
        for id_, text, flag, turn in zip(masked.ids, pieces, masked.mask, turns, strict=True):
            tokens.append({"id": id_, "text": text, "trained": bool(flag), "turn": turn, "column": name})  # fmt: skip
    trained = sum(1 for token in tokens if token["trained"])
    text = "".join(str(token["text"]) for token in tokens)
    return {"row": row, "text": text, "tokens": tokens, "trained": trained, "total": len(tokens)}


def duplicates(dataset: Dataset) -> Json:
    """Return groups of rows with equal content, and of rows that ask the same but answer otherwise."""
    equal: dict[bytes, list[str]] = defaultdict(list)
    asked: dict[bytes, set[bytes]] = defaultdict(set)
    told: dict[bytes, str] = {}
    section = section_of(dataset)
    whole = Section(section.path, section.reader, section.format, section.columns, dedupe=False)
    count = 0
    for row in load(whole, Loaded(Tally("skip"))):
        key = content_key(row)
        equal[key].append(row.where.rpartition("/")[2])
        asked[prompt_key(row)].add(key)
        if len(equal[key]) == 2:
            told[key] = _begins(row)
        count += 1
    groups = [(places, told[key]) for key, places in equal.items() if len(places) > 1]
    groups.sort(key=lambda group: -len(group[0]))
    return {
        "rows": count,
        "duplicates": sum(len(places) - 1 for places, _ in groups),
        "groups": [{"count": len(g), "lines": g[:20], "text": text} for g, text in groups[:_GROUPS]],
        "same_prompt": sum(1 for keys in asked.values() if len(keys) > 1),
    }  # fmt: skip


def _begins(row: Row) -> str:
    """Return the beginning of what a row says, for people who look for it."""
    if row.text is not None:
        return row.text[:_SAMPLE]
    said = (m.text for m in (*row.messages, *row.chosen))
    return " · ".join(text for text in said if text)[:_SAMPLE]


def parts_of(dataset: Dataset, shares: Mapping[str, float], seed: int) -> dict[str, list[bytes]]:
    """Return the rows as JSON lines by share; rows that ask the same stay together.

    Raises: ConfigError("bad-shares"); DataError.
    """
    total = sum(shares.values())
    if (
        not shares or min(shares.values()) <= 0 or abs(total - 1) > 1e-6
    ):  # sums of decimals are not exact
        raise ConfigError("bad-shares", f"the shares add up to {total:g}, not to 1", param="shares")
    parts: dict[str, list[bytes]] = {name: [] for name in shares}
    for row, fields in _converted(dataset):
        digest = blake2b(prompt_key(row), digest_size=8, key=seed.to_bytes(8, "little")).digest()
        parts[_part(int.from_bytes(digest, "little") / 2**64, shares)].append(
            json.dumps(_plain(fields), ensure_ascii=False).encode() + b"\n"
        )
    return parts


def _part(position: float, shares: Mapping[str, float]) -> str:
    name = ""
    for name, share in shares.items():
        if position < share:
            return name
        position -= share
    return name


def _converted(dataset: Dataset) -> Iterator[tuple[Row, Json]]:
    """Yield each usable record with the row it becomes."""
    source = _source(dataset)
    records = [one for one in read(source)[0] if isinstance(one, Record)]
    mapped = [
        map_columns(r.fields, source.columns) if source.columns else r.fields for r in records
    ]
    name = source.format if source.format != "auto" else detect(mapped[:_SAMPLE]).name
    kind = open_format(name)
    for record, fields in zip(records, mapped, strict=True):
        try:
            first = next(iter(kind.convert(fields, record.where)), None)
        except DataError:
            continue  # the row is bad; the description names it
        if first is not None:
            yield first, record.fields


def _source(dataset: Dataset) -> Source:
    columns = dataset.columns if isinstance(dataset.columns, dict) else {}
    return Source(dataset.path, dataset.reader, dataset.format, columns)
