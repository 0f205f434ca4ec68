"""Coverage-guided fuzzing: atheris_fuzz.py TARGET CORPUS_DIRECTORY [libFuzzer options].

What it finds belongs into corpus/TARGET-*, which test_hostile.py replays; it also replays corpus/seeds.zst, a choice of what
some minutes of it for each target made. Needs the package atheris, which the other tests do not.
"""

from __future__ import annotations

import os
import pathlib
import sys

import atheris

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [os.fspath(HERE), os.fspath(HERE.parents[2])]
with atheris.instrument_imports(include=["pycoredump"]):
    import targets


def main() -> None:
    target = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda data: targets.run(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
