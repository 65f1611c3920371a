"""What a group of commands says of itself."""

import subprocess
import sys


def test_a_group_says_what_it_is_for_and_each_command_in_a_whole_sentence() -> None:
    command = [sys.executable, "-m", "stead", "runs", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = " ".join(shown.split())
    assert "List, show, follow, compare, resume and cancel training runs." in words
    assert "forecast against actual" in words
    assert words.count("...") == 1, "only COMMAND [ARGS]... ends so"
    assert "completion" not in words
