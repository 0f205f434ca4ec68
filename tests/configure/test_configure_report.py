"""What people and programs are shown."""

from __future__ import annotations

import json

import pytest

from pycoredump.configure import report
from pycoredump.configure.item import ABSENT, NOTE, OK, WRONG, Item
from pycoredump.configure.tree import Change

GOOD = Item(name="a", state=OK, found="x = 1", file="/etc/f", line=3, effective="running: 1")
BAD = Item(name="limit", state=WRONG, found="x = 0", file="/etc/f", line=4, wanted="x = 1", effective="0")
TOLD = Item(name="other", state=NOTE, found="y", wanted="z", hint="do that")
GONE = Item(name="none", state=ABSENT, found="no program", file="/etc/g")


def test_what_holds_is_one_line_and_what_does_not_says_is_wanted_effective_and_what_to_do() -> None:
    assert list(report.items([GOOD, BAD, TOLD, GONE], "do apply")) == [
        "ok     a      /etc/f:3: x = 1 (running: 1)",
        "WRONG  limit",
        "         is         /etc/f:4: x = 0",
        "         wanted     x = 1",
        "         in effect  0",
        "         to do      do apply",
        "note   other",
        "         is         y",
        "         wanted     z",
        "         to do      do that",
        "absent none   /etc/g: no program",
    ]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([GOOD, GONE], "every item holds"),
        ([GOOD, TOLD], "every item holds; notes: 1"),
        ([GOOD, BAD, TOLD], "1 of 3 items do not hold"),
    ],
)
def test_the_last_line_sums_up(items: list[Item], expected: str) -> None:
    assert report.summary(items) == expected


def test_json_has_every_field_and_the_advice() -> None:
    data = json.loads(report.as_json([GOOD, BAD], "do apply", done=["wrote /etc/f"]))
    assert (data["holds"], data["done"]) == (False, ["wrote /etc/f"])
    assert data["items"][1] == {
        "name": "limit",
        "state": "wrong",
        "wanted": "x = 1",
        "found": "x = 0",
        "effective": "0",
        "file": "/etc/f",
        "line": 4,
        "hint": "do apply",
    }
    assert data["items"][0]["hint"] == ""


def test_hostile_text_does_not_reach_the_terminal() -> None:
    item = Item(
        name="x\x1b[1m", state=WRONG, found="\x1b[2J\udcff", wanted="\n", hint="\u202e", effective="\r"
    )
    assert all(line.isprintable() for line in report.items([item], "x"))
    assert not json.dumps(report.as_json([item], "x")).count("\x1b")


def test_the_diff_keeps_every_byte_of_the_lines() -> None:
    change = Change(path="/f", before="\ta\r\n\udcff", after="\ta\r\n\udcff\nb\n")
    assert list(report.diff([change])) == [
        "--- /f",
        "+++ /f",
        "@@ -1,2 +1,3 @@",
        " \ta\r",
        "-\udcff",
        "\\ No newline at end of file",
        "+\udcff",
        "+b",
    ]


def test_a_new_file_and_a_removed_one_are_shown_against_dev_null() -> None:
    shown = list(
        report.diff(
            [Change(path="/n", before=None, after="a\n"), Change(path="/o", before="b\n", after=None)]
        )
    )
    assert shown[:2] == ["--- /dev/null", "+++ /n"]
    assert shown[4:6] == ["--- /o", "+++ /dev/null"]
