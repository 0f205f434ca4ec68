"""python -m tests.bench: pycoredump against systemd-coredump and against only reading. See compare.py."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [os.fspath(HERE), os.fspath(HERE.parent / "kernel"), os.fspath(HERE.parents[1])]

import compare  # noqa: E402 - found through the line above

sys.exit(compare.main(sys.argv[1:]))
