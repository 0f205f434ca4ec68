from __future__ import annotations

import struct
from collections.abc import Callable

import elfcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import corefile, linkmap
from pycoredump.corefile import Layout

Read = Callable[[int, int], bytes]


def reading(parts: dict[int, bytes]) -> Read:
    def read(address: int, size: int) -> bytes:
        for start, data in parts.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    return read


def process_reader(process: elfcore.Process) -> Read:
    return reading({segment.start: segment.data for segment in process.segments if segment.data})


def layout(vector: dict[int, int] | None = None) -> Layout:
    return corefile.parse(elfcore.core(vector={3: 0x400040, 5: 2} if vector is None else vector))


def headers(dynamic: int = 0x500000, size: int = 0x100) -> bytes:
    rows = ((6, 0x400040, 112), (2, dynamic, size))
    return b"".join(
        elfcore.program_header(kind, 4, 0, vaddr, length, length, bits=64, order="<")
        for kind, vaddr, length in rows
    )


def test_everything_that_leads_to_the_modules_is_named() -> None:
    process = elfcore.linux_process()
    found = list(linkmap.ranges(corefile.parse(process.core()), process_reader(process)))
    assert found == [
        (0x400040, 168),  # program headers
        (0x420000, 32),  # dynamic section
        (0x7F0000200020, 48),  # r_debug
        (0x7F0000200100, 40),  # link_map of the program, which has no name
        (0x420000, 512),
        (0x7F0000200140, 40),  # of the library
        (0x7F0000200800, 256),
        (0x7F0000200900, 512),
    ]


def test_a_position_independent_programs_dynamic_section_is_moved_with_it() -> None:
    vector = {3: 0x555500000040, 5: 2}
    rows = elfcore.program_header(6, 4, 64, 0x40, 112, 112, bits=64, order="<")
    rows += elfcore.program_header(2, 4, 0, 0x3000, 0x100, 0x100, bits=64, order="<")
    found = list(linkmap.ranges(layout(vector), reading({0x555500000040: rows})))
    assert found == [(0x555500000040, 112), (0x555500003000, 0x100)]


def test_the_list_of_a_32_bit_big_endian_program_is_followed() -> None:
    core = elfcore.core(bits=32, order=">", machine=8, vector={3: 0x400034, 5: 2})
    rows = elfcore.program_header(6, 4, 52, 0x400034, 64, 64, bits=32, order=">")
    rows += elfcore.program_header(2, 4, 0, 0x500000, 16, 16, bits=32, order=">")
    read = reading({
        0x400034: rows,
        0x500000: struct.pack(">4I", 21, 0x600000, 0, 0),
        0x600000: struct.pack(">6I", 1, 0x700000, 0, 0, 0, 0),
        0x700000: struct.pack(">5I", 0, 0x800000, 0x500000, 0, 0),
    })  # fmt: skip
    assert list(linkmap.ranges(corefile.parse(core), read)) == [
        (0x400034, 64), (0x500000, 16), (0x600000, 24), (0x700000, 20), (0x800000, 256), (0x500000, 512),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "vector", [{}, {3: 0x400040}, {5: 2}, {3: 0x400040, 5: 129}, {3: 0x400040, 5: 2**63}]
)
def test_without_program_headers_in_the_vector_there_is_no_list(vector: dict[int, int]) -> None:
    assert list(linkmap.ranges(layout(vector), reading({}))) == []


def test_memory_that_cannot_be_read_ends_the_list() -> None:
    assert list(linkmap.ranges(layout(), reading({}))) == [(0x400040, 112)]
    half = reading({0x400040: headers()[:100]})
    assert next(linkmap.ranges(layout(), half)) == (0x400040, 112)


def test_a_list_that_bites_its_tail_ends() -> None:
    read = reading({
        0x400040: headers(),
        0x500000: struct.pack("<2Q", 21, 0x600000),
        0x600000: struct.pack("<6Q", 2, 0x700000, 0, 0, 0, 0x600000),
        0x700000: struct.pack("<5Q", 0, 0, 0, 0x700000, 0),
    })  # fmt: skip
    assert list(linkmap.ranges(layout(), read)) == [
        (0x400040, 112), (0x500000, 0x100), (0x600000, 48), (0x700000, 40),
    ]  # fmt: skip


def test_further_namespaces_are_followed_from_version_two_on_only() -> None:
    def read(version: int) -> Read:
        return reading({
            0x400040: headers(),
            0x500000: struct.pack("<2Q", 21, 0x600000),
            0x600000: struct.pack("<6Q", version, 0, 0, 0, 0, 0x600100),
            0x600100: struct.pack("<6Q", version, 0, 0, 0, 0, 0),
        })  # fmt: skip

    assert list(linkmap.ranges(layout(), read(1)))[2:] == [(0x600000, 48)]
    assert list(linkmap.ranges(layout(), read(2)))[2:] == [(0x600000, 48), (0x600100, 48)]


def test_an_endless_list_ends() -> None:
    def read(address: int, size: int) -> bytes:
        if address == 0x400040:
            return headers()
        if address == 0x500000:
            return struct.pack("<2Q", 21, 0x600000)
        return struct.pack("<8Q", 2, address + 64, address + 128, address + 64, address, address + 64, 0, 0)[
            :size
        ]

    found = list(linkmap.ranges(layout(), read))
    assert len(found) <= 2 + 16 * (1 + 3 * 4096)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=300))
def test_any_memory_gives_ranges_and_ends(data: bytes) -> None:
    def read(address: int, size: int) -> bytes:
        at = address % len(data)
        return (data[at:] + data * (size // len(data) + 1))[:size]

    for vector in ({3: 0x400040, 5: 3}, {3: 2**64 - 1, 5: 128}):
        for start, size in linkmap.ranges(layout(vector), read):
            assert 0 <= start < 2**64
            assert 0 <= size <= 65536
