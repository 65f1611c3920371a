"""Local folder → LoadedModel: safe settings, chosen number type, device and attention, tokenizer.

Knows nothing about training. Never unpickles and never runs code from a folder; each choice is
recorded in `meta` with its reason.
"""

import gc
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from stead.config.kinds import registry
from stead.core import files, lazy
from stead.core.errors import ModelError, NotFound
from stead.models import lineage, peft_files
from stead.models.layers import layers
from stead.models.turned import turn
from stead.values import LoadedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Dtype = Literal["auto", "fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


def load_model(
    folder: Path,
    *,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: str = "auto",
    adapter: Path | None = None,
) -> LoadedModel:
    """Load a causal language model and its tokenizer from a folder, and an adapter onto it.

    Raises: NotFound("no-model"); ModelError("pickle-weights" | "no-weights" | "torn-weights" |
    "not-causal-lm" | "no-tokenizer" | "weights-mismatch" | "adapter-mismatch").
    """
    folder = Path(folder)
    _check_files(folder)
    config = _config(folder)
    place, place_reason = choose_device(device)
    number, number_reason = choose_dtype(dtype, place, getattr(config, "dtype", None))
    kernel, kernel_reason = supported(config, *choose_attention(attention, place, number))
    meta: dict[str, Any] = {  # Any: JSON facts
        "architecture": config.architectures[0],
        "transformers": transformers.__version__,
        "device": {"value": place.type, "reason": place_reason},
        "dtype": {"value": str(number).removeprefix("torch."), "reason": number_reason},
        "attention": {"value": kernel, "reason": kernel_reason},
    }
    tokenizer = _tokenizer(folder)
    model = _weights(folder, config, number, kernel).to(place)
    turn(model)
    model.eval()
    loaded = LoadedModel(model, tokenizer, folder, place, number, meta=meta)
    if adapter is not None:
        attach(loaded, adapter)
    gc.collect()
    return loaded


def attach(loaded: LoadedModel, adapter: Path) -> None:
    """Put a saved adapter of any registered kind onto a loaded base.

    Raises: NotFound("no-adapter"); ModelError("wrong-base" | "adapter-mismatch" |
    "adapter-unsupported").
    """
    path = adapter / peft_files.CONFIG
    if not path.is_file():
        raise NotFound("no-adapter", f"{str(adapter)!r} has no {peft_files.CONFIG}")
    found = files.read_json(path)
    lineage.check_base(loaded.folder, adapter, found)
    known = registry("adapter")
    for name in known.names():
        config = known.get(name).read(adapter)
        if config is not None:
            known.create(name, config=config).attach(loaded.model, layers, adapter)
            loaded.adapter = adapter
            return
    raise peft_files.unsupported(adapter, "peft_type", found.get("peft_type"))


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """Return the device and why: what was asked, else CUDA, else MPS, else CPU.

    Raises: ModelError("no-device") when what was asked is not there.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        found = next(name for name, there in present.items() if there)
        absent = [n for n, there in present.items() if not there]
        return torch.device(found), f"first that is there (absent: {', '.join(absent) or 'none'})"
    if not present.get(wanted, False):
        build = f"; torch {torch.__version__} is a build without CUDA" if wanted == "cuda" and torch.version.cuda is None and torch.version.hip is None else ""  # fmt: skip
        raise ModelError(
            "no-device",
            f"the device {wanted!r} is not there (there: {[n for n, t in present.items() if t]}){build}",
        )
    return torch.device(wanted), "asked for"


def choose_dtype(wanted: str, device: torch.device, stored: Any) -> tuple[torch.dtype, str]:
    """Return the number type and why: asked, else bf16 where the hardware has it, else fp32.

    `stored` is the type the weights have on disk (Any: torch.dtype, str or None).
    Raises: ModelError("unknown-dtype").
    """
    if wanted != "auto":
        if wanted not in DTYPES:
            raise ModelError("unknown-dtype", f"{wanted!r} is none of {', '.join(DTYPES)}")
        return DTYPES[wanted], "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "the GPU computes in bf16"
        return torch.float16, "the GPU has no bf16"
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16, "the CPU multiplies in bf16"
    if device.type == "mps" and stored in (torch.bfloat16, "bfloat16"):
        return torch.bfloat16, "as stored"
    return torch.float32, "no fast bf16 on this device"


def _cpu_has_bf16() -> bool:
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("amx_bf16", False) or flags.get("avx512_bf16", False))


def choose_attention(wanted: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Return the attention kernel for transformers and why.

    Packed training replaces it by our own segment attention; see `models/attention`.
    """
    if wanted != "auto":
        return wanted, "asked for"
    if device.type != "cuda":
        return "sdpa", f"flash attention needs CUDA, this is {device.type}; segments are exact"
    if dtype == torch.float32:
        return "sdpa", "flash attention computes in 16 bits only; segments are exact"
    if lazy.installed("flash_attn"):
        return "flash_attention_2", "flash_attn is installed and the device is CUDA"
    return "sdpa", "flash_attn is not installed; segments are exact"


def supported(config: Any, kernel: str, reason: str) -> tuple[str, str]:
    """Return the kernel and why; plain attention for an architecture that has no fused one.

    `config` (Any: a transformers config) names the architecture.
    """
    name = config.architectures[0]
    model = getattr(transformers, name, None)
    if kernel == "flash_attention_2" and not getattr(model, "_supports_flash_attn", True):
        kernel, reason = "sdpa", f"{name} has no flash attention in transformers"
    if kernel == "sdpa" and not getattr(model, "_supports_sdpa", True):
        return "eager", f"{name} has no other in transformers"
    return kernel, reason


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise NotFound("no-model", f"{str(folder)!r} is no model folder: it has no config.json")
    if any(folder.glob("*.safetensors")):
        return
    pickles = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt")]
    if pickles:
        raise ModelError(
            "pickle-weights",
            f"{str(folder / pickles[0])!r} is a pickle file, which can run code; only safetensors is loaded",
        )
    raise ModelError("no-weights", f"{str(folder)!r} has no safetensors file")


def _config(folder: Path) -> Any:  # Any: a transformers config
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise ModelError(
            "bad-config", f"{str(folder / 'config.json')!r} cannot be used: {_first_line(error)}"
        ) from error
    names = config.architectures or []
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or not any(
        n.endswith(("CausalLM", "LMHeadModel")) for n in names
    ):
        raise ModelError(
            "not-causal-lm",
            f"{str(folder)!r} is a {config.model_type!r} ({', '.join(names) or 'no architecture'}), not a causal language model",
        )
    return config


def _tokenizer(folder: Path) -> Any:  # Any: a transformers tokenizer
    if not any((folder / n).is_file() for n in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError("no-tokenizer", f"{str(folder)!r} has no tokenizer.json")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(
            "bad-tokenizer",
            f"the tokenizer of {str(folder)!r} cannot be read: {_first_line(error)}",
        ) from error


def _weights(folder: Path, config: Any, dtype: torch.dtype, attention: str) -> Any:
    """Load the weights; transformers maps the files, so the peak is near the model's own size."""
    former = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise ModelError(
            "torn-weights", f"the weights of {str(folder)!r} are damaged: {error}"
        ) from error
    except (ValueError, OSError, RuntimeError) as error:
        raise ModelError(
            "weights-mismatch", f"the weights of {str(folder)!r} do not load: {_first_line(error)}"
        ) from error
    finally:
        transformers_logging.set_verbosity(former)
        transformers_logging.enable_progress_bar()
    bad = sorted(info.get("missing_keys", ())) + sorted(map(str, info.get("mismatched_keys", ())))
    if bad:
        raise ModelError(
            "weights-mismatch",
            f"the weights of {str(folder)!r} do not fit its config: {len(bad)} missing or of another shape, first {bad[0]}",
        )
    return model


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def facts(folder: Path) -> dict[str, Any]:  # Any: JSON values
    """Return the config of a folder as plain JSON."""
    found: dict[str, Any] = files.read_json(folder / "config.json")
    return found
