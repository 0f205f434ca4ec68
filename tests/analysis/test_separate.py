"""Separate debug files are found by the build id that a module's first page tells."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator

import pytest
from elfbuilder import TEXT, Function, build
from hypothesis import given
from hypothesis import strategies as st

from pycoredump.analysis import separate
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.source import FileSource

FILE = build([Function(name="f", start=TEXT, size=0x40)], build_id=bytes.fromhex("abcdef0123"))


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    (tmp_path / "module").write_bytes(FILE)
    found = os.open(tmp_path / "module", os.O_RDONLY)
    yield found
    os.close(found)


def put(directory: pathlib.Path, name: str = "ab/cdef0123.debug") -> pathlib.Path:
    path = directory / ".build-id" / name
    path.parent.mkdir(parents=True)
    path.write_text("debug")
    return path


def opened(fd: int, *directories: pathlib.Path) -> dict[str, bytes]:
    files = separate.open_files([fd, fd], [os.fspath(directory) for directory in directories])
    contents = {name: os.pread(file, 99, 0) for name, file in files.items()}
    for file in files.values():
        os.close(file)
    return contents


def test_a_debug_file_is_opened_once(fd: int, tmp_path: pathlib.Path) -> None:
    put(tmp_path / "debug")
    assert opened(fd, tmp_path / "none", tmp_path / "debug") == {"abcdef0123": b"debug"}


def test_without_one_nothing_is_opened(fd: int, tmp_path: pathlib.Path) -> None:
    put(tmp_path / "debug", "ab/cdef01.debug")
    assert opened(fd, tmp_path / "debug") == {}


def test_only_regular_files_are_opened(fd: int, tmp_path: pathlib.Path) -> None:
    path = put(tmp_path / "debug")
    path.unlink()
    os.mkfifo(path)
    assert opened(fd, tmp_path / "debug") == {}


@pytest.mark.parametrize("program", [sys.executable, "/bin/sh"])
def test_build_ids_are_those_of_the_whole_reader(program: str) -> None:
    with open(program, "rb") as file:
        assert separate.build_id(file.fileno()) == Elf(FileSource(file.fileno())).build_id


def told(data: bytes) -> str:
    fd = os.memfd_create("module")
    try:
        os.write(fd, data)
        return separate.build_id(fd)
    finally:
        os.close(fd)


@given(
    st.lists(st.tuples(st.integers(0, 0x260), st.binary(min_size=1, max_size=8)), max_size=5),
    st.integers(0, 0x300),
)
def test_damaged_files_have_a_build_id_or_none(changes: list[tuple[int, bytes]], size: int) -> None:
    data = bytearray(FILE)
    for at, new in changes:
        data[at : at + len(new)] = new
    for text in (bytes(data), bytes(data[:size])):
        found = told(text)
        assert set(found) <= set("0123456789abcdef")
        assert len(found) <= 128


def test_a_build_id_cannot_name_another_place() -> None:
    assert separate.open_file("..", ["/etc"]) == -1
