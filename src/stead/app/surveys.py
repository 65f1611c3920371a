"""What a recipe's rows are in numbers, counted once per content: a million rows are read again only when they changed.

Knows nothing about plans. What is kept lies below the data directory's cache and can be deleted.
"""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import msgspec

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.core import files
from stead.core.errors import NotFound, ResourceError
from stead.core.paths import Home
from stead.data.prepare import inputs_hash, survey
from stead.data.row import Kind
from stead.data.rows import has_content
from stead.planning.facts import DataFacts, ModelFacts

_VERSION = 2  # of what is counted


def survey_rows(
    config: RunConfig, model: ModelFacts, longest: int, home: Home | None = None
) -> DataFacts:
    """Count the rows as the method will get them, cut at `longest` tokens.

    With `home` the counts of equal content, choices and tokenizer are taken from before. Data of a
    hub is always counted: its name says nothing about its content. Raises: as `data.prepare.survey`.
    """
    method = registry("method").get(config.method.type)
    wanted = None if method.takes_as_is else method.kinds[0]
    if home is None or not has_content(config.data):
        return _counted(config, model, longest, wanted, None)
    key = inputs_hash(
        config.data, model.path, kind_wanted=wanted, max_length=longest, seed=config.data.seed
    )
    kept = home.cache / "system" / "surveys" / f"{key}-{_VERSION}.json"
    with suppress(NotFound, ValueError, msgspec.ValidationError):  # a damaged note is no note
        known = msgspec.convert(files.read_json(kept), DataFacts)
        if known.extras is not None:  # else counted before rewards were asked for columns
            return known
    found = _counted(config, model, longest, wanted, home.scans)
    with suppress(OSError, ResourceError):  # a read-only data directory only costs the memory
        home.ensure()
        files.write_json(kept, asdict(found))
    return found


def _counted(
    config: RunConfig, model: ModelFacts, longest: int, wanted: Kind | None, notes: Path | None
) -> DataFacts:
    found = survey(config.data, model.path, longest, kind_wanted=wanted, notes=notes)
    learnt = found.learnt
    return DataFacts(
        rows=found.train_rows if learnt is None else len(learnt.sizes),
        eval_rows=found.eval_rows,
        tokens=found.train_tokens,
        label_tokens=found.train_labels,
        lengths={name: round(value) for name, value in found.lengths.items()},
        hash=found.hash,
        kind=found.kind,
        dropped=found.dropped,
        truncated=found.counts.get("truncated", 0),
        readers=tuple(found.readers),
        formats=tuple(found.formats),
        explanation="; ".join(found.why),
        quantiles=tuple(found.quantiles),
        sizes=() if learnt is None else tuple(learnt.sizes),
        text_bytes=round(found.text_bytes * found.train_rows / max(1, found.rows)),
        trees=() if learnt is None else tuple(learnt.trees),
        columns=tuple(found.columns),
        extras=tuple(found.extras),
        answered=found.answered,
        folders=tuple(found.folders),
    )
