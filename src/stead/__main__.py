"""`python -m stead`: the command line without the console script. Knows nothing else."""

from stead.cli.main import run

if __name__ == "__main__":
    run()
