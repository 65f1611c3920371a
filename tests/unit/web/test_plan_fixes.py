"""What helps against a plan's warning becomes a button of the page: the setting is read from the command of the hint."""

import pytest

from stead.web.routes.plans import Fix, _fix


@pytest.mark.parametrize("option", ["-s", "--set"])
def test_the_first_setting_of_the_hint_is_the_fix(option):
    hint = f"stead plan --model base --data rows.json {option} trainer.batch_tokens=218752 {option} a.b=c"

    assert _fix({"hint": hint}) == Fix(field="trainer.batch_tokens", value=218752)


@pytest.mark.parametrize("hint", [None, "stead doctor"])
def test_a_hint_that_sets_nothing_has_no_button(hint):
    assert _fix({"hint": hint}) is None
