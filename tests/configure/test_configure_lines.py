from __future__ import annotations

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump.configure import lines

texts = st.text(st.sampled_from("ab #\n\r\\\x0c\x85\udcff\x00="), max_size=60)


@settings(deadline=None, derandomize=True)
@given(texts, st.integers(0, 70), st.lists(st.just("ours"), min_size=1, max_size=3))
def test_what_was_inserted_is_removed_to_the_byte(text: str, at: int, added: list[str]) -> None:
    at = min(at, len(lines.split(text)))
    assert lines.remove(lines.insert(text, at, added), re.compile("ours")) == text


@settings(deadline=None, derandomize=True)
@given(texts)
def test_lines_joined_are_the_text(text: str) -> None:
    assert "".join(lines.split(text)) == text


@settings(deadline=None, derandomize=True)
@given(texts, texts)
def test_a_line_end_that_was_added_stays_when_something_came_after_it(text: str, later: str) -> None:
    inserted = lines.insert(text, len(lines.split(text)), ["ours"])
    end = "\n" if text and not text.endswith("\n") and later else ""
    assert lines.remove(inserted + later, re.compile("ours")) == text + end + later


def test_a_line_of_ours_that_was_changed_stays() -> None:
    text = lines.insert("a\n", 1, ["ours 1"]).replace("ours 1", "theirs 2")
    assert lines.remove(text, re.compile(r"ours \d")) == "a\ntheirs 2\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_are_found_whatever_the_line_end(end: str) -> None:
    text = lines.insert("", 0, ["ours"]).replace("\n", end)
    assert lines.marked(text)
    assert lines.remove(text, re.compile("ours")) == ""


WRITTEN = lines.whole(["# why", "[Manager]", "a=1"])
OURS = re.compile(r"# why|\[Manager\]|a=\d")


@pytest.mark.parametrize("written", [WRITTEN, ""], ids=["recorded", "the record is lost"])
@pytest.mark.parametrize(
    ("text", "left"),
    [
        (WRITTEN, None),
        (WRITTEN.replace("\n", "\r\n"), None),
        (WRITTEN + "\n\n", None),
        (WRITTEN.replace("# why\n", ""), None),
        ("# mine\n" + WRITTEN + "b=2\n", "# mine\n[Manager]\nb=2\n"),
        (WRITTEN + "b=2", "[Manager]\nb=2"),
        (WRITTEN + "a=1\n", "[Manager]\na=1\n"),
        (WRITTEN.removeprefix(lines.HEADER), WRITTEN.removeprefix(lines.HEADER)),
        ("[Manager]\na=1\n", "[Manager]\na=1\n"),
    ],
    ids=["as written", "CR LF", "blank lines", "a line gone", "lines around", "no last line end", "our line twice",
         "taken over", "replaced"],
)  # fmt: skip
def test_a_whole_file_goes_unless_others_have_put_something_into_it(
    text: str, left: str | None, written: str
) -> None:
    assert (lines.remove_whole(text, written, OURS) if lines.is_whole(text) else text) == left


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], "60-us.conf"),
        (["50-x.conf", "60-a.conf"], "60-us.conf"),
        (["99-x.conf"], "zz-pycoredump.conf"),
        (["60-us.conf"], "zz-pycoredump.conf"),
        (["zzz.conf", "a.conf"], "zzz~pycoredump.conf"),
        (["~x.conf"], "~x~pycoredump.conf"),
        (["\udcff.conf", "é.conf"], "\udcff~pycoredump.conf"),
    ],
)
def test_our_last_name_sorts_after_every_other(others: list[str], expected: str) -> None:
    assert lines.last_name("60-us.conf", others) == expected
    assert all(os.fsencode(expected) > os.fsencode(other) for other in others)
