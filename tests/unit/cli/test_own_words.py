"""A hint repeats the command that was typed, so that it can be pasted."""

import shlex

from stead.cli.own_words import own_words


def test_a_hint_for_a_recipe_is_the_users_command_with_the_change_at_its_end():
    typed = ["train", "--model", "my base", "--data", "d.jsonl", "--method", "grpo"]

    told = own_words("stead train RECIPE --set 'method.rewards=[exact_match]'", typed)

    assert shlex.split(str(told)) == ["stead", *typed, "--set", "method.rewards=[exact_match]"]


def test_what_the_plan_says_with_model_and_data_alone_keeps_the_users_other_options():
    typed = ["plan", "--model", "m", "--data", "d", "--adapter", "full", "--out", "x"]

    told = own_words("stead plan --model 'm' --data d -s trainer.keep=1", typed)

    assert told == "stead plan --model m --data d --adapter full --out x -s trainer.keep=1"


def test_other_hints_and_other_commands_keep_their_words():
    hint = "stead train RECIPE --adapter full"

    assert own_words("stead model list", ["train", "x.yaml"]) == "stead model list"
    assert own_words(hint, ["serve"]) == hint
    assert own_words(None, ["train"]) is None
