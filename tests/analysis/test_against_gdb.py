"""Real programs: our frames against gdb's. gdb_table.py does the same for some hundred, on the kernel's own cores."""

from __future__ import annotations

import pathlib
import shutil
import time

import crashes
import gdb_compare
import pytest

SECONDS = 120.0  # for all of them; those that the time does not reach are skipped
BEGAN: list[float] = []
NAMES = (
    *("c-O0-null", "c-O3-null", "c-Os-null", "c-O2-frame-pointer-null", "c-O2-stripped-null", "c-O2-static-pie-null"),
    *("c-O2-cet-null", "c-O2-realign-null", "c-O2-debug-frame-null", "c-O0-no-tables-null", "c-O2-raise-in-handler"),
    *("c-O2-overflow", "c-O2-call-null", "c-O2-call-wild", "c-O2-call-data", "c-O2-callback", "c-O2-dynamic"),
    *("c-O2-context", "c-O2-string", "c-O1-static-callback", "cpp-O0", "cpp-O2", "cpp-O3", "rust-debug", "musl-null"),
    *("sleep", "cat", "bash", "dash", "perl", "python-threads", "sort", "grep", "make", "awk", "find"),
)  # fmt: skip
CASES = {case.name: case for case in crashes.cases()}


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_of_gdb(name: str, tmp_path: pathlib.Path) -> None:
    BEGAN.append(time.monotonic())
    if time.monotonic() - BEGAN[0] > SECONDS:
        pytest.skip(f"the {SECONDS:.0f} s for comparisons are up")
    case = CASES[name]
    problem = crashes.make_by_gdb(case, tmp_path)
    if problem:
        pytest.skip(problem)
    if not (tmp_path / "exe").exists():
        (tmp_path / "exe").symlink_to(shutil.which(case.argv[0]) or "/")

    stacks, _, image = gdb_compare.ours(tmp_path / "core")
    judge = gdb_compare.gdb(tmp_path / "core", tmp_path / "exe")
    score = gdb_compare.score(stacks, judge, image)
    assert score.frames > 4
    assert list(gdb_compare.differences(stacks, judge, image)) == []
    assert (score.same_pc, score.same_name) == (score.frames, score.names)
