"""Put the forecast of a run together: raw figures, then what finished runs taught.

Knows nothing about decisions; everything in the configuration is settled when it comes here.
"""

from stead.config.run import RunConfig
from stead.core.hardware import Hardware
from stead.core.paths import Home
from stead.planning import cost, history, memory
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.plan import Forecast, Interval

# Ranges before any finished run: measured spread of the raw figures on small models on CPU.
_UNTESTED = {"memory_bytes": (0.75, 1.0, 1.35), "seconds": (0.4, 1.0, 2.5)}


def forecast(
    config: RunConfig,
    model: ModelFacts,
    data: DataFacts,
    hardware: Hardware,
    home: Home | None,
) -> Forecast:
    """Return memory, time and disk of the run as intervals with a stated basis."""
    tokens = micro_batch(config, data)
    chunk = config.trainer.logits_chunk
    parts = memory.parts(config, model, tokens, chunk if isinstance(chunk, int) else 0)
    seconds, rate = cost.seconds(config, model, data, hardware.to_dict())
    raw = {"memory_bytes": float(sum(parts.values())), "seconds": seconds}
    basis = {
        "memory_bytes": f"parts for {tokens} tokens at once",
        "seconds": rate,
        "disk_bytes": f"{config.trainer.keep} checkpoints kept, one being written, the result",
    }
    intervals = {}
    records = history.read(home) if home is not None else []
    wanted = history.key(config, hardware.cpu)
    for name, value in raw.items():
        learnt = history.correction(records, wanted, name)
        if learnt is None:
            intervals[name] = Interval(0, value, 0).scaled(*_UNTESTED[name])
            basis[name] += "; no finished run to compare with"
        else:
            intervals[name] = learnt.apply(value)
            basis[name] += (
                f"; corrected by {learnt.runs} finished runs "
                f"(× {learnt.factor:.2f}, past error {learnt.error:.0%})"
            )
    needed = memory.disk(config, model)
    return Forecast(
        memory_bytes=intervals["memory_bytes"],
        seconds=intervals["seconds"],
        disk_bytes=Interval(0, needed, 0).scaled(0.5, 1.0, 1.1),
        memory_parts=parts,
        steps=cost.steps(config, data),
        basis=basis,
        raw=raw,
    )


def micro_batch(config: RunConfig, data: DataFacts) -> int:
    """Return the most tokens that one micro-batch holds."""
    trainer, length = config.trainer, config.data.max_length
    longest = data.lengths.get("max", 0)
    if isinstance(length, int):
        longest = min(longest, length) if longest else length
    if trainer.batch_rows is not None:
        return trainer.batch_rows * longest
    budget = trainer.batch_tokens if isinstance(trainer.batch_tokens, int) else longest
    return min(budget, data.tokens) if data.tokens else budget
