"""Parts of a core by address, and the layout of cores that can only be read forward."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import elfcore
import pytest
import zstandard

from pycoredump.cli import layout, memory
from pycoredump.errors import ArgumentError, CoreError
from pycoredump.reader import Archive

LOW, HIGH = 0x10000, 0x12000  # neighbours in memory, not in the core
DATA = elfcore.contents(0x2000)


@contextmanager
def archive(data: bytes) -> Iterator[Archive]:
    fd = os.memfd_create("core")
    try:
        os.write(fd, data)
        yield Archive(fd)
    finally:
        os.close(fd)


def core(sp: int = LOW + 0x100) -> bytes:
    segments = [
        elfcore.Segment(start=HIGH, data=DATA[::-1]),
        elfcore.Segment(start=0x40000, data=DATA),
        elfcore.Segment(start=LOW, data=DATA, size=0x2000),
        elfcore.Segment(start=0x80000, size=0x4000),  # mapped, but not in the core
    ]
    whole: bytes = elfcore.core(threads=[elfcore.Thread(tid=7, sp=sp)], segments=segments)
    return whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0x10-0x20", (16, 32)),
        ("16-32", (16, 32)),
        ("0x10+0x10", (16, 32)),
        ("0xfffffffffffff000+4096", (2**64 - 4096, 2**64)),
    ],
)
def test_a_range_has_two_addresses_or_a_size(text: str, expected: tuple[int, int]) -> None:
    assert memory.addresses(text) == expected


@pytest.mark.parametrize("text", ["", "-", "1-", "0x20-0x10", "5+0", "-1-2", "x-y", "0-0x10000000000000001"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="range"):
        memory.addresses(text)


def test_a_range_goes_on_in_the_next_mapping() -> None:
    with archive(core()) as one:
        found = b"".join(memory.read(one, HIGH - 16, HIGH + 16))
    assert found == DATA[-16:] + DATA[::-1][:16]


@pytest.mark.parametrize("start", [LOW - 16, HIGH + 0x2000 - 16, 0x80000])
def test_memory_that_is_not_in_the_core_is_told_at_once(start: int) -> None:
    with archive(core()) as one, pytest.raises(CoreError, match="is not in the core"):
        memory.read(one, start, start + 32)


def test_a_stack_ends_with_its_mapping() -> None:
    with archive(core()) as one:
        assert memory.stack(one, "7") == (LOW + 0x100 - 128, HIGH)
    with archive(core(sp=LOW)) as one:
        assert memory.stack(one, "7") == (LOW, HIGH)  # nothing is below the mapping


@pytest.mark.parametrize("sp", [0, 0x80010, 0x90000])
def test_a_stack_that_is_not_in_the_core_is_told(sp: int) -> None:
    with archive(core(sp=sp)) as one, pytest.raises(CoreError, match="is not in the core"):
        memory.stack(one, "7")


@pytest.mark.parametrize("split", [1, 64, 100_000_000])
def test_a_core_without_seek_table_tells_its_layout(split: int) -> None:
    compressor = zstandard.ZstdCompressor()
    whole = core()
    stored = b"".join(
        compressor.compress(whole[at : at + split]) for at in range(0, min(len(whole), 4096), split)
    )
    if split < 100_000_000:
        stored += compressor.compress(whole[-(-4096 // split) * split :])
    with archive(stored) as one:
        assert not one.seekable
        found = layout.scan(one)
    assert [thread.tid for thread in found.threads] == [7]
    assert len(found.segments) == 4


def test_a_core_without_seek_table_gives_no_parts() -> None:
    with (
        archive(zstandard.ZstdCompressor().compress(core())) as one,
        pytest.raises(CoreError, match="seek table"),
    ):
        memory.read(one, LOW, HIGH)


def test_a_stream_that_breaks_off_is_no_core() -> None:
    with archive(zstandard.ZstdCompressor().compress(core()[:100])) as one, pytest.raises(CoreError):
        layout.scan(one)
