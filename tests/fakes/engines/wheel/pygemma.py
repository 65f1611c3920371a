"""A stand-in for the pygemma wheel: the same three calls, and its greeting on stdout."""

import os
import sys
import time


class Gemma:
    def load_model(self, tokenizer, weights, variant):
        assert os.path.dirname(__file__) in os.environ["LD_LIBRARY_PATH"].split(":")
        if "torn" in weights:
            os.abort()
        self.variant = variant
        sys.stdout.write("\x1b[2J*Usage*\n  Enter an instruction\n\n")

    def completion(self, prompt):
        sys.stdout.write("\n")
        for word in f"{self.variant} {os.getpid()} heard: {prompt}".split(" "):
            if word == "die":
                os.abort()
            if word == "slow":
                time.sleep(20)
            sys.stdout.write(word + " ")
            sys.stdout.flush()
            time.sleep(0.02)
        sys.stdout.write("\n")
        return 0
