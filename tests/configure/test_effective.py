"""What is asked from those that decide: PID 1, a login."""

from __future__ import annotations

import os
import pathlib

import pytest

from pycoredump.configure import effective
from pycoredump.configure.request import UNLIMITED
from pycoredump.configure.tree import Tree

ROW = "Max core file size         {} {}            bytes     \n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Limit\n{ROW.format('1073741824', 'unlimited')}", (1 << 30, UNLIMITED)),
        (ROW.format("0", "0"), (0, 0)),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_core_limits_of_a_limits_file(text: str, expected: tuple[int, int] | None) -> None:
    assert effective.core_limits(text) == expected


def test_a_program_that_is_not_there_or_hangs_is_no_answer(tmp_path: pathlib.Path) -> None:
    assert effective.run(Tree("/"), ["/no/such/program"]) is None
    assert effective.run(Tree(os.fspath(tmp_path)), ["/no/such/program"]) is None


@pytest.mark.root
def test_a_session_begins_at_zero_and_ends_with_what_pam_gives() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root for su")

    found = effective.login("root", profile=False)
    assert found is None or 0 <= found <= UNLIMITED
    assert effective.login("no-such-user", profile=False) is None
