"""Training and writing on a CUDA device, shown on a double: each case of `fakes/cuda_cases` is a test.

What no double shows: kernels' own limits and rounding, memory, streams and speed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes import cuda_cases

CASES = [name.removeprefix("case_") for name in vars(cuda_cases) if name.startswith("case_")]
MORE = {  # what the others show in large part
    "sft_with_every_weight", "dpo_with_qlora", "pretraining_with_a_prefix", "rollouts_of_ppo_and_its_values",
    "fp16_scales_its_loss",
}  # fmt: skip


@pytest.fixture(scope="module")
def told(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, str]:
    """Run the cases in a process of their own: the device cannot be taken away again."""
    wanted = CASES if request.config.getoption("--every") else [c for c in CASES if c not in MORE]
    folder = tmp_path_factory.mktemp("cuda")
    env = os.environ | {"STEAD_HOME": str(folder / "home"), "CUDA_VISIBLE_DEVICES": ""}
    argv = [sys.executable, "-m", "tests.fakes.cuda_cases", str(tiny_model), str(folder), *wanted]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, str] = json.loads((folder / "told.json").read_text())
    return found


@pytest.mark.skipif(
    cuda_cases.device.is_built(),
    reason="not run: this torch has CUDA, its double needs one without",
)
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in MORE else c for c in CASES]
)
def test_on_cuda(case: str, told: dict[str, str]) -> None:
    assert told[case] == ""
