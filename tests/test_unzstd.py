"""Frames back to data, whatever library is there, and frames that lie."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import elfcore
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import unzstd, zstd
from pycoredump.errors import ArchiveError
from pycoredump.reader import Archive

ROOT = pathlib.Path(__file__).parents[1]
DATA = elfcore.contents(300_000)
SIZES = [0, 1, 255, 256, 257, 65_535, 65_536, 65_792, 300_000]


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zstandard", "zstandard.backend_c"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("checksum", [False, True])
def test_the_size_is_what_the_library_reads(size: int, checksum: bool) -> None:
    frame = zstandard.ZstdCompressor(write_checksum=checksum).compress(DATA[:size])

    assert unzstd.content_size(frame) == zstandard.frame_content_size(frame) == size
    assert unzstd.content_size(zstd.raw(DATA[:size])) == size


def test_a_frame_without_a_size_and_what_is_no_frame_say_so() -> None:
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(DATA)

    assert [
        unzstd.content_size(some) for some in (stream, b"", b"\x7fELF\0\0\0", zstd.MAGIC, zstd.HEADER)
    ] == [-1] * 5


@pytest.mark.parametrize("size", [0, 1, zstd.BLOCK, zstd.BLOCK + 1, 300_000])
@pytest.mark.usefixtures("no_library")
def test_what_was_written_by_hand_is_read_by_hand(size: int) -> None:
    assert unzstd.data(zstd.raw(DATA[:size]), size) == DATA[:size]
    assert unzstd.data(zstd.raw(bytes(size)), size) == bytes(size)


@pytest.mark.usefixtures("no_library")
def test_without_any_library_a_compressed_frame_is_a_reason_and_a_hint() -> None:
    frame = b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00abcde"
    if sys.version_info < (3, 14):
        with pytest.raises(ArchiveError, match="python3-zstandard cannot be used"):
            unzstd.data(frame, 5)
    else:
        assert unzstd.data(frame, 5) == b"abcde"


@settings(max_examples=300, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"", b"a", bytes(zstd.BLOCK), b"b" * 70_000]), max_size=4).map(b"".join),
    at=st.integers(0, 40),
    byte=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_by_hand_never_says_more_than_the_library(data: bytes, at: int, byte: int, cut: int) -> None:
    frame = bytearray(zstd.raw(data))
    frame[at % len(frame)] = byte
    damaged = bytes(frame[: len(frame) - cut])

    found = unzstd.by_hand(damaged, len(data))

    if found is not None:
        assert found == zstandard.ZstdDecompressor().decompress(damaged, max_output_size=len(data) + 1)


@pytest.mark.parametrize("damage", [b"", zstd.MAGIC, zstd.raw(DATA)[:-1], zstandard.compress(DATA)[:-9]])
def test_damage_is_named(damage: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        unzstd.data(damage, len(DATA))


def test_an_archive_written_without_a_library_is_read_without_one(tmp_path: pathlib.Path) -> None:
    """As after an upgrade of Python: its metadata and its core are there for the analysis and the tools."""
    from pycoredump import metadata
    from pycoredump.archive import METADATA_TAG

    core = elfcore.core(segments=[elfcore.Segment(start=0x1000, data=DATA[:8192])])
    fields = METADATA_TAG + zstd.raw(metadata.to_json({"COREDUMP_COMM": b"prog"}))
    tail = zstd.skippable(zstd.METADATA, fields)
    file = zstd.raw(core) + tail
    path = tmp_path / "core.zst"
    path.write_bytes(file + zstd.seek_table([(len(zstd.raw(core)), len(core)), (len(tail), 0)]))
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom pycoredump import zstd\nzstd.PACKAGES = '/nowhere'\n"
    code += "from pycoredump.reader import Archive\narchive = Archive(0)\n"
    code += "print(archive.fields, len(archive.read(0, 1 << 20)))"

    with path.open("rb") as archive:
        shown = subprocess.run(
            ["/usr/bin/python3", "-ISc", code, os.fspath(ROOT)],
            stdin=archive,
            capture_output=True,
            text=True,
        )
        assert Archive(archive.fileno()).fields == {"COREDUMP_COMM": "prog"}

    assert shown.stderr == ""
    assert shown.stdout == f"{{'COREDUMP_COMM': 'prog'}} {len(core)}\n"
