"""What is printed at a run's end fits its method."""

import pytest

from stead.cli.run_view import show_result

RESULT = {"steps": 2, "tokens": 9, "seconds": 1.0, "tokens_per_s": 9.0, "final_loss": -4.5e-08, "eval_loss": None, "final": "r/final"}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "next_words"),
    [
        ("sft", "stead evaluate --model 'my run' --data FILE --metrics exact_match"),
        ("pretrain", "stead evaluate --model 'my run' --data FILE --metrics perplexity"),
        ("reward", "-s 'method.rewards=[{model: my run}]'"),
        ("contrastive", "stead serve --model 'my run'"),
    ],
)
def test_what_comes_next_fits_what_was_learnt(method, next_words, capsys):
    show_result(RESULT | {"method": method, "out": "my run"})

    told = capsys.readouterr().out
    assert next_words in told
    assert "final loss -4.5e-08" in told
