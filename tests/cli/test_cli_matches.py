"""Which crashes are meant: terms, times, and what counts as an archive."""

from __future__ import annotations

import os
import pathlib

import elfcore
import pytest

from pycoredump.cli import matches
from pycoredump.cli.incident import Incident
from pycoredump.cli.matches import Matches
from pycoredump.errors import ArgumentError


def incident(time: int = 100, **fields: str) -> Incident:
    return Incident(time, {}, lambda name: fields.get(name, ""), names=lambda: list(fields))


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ((), True),
        (("A=1",), True),
        (("A=2",), False),
        (("A=2", "A=1"), True),
        (("A=1", "B=2"), True),
        (("A=1", "B=3"), False),
        (("A=1", "C="), True),
    ],
    ids=["none", "equal", "other", "one of two", "both fields", "one field fails", "a field without value"],
)
def test_terms_of_one_field_are_alternatives_of_several_all_must_hold(
    words: tuple[str, ...], held: bool
) -> None:
    assert matches.parse(list(words)).hold(incident(A="1", B="2")) == held


def test_both_ends_of_the_time_belong_to_it() -> None:
    assert Matches(since=100, until=100).hold(incident(100))
    assert not Matches(since=101).hold(incident(100))
    assert not Matches(until=99).hold(incident(100))


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be before"):
        matches.parse([], since=2, until=1)


@pytest.mark.parametrize(
    ("data", "held"),
    [
        (elfcore.core(), True),
        (elfcore.core(bits=32), True),
        (elfcore.core(order=">"), True),
        (elfcore.core(kind=2), False),
        (elfcore.core(kind=3), False),
        (b"\x28\xb5\x2f\xfdxxxx", True),
        (b"\x50\x2a\x4d\x18xxxx", True),
        (b"#!/bin/sh", False),
        (b"\x7fELF", False),
        (b"", False),
    ],
    ids=[
        "core",
        "32 bits",
        "big-endian",
        "program",
        "library",
        "zstd",
        "skippable",
        "script",
        "cut",
        "empty",
    ],
)
def test_an_archive_is_known_by_its_beginning(tmp_path: pathlib.Path, data: bytes, held: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert matches.is_archive(os.fspath(path)) == held


def test_what_is_no_file_is_no_archive_and_blocks_nobody(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for word in (tmp_path / "fifo", tmp_path, tmp_path / "none", "/a\0b", "/dev/tty"):
        assert not matches.is_archive(os.fspath(word))


def test_a_file_beside_us_is_taken_for_an_archive_only_by_its_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nginx", "core", "x.zst"):
        (tmp_path / name).write_bytes(elfcore.core())
    assert [matches.is_archive(name) for name in ("nginx", "./nginx", "core", "x.zst")] == [
        False, True, True, True,
    ]  # fmt: skip
