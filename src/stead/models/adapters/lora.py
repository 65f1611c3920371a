"""Low-rank adaptation: train B·A beside frozen linear layers; read and written in PEFT's format.

Knows nothing about losses or the loop; rsLoRA, DoRA, LoRA+ and PiSSA are settings of it.
"""

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from stead.models import peft_files
from stead.models.layers.low_rank_adapter import LowRankAdapter, LowRankConfig


class LoraConfig(LowRankConfig):
    """Rank, scaling and place of the added weights."""

    type: Literal["lora"] = "lora"

    @model_validator(mode="after")
    def _has_no_error(self) -> "LoraConfig":
        if self.init == "loftq":
            raise ValueError("init='loftq' needs a rounded base; use the adapter qlora")
        return self


class Lora(LowRankAdapter):
    """Train small added weights: little memory, a small file.

    LoRA and its relatives beside weights of full precision.
    """

    config: LoraConfig

    @classmethod
    def read(cls, folder: Path) -> LoraConfig | None:
        """Read PEFT's adapter_config.json. Raises: ModelError("adapter-unsupported")."""
        data = peft_files.read(folder, "LORA")
        if data is None or (folder / peft_files.QUANTIZATION).is_file():
            return None
        return LoraConfig(**cls.settings(data, folder))
