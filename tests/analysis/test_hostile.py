"""Damaged files, stacks and names: an answer or one of our errors, soon."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FUZZ = pathlib.Path(__file__).parent / "fuzz"
sys.path.insert(0, os.fspath(FUZZ))
import targets  # noqa: E402 - stands beside the fuzzer's own start

EXAMPLES = 150
CORPUS = sorted(path for path in (FUZZ / "corpus").iterdir() if path.is_file() and "-" in path.name)


@pytest.mark.parametrize("target", targets.TARGETS)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400))
def test_any_bytes(target: str, data: bytes) -> None:
    targets.run(target, data)


HOT = [
    *range(0, 0x100, 4),
    *range(0x2000, 0x2090),
    *range(0x2800, 0x2824),
    *range(0x3000, 0x3060, 3),
    *range(0x3D00, 0x3E80, 4),
]


@settings(
    max_examples=2 * EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(
    head=st.binary(min_size=4, max_size=4),
    changes=st.lists(st.tuples(st.sampled_from(HOT), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_changed_bytes_where_they_matter(head: bytes, changes: list[tuple[int, bytes]]) -> None:
    data = b"".join(place.to_bytes(2, "little") + bytes([len(new)]) + new for place, new in changes)
    targets.run("backtrace", head[:1] + b"\xff" + head[2:] + data)


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_what_fuzzing_found_once(path: pathlib.Path) -> None:
    targets.run(path.name.split("-", 1)[0], path.read_bytes())


def seeds() -> Iterator[tuple[str, bytes]]:
    """What the fuzzer came far with: length and name of the target, length and bytes of the input, all in one file."""
    data = zstandard.decompress((FUZZ / "corpus" / "seeds.zst").read_bytes())
    at = 0
    while at < len(data):
        name = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + data[at]
        size = int.from_bytes(data[at : at + 4], "little")
        yield name, data[at + 4 : at + 4 + size]
        at += 4 + size


@pytest.mark.parametrize("target", targets.TARGETS)
def test_what_the_fuzzer_came_far_with(target: str) -> None:
    for name, data in seeds():
        if name == target:
            targets.run(target, data)


def test_the_untouched_process_has_a_backtrace() -> None:
    targets.run("backtrace", b"\0\xff\x04\0")
