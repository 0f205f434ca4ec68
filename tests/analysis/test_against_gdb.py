"""Real crashes: our frames against gdb's. gdb_compare.py does the same for some eighty programs."""

from __future__ import annotations

import pathlib
import shutil

import crashes
import gdb_compare
import pytest

NAMES = (
    "c-O2-raise-in-handler",
    "c-O2-overflow",
    "c-O2-call-null",
    "c-O0-no-tables-null",
    "c-O1-static-callback",
    "cpp-O2",
    "sleep",
)


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_of_gdb(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "LOCK_SECONDS", 3.0)
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    case = next(case for case in crashes.cases() if case.name == name)
    try:
        problem = crashes.make(case, tmp_path)
    except (RuntimeError, OSError) as e:
        pytest.skip(str(e))
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
