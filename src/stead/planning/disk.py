"""Bytes a training run leaves on the disk, or needs there at once, by part.

Knows nothing about memory or seconds. Sizes of files that a result takes over are read from the model's folder.
"""

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.hub.model_folder import TEXT_FILES
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.memory import state_bytes
from stead.planning.shape import BYTES, shape

_MASTER = 4  # trained weights are kept in fp32
_TOKEN_BYTES = 5  # 4 for a prepared token's number, 1 for its mask
_ROW_BYTES = 8  # where a row begins
_CHECKPOINT_BYTES = 12_000  # its manifest, its state, the names of its tensors; measured
_RESULT_BYTES = 6_000  # a result's settings and its manifest; measured
_LOG_BYTES = 58_000  # the plan twice, the page without its curves, the result; measured
_CURVES_BYTES, _CURVE_POINTS = 500, 30  # of a step in the page's curves, which keep so many points
_ANSWERED_BYTES = 45_000  # the page's curves and lists about answers and rewards
_STEP_BYTES = 850  # a step's event and its lines in logs; measured over 300 steps


def checkpoint_bytes(config: RunConfig, model: ModelFacts) -> int:
    """Return the size of one checkpoint: fp32 weights and the optimizer's state."""
    found = shape(model, config.adapter, config.model.device)
    trained = found.trained - _untaught(config, model)
    return int(trained * (_MASTER + state_bytes(config, found.tables))) + _CHECKPOINT_BYTES


def _untaught(config: RunConfig, model: ModelFacts) -> int:
    """Return the numbers of an output layer of its own that a method without words does not train."""
    found = shape(model, config.adapter, config.model.device)
    frozen = getattr(registry("method").get(config.method.type), "freezes_words", False)
    return found.embedding if frozen and found.whole and not model.tied else 0


def final_bytes(config: RunConfig, model: ModelFacts) -> int:
    """Return the size of the result: the whole model with its tokenizer, or the adapter in fp32.

    An adapter's config may say by `saved_parameters(model)` that it writes fewer numbers than it trains.
    """
    if registry("adapter").get(config.adapter.type).kind == "model":
        texts = sum(_size(model, name) for name in (*TEXT_FILES, "config.json"))
        return int(model.parameters * BYTES[config.model.dtype]) + texts + _RESULT_BYTES
    own = getattr(config.adapter, "saved_parameters", None)
    trained = shape(model, config.adapter, config.model.device).trained
    return int((trained if own is None else own(model)) * _MASTER) + _RESULT_BYTES


def _size(model: ModelFacts, name: str) -> int:
    path = model.path / name
    return path.stat().st_size if path.is_file() else 0


def saves(config: RunConfig, steps: int) -> int:
    """Return how many checkpoints a run of so many steps makes; none after the last."""
    every = config.trainer.checkpoint_every
    return (steps - 1) // every if isinstance(every, int) else config.trainer.keep


def disk(config: RunConfig, model: ModelFacts, data: DataFacts, steps: int) -> dict[str, int]:
    """Return the bytes a run leaves or needs at once, by part: prepared rows, checkpoints, result, logs."""
    made, keep = saves(config, steps), config.trainer.keep
    held = min(keep, made) + (made > keep)  # one is being written before the oldest goes
    return {
        "checkpoints": checkpoint_bytes(config, model) * held,
        "result": final_bytes(config, model),
        "prepared data": _prepared(data),
        "logs": _logs(config, steps),
    }


def _logs(config: RunConfig, steps: int) -> int:
    answered = bool(getattr(registry("method").get(config.method.type), "rollout", False))
    curves = min(steps, _CURVE_POINTS) * _CURVES_BYTES + answered * _ANSWERED_BYTES
    return _LOG_BYTES + curves + steps * _STEP_BYTES


def _prepared(data: DataFacts) -> int:
    """Return the bytes of prepared rows: tokens with their mask, and each row's text beside them.

    Where the text was not counted, it is taken to be as large as the tokens.
    """
    every = 1 + data.eval_rows / max(1, data.rows)
    text = data.text_bytes if data.text_bytes else data.tokens * _TOKEN_BYTES
    return int(every * (data.tokens * _TOKEN_BYTES + data.rows * _ROW_BYTES + text))
