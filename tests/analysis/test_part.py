"""Debug sections as they are read: plain or compressed, forwards and backwards."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from pycoredump.analysis import part
from pycoredump.analysis.elf import DECOMPRESSED_MAX
from pycoredump.analysis.part import Inflated, Plain
from pycoredump.analysis.source import BytesSource
from pycoredump.errors import CoreError

DATA = random.Random(1).randbytes(1000) * 400 + random.Random(2).randbytes(100_000)
PACKED = zlib.compress(DATA)


def inflated(packed: bytes = PACKED, size: int = len(DATA)) -> Inflated:
    return Inflated(BytesSource(b"head" + packed + b"behind"), 4, len(packed), size)


@pytest.mark.parametrize("window", [1000, 70_000, 4 << 20])
def test_a_compressed_section_reads_as_it_was_at_any_place(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "WINDOW", window)
    found = inflated()
    chance = random.Random(3)
    for _ in range(60):
        offset, size = chance.randrange(len(DATA)), chance.randrange(5000)
        assert found.some(offset, size) == DATA[offset : offset + size]
    assert found.read(0, len(DATA)) == DATA


def test_no_more_is_kept_than_two_windows_and_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "WINDOW", 64 << 10)
    found = inflated()
    for offset in range(0, len(DATA), 1000):
        found.some(offset, 1000)
        assert len(found._kept) <= 2 * part.WINDOW + 2 * part.PIECE


@pytest.mark.parametrize(
    "place", [Plain(BytesSource(DATA), 0, len(DATA)), inflated()], ids=["plain", "inflated"]
)
def test_what_is_not_in_the_section_is_an_error_and_some_of_it_less(place: part.Part) -> None:
    assert place.some(len(DATA) - 3, 10) == DATA[-3:]
    for offset, size in ((len(DATA) - 3, 4), (-1, 1), (0, -1), (1 << 70, 1)):
        with pytest.raises(CoreError):
            place.read(offset, size)
    with pytest.raises(CoreError):
        place.some(len(DATA) + 1, 1)


@pytest.mark.parametrize("packed", [PACKED[:-2000], PACKED[:100] + b"x" * 50_000, b"", struct.pack("<Q", 1)])
def test_a_damaged_one_is_an_error(packed: bytes) -> None:
    with pytest.raises(CoreError):
        inflated(packed).read(0, len(DATA))


def test_a_section_that_claims_too_much_is_not_begun() -> None:
    with pytest.raises(CoreError, match="more than"):
        inflated(size=DECOMPRESSED_MAX + 1)
