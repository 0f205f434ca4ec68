from __future__ import annotations

import fcntl
import os
import pathlib
from collections.abc import Iterator

import elfcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import sink
from pycoredump.sink import BLOCK, STAGE, Sink


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    found = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield found
    os.close(found)


def contents(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@pytest.mark.parametrize("sizes", [[], [1], [BLOCK], [STAGE], [STAGE - 1, 2], [STAGE + 5, STAGE * 2, 3]])
def test_what_was_appended_is_in_the_file_after_settling(fd: int, sizes: list[int]) -> None:
    parts = [elfcore.contents(size, seed) for seed, size in enumerate(sizes)]
    taker = Sink(fd)
    for part in parts:
        taker.append(part)
    taker.settle()
    assert contents(fd) == b"".join(parts)
    assert taker.end == taker.flushed == sum(sizes)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 20000), st.just(None)), max_size=20))
def test_settling_in_between_changes_nothing(steps: list[int | None]) -> None:
    fd = os.memfd_create("file")
    taker, whole = Sink(fd), b""
    for seed, step in enumerate(steps):
        if step is None:
            taker.settle()
            assert contents(fd) == whole
        else:
            taker.append(elfcore.contents(step, seed))
            whole += elfcore.contents(step, seed)
    taker.settle()
    assert contents(fd) == whole
    os.close(fd)


def test_after_a_reset_it_goes_on_from_there(fd: int) -> None:
    taker = Sink(fd)
    taker.append(elfcore.contents(STAGE + 100))
    taker.reset(1000)
    assert os.fstat(fd).st_size == taker.end == 1000
    taker.append(b"more")
    taker.settle()
    assert contents(fd) == elfcore.contents(1000) + b"more"


def test_the_page_cache_is_used_again_for_what_is_not_aligned(fd: int) -> None:
    taker = Sink(fd)
    taker.append(bytes(STAGE) + b"x")
    taker.settle()
    assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT


def test_a_file_system_that_knows_no_direct_writes_gets_the_usual_ones() -> None:
    fd = os.memfd_create("file")  # tmpfs
    taker = Sink(fd)
    data = elfcore.contents(2 * STAGE + 3)
    taker.append(data)
    taker.settle()
    assert contents(fd) == data
    os.close(fd)


class Refusing:
    """pwrite(2) of a file system that takes direct writes of some sizes only, or a few bytes at a time."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        self.pwrite = os.pwrite

    def __call__(self, fd: int, data: memoryview, at: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return self.pwrite(fd, data[: self.most], at)


@pytest.mark.parametrize("most", [1 << 20, 12345])
def test_direct_writes_that_are_refused_and_short_ones_are_made_up_for(
    fd: int, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(sink.os, "pwrite", Refusing(most=most))  # type: ignore[attr-defined]  # the kernel's answer
    data = elfcore.contents(2 * STAGE + 3)
    taker = Sink(fd)
    taker.append(data)
    taker.settle()
    assert contents(fd) == data
