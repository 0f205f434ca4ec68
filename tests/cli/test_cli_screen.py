"""What goes to the terminal, and who else gets to speak there."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump.cli import screen
from pycoredump.cli.table import Table


@given(st.binary(max_size=200))
def test_shown_text_can_be_printed(data: bytes) -> None:
    text = screen.shown(data.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    assert text.encode().decode() == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü", "plain ü"), ("\x1b[31m", "\\x1b[31m"), ("a\nb\tc\r", "a\\nb\\tc\\r"), ("\x9b2J", "\\x9b2J"),
        ("\u202egnp", "\\u202egnp"), ("\udcff", "\\xff"), ("\U000e0041", "\\U000e0041"), ("\x7f\0", "\\x7f\\x00"),
    ],
)  # fmt: skip
def test_orders_to_the_terminal_become_text(text: str, expected: str) -> None:
    assert screen.shown(text) == expected


def test_lines_stay_where_they_are_meant() -> None:
    assert screen.shown("a\nb\x1b", lines=True) == "a\nb\\x1b"


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (24064, "23.5K"), (1025945, "1001.8K"), (1 << 20, "1.0M"), (1 << 40, "1.0T")],
)  # fmt: skip
def test_sizes_are_cut_as_systemd_cuts_them(size: int, expected: str) -> None:
    assert screen.size(size) == expected


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (
        "SYSTEMD_PAGER",
        "PAGER",
        "SYSTEMD_PAGERSECURE",
        "SUDO_UID",
        "PKEXEC_UID",
        "SYSTEMD_COLORS",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_pager_of_the_environment_is_started_without_a_shell(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("SYSTEMD_PAGERSECURE", "0")
    bare.setenv("PAGER", "cp -v 'a b'")
    assert screen.pager() == ["cp", "-v", "a b"]


@pytest.mark.parametrize("name", ["SUDO_UID", "PKEXEC_UID"])
def test_root_by_sudo_gets_less_alone_and_secure(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "1000")
    bare.setenv("PAGER", "vim -R -")
    bare.setattr(os, "geteuid", lambda: 0)
    assert screen.is_secure()
    assert screen.pager() in (["less"], [])


def test_an_empty_pager_is_none(bare: pytest.MonkeyPatch) -> None:
    for wish in ("", "cat"):
        bare.setenv("SYSTEMD_PAGER", wish)
        assert screen.pager() == []


def test_colours_follow_the_environment(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("TERM", "xterm")
    assert screen.wants_colour(tty=True)
    assert not screen.wants_colour(tty=False)
    bare.setenv("NO_COLOR", "1")
    assert not screen.wants_colour(tty=True)
    bare.setenv("SYSTEMD_COLORS", "1")
    assert screen.wants_colour(tty=False)


def test_a_table_cuts_its_elastic_column_alone() -> None:
    table = Table(("A", "PATH", "SIZE"), right=("SIZE",), elastic="PATH")
    table.add("one", "/a/long/path/indeed", "1.0K")
    lines = list(table.lines(screen.Style(colour=False), width=20))
    assert lines == ["A   PATH        SIZE", "one /a/long/pa… 1.0K"]
    assert list(table.lines(screen.Style(colour=False), legend=False)) == ["one /a/long/path/indeed 1.0K"]
