"""LoRA beside a base that is kept in 4 or 8 bits: the memory of the frozen weights falls to a quarter.

Knows nothing about how numbers are rounded. The codes come from the base alone, so they are not saved:
loading the adapter rounds the base again, the same way. Source: arXiv:2305.14314.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stead.core import files
from stead.models import peft_files
from stead.models.adapter import Layers, Origin
from stead.models.layers.low_rank_adapter import LowRankAdapter, LowRankConfig

if TYPE_CHECKING:
    import torch


class QLoraConfig(LowRankConfig):
    """LoRA's settings, and how the base is rounded."""

    type: Literal["qlora"] = "qlora"
    bits: Literal[4, 8] = Field(default=4, description="bits per frozen weight")
    quant_type: Literal["auto", "nf4", "fp4", "int8"] = Field(
        default="auto",
        description="code of the weights; auto: nf4 for 4 bits, int8 (by rows) for 8",
    )
    double_quant: bool = Field(
        default=True, description="round the scales of 4-bit blocks to 8 bits, too"
    )

    @model_validator(mode="after")
    def _one_width(self) -> "QLoraConfig":
        if self.quant_type != "auto" and (self.bits == 8) != (self.quant_type == "int8"):
            raise PydanticCustomError(
                "both_quantizations", "{message}",
                {"message": f"4-bit and 8-bit loading are both on (bits={self.bits}, quant_type={self.quant_type!r})"},
            )  # fmt: skip
        if self.init == "pissa":
            raise ValueError("init='pissa' needs a base of full precision; use the adapter lora")
        return self

    @property
    def code(self) -> str:
        """The code that is meant: nf4, fp4 or int8."""
        if self.quant_type != "auto":
            return self.quant_type
        return "nf4" if self.bits == 4 else "int8"


class QLora(LowRankAdapter):
    """LoRA over a base rounded to 4 or 8 bits: the least memory.

    LoRA, DoRA and LoRA+ over a quantized base; A and B stay float32.
    """

    config: QLoraConfig

    def prepare(self, model: "torch.nn.Module", layers: Layers, names: list[str]) -> None:
        """Round every linear layer but the output layer and those that are trained whole."""
        wholes = self.config.modules_to_save
        rounded = [
            n
            for n in layers.detect_targets(model, "all-linear")
            if not any(f".{n}.".find(f".{w}.") >= 0 for w in wholes)
        ]
        lost = {n: self.config.rank(n) for n in names} if self.config.init == "loftq" else {}
        layers.quantize(
            model, rounded, kind=self.config.code, double=self.config.double_quant, errors=lost
        )

    def save(self, model: "torch.nn.Module", layers: Layers, folder: Path, origin: Origin) -> None:
        """Write PEFT's two files, and beside them how the base was rounded."""
        super().save(model, layers, folder, origin)
        rounding = {
            "bits": self.config.bits,
            "quant_type": self.config.code,
            "double_quant": self.config.double_quant,
            "base_hash": origin.base_hash,
        }
        files.write_json(folder / peft_files.QUANTIZATION, rounding)

    @classmethod
    def read(cls, folder: Path) -> QLoraConfig | None:
        """Read an adapter that was trained beside rounded weights."""
        data, path = peft_files.read(folder, "LORA"), folder / peft_files.QUANTIZATION
        if data is None or not path.is_file():
            return None
        rounding = {k: v for k, v in files.read_json(path).items() if k != "base_hash"}
        return QLoraConfig(**cls.settings(data, folder), **rounding)
