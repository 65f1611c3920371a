"""A stand-in for gemma.cpp's program: the prompt from stdin up to the end line, the answer on stdout."""

import argparse
import sys

parser = argparse.ArgumentParser()
for name in ("--weights", "--tokenizer", "--eot_line", "--temperature"):
    parser.add_argument(name)
for name in ("--verbosity", "--max_generated_tokens", "--top_k"):
    parser.add_argument(name, type=int)
given = parser.parse_args()

lines = []
for line in sys.stdin:
    if line.rstrip("\n") == given.eot_line:
        break
    lines.append(line)
prompt = "".join(lines).rstrip("\n")
if prompt == "die":
    sys.exit(3)
words = f"k={given.top_k} t={given.temperature} heard: {prompt}".split(" ")
sys.stdout.write("\n" + " ".join(words[: given.max_generated_tokens]) + "\n")
