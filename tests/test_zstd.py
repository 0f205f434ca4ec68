from __future__ import annotations

import importlib.machinery
import os
import pathlib
import subprocess
import sys
import types

import elfcore
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import zstd

ROOT = pathlib.Path(__file__).parent.parent
SIZES = [0, 1, 4095, 131071, 131072, 131073, 262144, 300000]


def decompress(frame: bytes) -> bytes:
    """By the zstd tool, which did not have our hands in it."""
    return subprocess.run(["zstd", "-dcq"], input=frame, capture_output=True, check=True).stdout


@pytest.mark.parametrize("size", SIZES)
def test_a_raw_frame_holds_its_data(size: int) -> None:
    data = elfcore.contents(size)
    assert decompress(zstd.raw(data)) == data


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_of_zeros_holds_zeros(size: int) -> None:
    assert decompress(zstd.zeros(size)) == bytes(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_fixed_frame_holds_its_data_in_a_size_that_depends_on_nothing_else(size: int) -> None:
    data = elfcore.contents(size)
    assert decompress(zstd.fixed(data)) == data
    assert decompress(zstd.fixed(bytes(size))) == bytes(size)
    assert len(zstd.fixed(data)) == len(zstd.fixed(bytes(size)))


def test_blocks_of_zeros_take_four_bytes_in_a_raw_frame() -> None:
    data = bytes(131072) + b"x" + bytes(131071) + bytes(131072)
    assert decompress(zstd.raw(data)) == data
    assert len(zstd.raw(data)) == 14 + 4 + 3 + 131072 + 4


def test_a_gibibyte_of_zeros_takes_32_kib_and_is_one_frame() -> None:
    frame = zstd.zeros(1 << 30)
    assert len(frame) == 14 + 8192 * 4
    assert zstandard.frame_content_size(frame) == 1 << 30


@given(st.lists(st.sampled_from([b"", b"a", bytes(131072), b"b" * 131072, bytes(5)]), max_size=6))
@settings(max_examples=40)
def test_frames_by_hand_are_what_the_library_reads(parts: list[bytes]) -> None:
    data = b"".join(parts)
    for frame in (zstd.raw(data), zstd.fixed(data), zstd.raw(memoryview(data))):
        plain = zstandard.ZstdDecompressor().decompress(frame, max_output_size=len(data) + 1)
        assert plain == data


@pytest.mark.parametrize("level", [-7, 1, 3, 19])
def test_frames_of_the_library_hold_their_data_with_size_and_checksum(level: int) -> None:
    compress, problem = zstd.compressor(level)
    assert problem == ""
    assert compress is not None
    data = elfcore.contents(300000)
    frame = compress(memoryview(data))
    assert decompress(frame) == data
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.has_checksum) == (300000, True)
    assert parameters.window_size <= 1 << 27


def test_frames_one_behind_the_other_are_one_file_for_every_tool() -> None:
    compress, _ = zstd.compressor(1)
    assert compress is not None
    data = elfcore.contents(1000)
    file = (
        compress(memoryview(data)) + zstd.zeros(5000) + zstd.skippable(zstd.METADATA, b"x") + zstd.raw(data)
    )
    file += zstd.seek_table([(1, 1)])
    assert decompress(file) == data + bytes(5000) + data


def test_the_seek_table_is_that_of_the_seekable_format() -> None:
    assert zstd.seek_table([(10, 20), (30, 0)]) == bytes.fromhex(
        "5e2a4d18" "19000000" "0a000000" "14000000" "1e000000" "00000000" "02000000" "00" "b1ea928f"
    )  # fmt: skip


def compressor_with(packages: pathlib.Path) -> str:
    """What a fresh interpreter without site says of the library there."""
    code = "import sys; sys.path.append(sys.argv[1]); from pycoredump import zstd; zstd.PACKAGES = sys.argv[2]; print(*zstd.compressor(1))"
    command = ["/usr/bin/python3", "-ISc", code, os.fspath(ROOT), os.fspath(packages)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_without_the_library_there_is_a_reason_instead_of_a_function(tmp_path: pathlib.Path) -> None:
    assert compressor_with(tmp_path) == (
        "None python3-zstandard cannot be used (ImportError: no zstandard for this Python): the core is not compressed\n"
    )


def test_a_library_that_does_not_load_is_a_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "zstandard").mkdir()
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        (tmp_path / f"zstandard/backend_c{suffix}").write_bytes(b"\x7fELF, but broken")
    assert compressor_with(tmp_path).startswith("None python3-zstandard cannot be used (ImportError")


def test_a_library_that_has_changed_beyond_use_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", types.ModuleType("zstandard"))
    compress, problem = zstd.compressor(1)
    assert compress is None
    assert problem.startswith("python3-zstandard cannot be used (AttributeError: ")


@pytest.mark.parametrize(
    ("block", "expected"),
    [(b"", False), (bytes(5), False), (bytes(131072), False), (bytes(131071) + b"a", True), (b"a", True)],
)
def test_any_set_finds_a_byte_that_is_not_zero(block: bytes, expected: bool) -> None:
    assert zstd.any_set(block) is expected
