"""Opening a strategy by name or file."""

import pytest
from tests.fakes.strategies import ask
from tests.fakes.vendors import mock_vendor

from stead.app import strategies
from stead.core.errors import SteadError


async def test_a_daily_budget_outlives_the_process_that_spent_it(home, tmp_path):
    """Each opening stands for a process: what one has spent, the next one finds."""
    path = tmp_path / "s.yaml"
    answered, codes = 0, set()
    async with mock_vendor(length=50) as vendor:
        path.write_text(
            "strategies:\n  - name: s\n    components:\n      cloud_api:\n        type: openai\n"
            f"        config: {{api_key: k-12345678, base_url: '{vendor.url}', default_model: gpt-4o}}\n"
            "    constraints: {daily_budget: 0.002}\n"
        )
        for _ in range(8):
            backend, strategy = strategies.open(path, home)
            try:
                await backend.generate(ask(max_tokens=50))
                answered += 1
            except SteadError as error:
                codes.add(error.code)
            finally:
                await backend.close()

    # An answer costs 50 tokens at $10 per million and its prompt: 2/1000 dollars buy three.
    assert (strategy.name, answered, codes) == ("s", 3, {"budget-exceeded"})
    assert len(vendor.invoice) == 3


@pytest.mark.spec("000-069")
def test_a_use_case_opens_its_first_strategy(home):
    _, strategy = strategies.open("production", home)

    assert strategy.name == "cloud_production"
