"""How `make install` knows whether the handler works."""

from __future__ import annotations

import pathlib
import socket

import pytest

from pycoredump import journal
from pycoredump.errors import PycoredumpError
from tools import proof


def test_a_socket_that_an_ended_journald_left_is_no_journald(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        assert journal.listens(str(path))

    assert path.exists()
    assert not journal.listens(str(path))


def test_no_socket_is_no_journald(tmp_path: pathlib.Path) -> None:
    assert not journal.listens(str(tmp_path / "socket"))


def test_what_others_logged_may_be_any_bytes() -> None:
    assert proof.lines("printf", r"a\377b\nc\n") == ["a\ufffdb", "c"]


def test_a_program_that_is_missing_says_nothing() -> None:
    assert proof.lines("/nowhere/dmesg") == []


@pytest.mark.parametrize(
    "begin", [b"", b"\x7fELF"[:3], b"\x28\xb5\x2f\xfd" + b"x" * 40], ids=["empty", "cut", "no-elf"]
)
def test_a_file_that_is_no_core_is_none(tmp_path: pathlib.Path, begin: bytes) -> None:
    path = tmp_path / "core"
    path.write_bytes(begin)

    with pytest.raises(PycoredumpError, match="is no core"):
        proof.check(path)
