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


BLOCK = f"{lines.MARK}\nours\n"
AT_END = f"a\n{lines.MARK_BREAK}\nours\n"  # of "a"


@pytest.mark.parametrize(
    ("edited", "left"),
    [
        (f"a\n{BLOCK}b\n", "a\nb\n"),
        (f"x\na\n{BLOCK}y\nb\nz", "x\na\ny\nb\nz"),
        (f"a\n{lines.MARK}\ntheirs\n\nours\nb\n", "a\ntheirs\n\nb\n"),
        (f"a\n{lines.MARK}\n#ours\nb\n", "a\n#ours\nb\n"),
        (f"a\n{lines.MARK}\nb\n", "a\nb\n"),
        ("a\nours\nb\n", "a\nours\nb\n"),
        (f"a\n{lines.MARK}\n{BLOCK}b\n", "a\nb\n"),
        (f"ours\n{BLOCK}ours\n", "ours\nours\n"),
        (f"a\n{lines.MARK}" + "\nx" * 20 + "\nours\n", "a" + "\nx" * 20 + "\nours\n"),
        (f"a\n{BLOCK}b\n".replace("\n", "\r\n"), "a\r\nb\r\n"),
        (AT_END, "a"),
        (AT_END.replace("\n", "\r\n"), "a"),
        (AT_END + "b\n", "a\nb\n"),
        ("x\n" + AT_END, "x\na"),
        (f"{BLOCK}{AT_END}", "a"),
        (AT_END.removesuffix("\n"), "a"),
        (AT_END + BLOCK, "a"),
    ],
    ids=["as written", "before, between and after", "inside", "ours commented out", "ours gone", "mark gone", "mark twice",
         "ours elsewhere", "far apart", "CR LF", "no last line end", "that in CR LF", "lines after", "a line before",
         "two blocks", "cut", "a block after"],
)  # fmt: skip
def test_after_edits_of_others_only_our_lines_go(edited: str, left: str) -> None:
    assert lines.remove(edited, re.compile("ours")) == left


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
