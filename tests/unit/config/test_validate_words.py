"""Keys of other training tools are refused with ours."""

import pytest

from stead.config.recipe import read_recipe
from stead.core.errors import ConfigError


@pytest.mark.parametrize(
    ("recipe", "ours"),
    [
        ({"trainer": {"learning_rate": 1e-4}}, "trainer.lr"),
        ({"num_train_epochs": 3}, "trainer.epochs"),
        ({"adapter": {"type": "lora", "lora_rank": 8}}, "adapter.r"),
    ],
)
def test_another_tools_key_is_refused_with_ours(recipe: dict, ours: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(recipe)

    assert ours in caught.value.message
