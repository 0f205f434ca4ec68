from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable

import elfcore
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pycoredump import corefile
from pycoredump.corefile import Layout, TruncatedCore
from pycoredump.errors import CoreError

ONE = elfcore.Segment(0x400000, elfcore.contents(8192), 0x4000)


def test_a_core_tells_its_layout() -> None:
    process = elfcore.linux_process()
    core = process.core()
    found = corefile.parse(core)
    assert found.abi.word == 8
    assert found.abi.order == "<"
    assert found.abi.machine == 62
    assert [thread.tid for thread in found.threads] == [4712, 4711]
    assert [(s.vaddr, s.filesz, s.memsz, s.flags) for s in found.segments] == [
        (s.start, len(s.data), s.size or len(s.data), s.flags) for s in process.segments
    ]
    assert all(
        core[s.offset : s.offset + s.filesz] == own.data
        for s, own in zip(found.segments, process.segments, strict=True)
    )
    assert found.size == len(core)
    assert found.signal is not None
    assert found.signal.address == elfcore.BSS + 16
    assert found.auxv[23] == 0
    assert found.auxv_raw == elfcore.auxv(process.vector)
    assert [file.path for file in found.files][:2] == [b"/usr/bin/prog", b"/usr/bin/prog"]
    assert found.process is not None
    assert found.process.comm == b"prog"


@pytest.mark.parametrize(
    ("bits", "order", "machine"),
    [
        (64, "<", 62),
        (64, ">", 22),
        (32, "<", 3),
        (32, ">", 8),
        (64, "<", 183),
        (32, "<", 40),
        (32, "<", 62),
        (64, "<", 999),
    ],
    ids=["x86-64", "s390x", "x86", "mips", "arm64", "arm", "x32", "unknown"],
)
def test_cores_of_every_class_and_byte_order_are_read(bits: int, order: str, machine: int) -> None:
    core = elfcore.core(bits=bits, order=order, machine=machine, segments=[ONE], threads=[elfcore.Thread(tid=9), elfcore.Thread(tid=8)],
                        vector={23: 1}, files=[elfcore.File(0x400000, 0x401000, 1, b"/x")])  # fmt: skip
    found = corefile.parse(core)
    assert (found.abi.word * 8, found.abi.order, found.abi.machine) == (bits, order, machine)
    assert [(s.vaddr, s.filesz, s.memsz, s.flags) for s in found.segments] == [(0x400000, 8192, 0x4000, 6)]
    assert [thread.tid for thread in found.threads] == [9, 8]
    assert found.auxv == {23: 1}
    assert found.files[0].offset == 4096
    assert found.size == len(core)


def test_the_thread_pointer_of_arm64_is_that_of_the_thread_before_its_note() -> None:
    threads = [elfcore.Thread(tid=1, tls=0x1000), elfcore.Thread(tid=2, tls=0x2000)]
    found = corefile.parse(elfcore.core(machine=183, threads=threads))
    assert [thread.tls for thread in found.threads] == [0x1000, 0x2000]


def test_not_one_byte_behind_the_notes_is_read() -> None:
    core = elfcore.linux_process().core()
    reader, writer = os.pipe()
    os.write(writer, core[:16384])
    found = corefile.scan(corefile.reader(lambda size: os.read(reader, size)))
    rest = os.read(reader, 65536)
    assert found.head == core[: len(found.head)]
    assert found.head + rest == core[:16384]
    assert found.head.endswith(found.notes)
    os.close(reader)
    os.close(writer)


def test_a_stream_that_gives_one_byte_at_a_time_is_read_whole() -> None:
    core = elfcore.core(segments=[ONE])
    at = 0

    def one(_size: int) -> bytes:
        nonlocal at
        at += 1
        return core[at - 1 : at]

    assert corefile.scan(corefile.reader(one)) == corefile.parse(core)


def test_more_segments_than_fit_the_header_are_read() -> None:
    # PN_XNUM: their number stands in a section header at the end of the stream.
    segments = [elfcore.Segment(0x10000 + i * 8192, b"", 4096) for i in range(65600)]
    segments[-1].data = elfcore.contents(4096)
    core = elfcore.core(segments=segments)
    found = corefile.parse(core)
    assert len(found.segments) == 65600
    assert found.segments[-1].filesz == 4096
    assert found.size == len(core)
    assert found.threads[0].tid == 4711


@pytest.mark.parametrize("bits", [64, 32])
def test_as_many_segments_as_just_fit_the_header_are_read(bits: int) -> None:
    segments = [elfcore.Segment(0x10000 + i * 4096, b"", 4096) for i in range(65533)]
    core = elfcore.core(segments=segments, bits=bits)
    found = corefile.parse(core)
    assert (len(found.segments), found.size) == (65533, len(core))


def test_without_notes_there_is_still_a_layout() -> None:
    found = corefile.parse(elfcore.core(segments=[ONE], notes=b""))
    assert (len(found.segments), found.threads, found.auxv, found.files) == (1, (), {}, ())


def test_half_an_auxiliary_vector_is_an_empty_one() -> None:
    notes = elfcore.note(6, elfcore.auxv({23: 0, 11: 1}, end=False))
    found = corefile.parse(elfcore.core(notes=notes))
    assert found.auxv == {}


def test_a_core_without_program_headers_is_a_layout_without_segments() -> None:
    found = corefile.parse(elfcore.header(bits=64, order="<", machine=62, phnum=0))
    assert (found.segments, found.size) == ((), 64)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63])
def test_a_stream_that_ends_in_its_header_says_so_and_keeps_what_came(size: int) -> None:
    core = elfcore.core(segments=[ONE])
    with pytest.raises(TruncatedCore, match=f"ends in its ELF header, after {size} bytes") as caught:
        corefile.parse(core[:size])
    assert caught.value.head == core[:size]


@pytest.mark.parametrize("size", [64, 65, 119, 120, 175])
def test_a_stream_that_ends_in_its_program_headers_says_so_and_keeps_what_came(size: int) -> None:
    core = elfcore.core(segments=[ONE])
    with pytest.raises(TruncatedCore, match="ends in its program headers") as caught:
        corefile.parse(core[:size])
    assert caught.value.head == core[:size]


def test_a_stream_that_ends_in_its_notes_has_the_threads_that_came() -> None:
    core = elfcore.core(threads=[elfcore.Thread(tid=i) for i in range(1, 10)])
    found = corefile.parse(core[:3000])
    assert [thread.tid for thread in found.threads] == [1, 2, 3]
    assert len(found.head) == 3000


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x03\x01" + bytes(60),
        b"\x7fELF\x02\x03" + bytes(60),
        b"#!/bin/sh\nexit 0 and more",
        bytes(64),
    ],
    ids=["class", "order", "script", "zeros"],
)
def test_what_is_no_elf_file_is_told_by_its_first_bytes(data: bytes) -> None:
    with pytest.raises(TruncatedCore, match="which is not an ELF file") as caught:
        corefile.parse(data)
    assert caught.value.head == data[: len(caught.value.head)]


def test_an_executable_is_not_a_core() -> None:
    with pytest.raises(TruncatedCore, match="is not an ELF core as the kernel writes it"):
        corefile.parse(elfcore.core(kind=2))


def test_a_core_whose_program_headers_are_elsewhere_is_not_the_kernels() -> None:
    core = bytearray(elfcore.core())
    struct.pack_into("<Q", core, 32, 128)
    with pytest.raises(TruncatedCore, match="is not an ELF core as the kernel writes it"):
        corefile.parse(bytes(core))


def reading(front: bytes) -> Callable[[int], bytes]:
    """A stream of `front` and then some zeros."""
    data = io.BytesIO(front + bytes(65536))
    return data.read


def extended(offset: int, filesz: int) -> bytes:
    front = elfcore.header(bits=64, order="<", machine=62, phnum=0xFFFF)
    return front + elfcore.program_header(4, 0, offset, 0, filesz, 0, bits=64, order="<")


def test_a_claim_of_too_many_program_headers_is_refused_before_they_are_read() -> None:
    with pytest.raises(CoreError, match="claims 1048577 program headers"):
        corefile.scan(reading(extended(64 + 1048577 * 56, 0)))


@pytest.mark.parametrize("offset", [0, 1, 63, 2**64 - 1])
def test_a_notes_offset_that_makes_no_sense_is_a_core_error_or_a_layout(offset: int) -> None:
    with contextlib.suppress(CoreError):
        corefile.scan(reading(extended(offset, 100)))


@pytest.mark.parametrize(
    ("offset", "filesz"),
    [(120, 2**63), (2**62, 2**62), (120, 2**64 - 1), (2**64 - 1, 2**64 - 1)],
)
def test_notes_that_claim_more_than_fits_are_read_to_the_cap(offset: int, filesz: int) -> None:
    front = elfcore.header(bits=64, order="<", machine=62, phnum=1)
    front += elfcore.program_header(4, 0, offset, 0, filesz, 0, bits=64, order="<")
    asked: list[int] = []
    whole = reading(front)

    def read(size: int) -> bytes:
        asked.append(size)
        return whole(size)

    found = corefile.scan(read)
    assert bytes(found.head).startswith(front)
    assert max(asked) <= 48 << 20


def whole(data: bytes) -> Layout | None:
    try:
        return corefile.parse(data)
    except CoreError:
        return None


VALID = elfcore.core(
    segments=[ONE], vector={3: 0x400040, 23: 0}, signal=elfcore.Siginfo(), files=[elfcore.File(0x400000, 0x402000, 0, b"/x")]
)  # fmt: skip
VALID_32 = elfcore.core(bits=32, order=">", segments=[ONE], vector={3: 0x400040}, files=[])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_layout_or_a_core_error(data: bytes) -> None:
    whole(data)


@given(st.binary(max_size=400), st.sampled_from([1, 2]), st.sampled_from([1, 2]))
def test_any_bytes_behind_the_mark_of_an_elf_file_are_a_layout_or_a_core_error(
    data: bytes, word: int, order: int
) -> None:
    whole(b"\x7fELF" + bytes([word, order]) + data)


mutations = st.lists(
    st.tuples(st.integers(0, 1500), st.sampled_from([0, 1, 4, 0x7F, 0x80, 0xFF])), min_size=1, max_size=12
)


@settings(max_examples=300)
@given(st.sampled_from([VALID, VALID_32]), mutations, st.integers(0, 20000))
@example(VALID, [(56, 0xFF), (57, 0xFF)], 20000)
def test_any_change_of_a_core_gives_a_layout_or_a_core_error(
    core: bytes, changes: list[tuple[int, int]], size: int
) -> None:
    data = bytearray(core[:size])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    found = whole(bytes(data))
    if found is not None:
        assert bytes(data).startswith(found.head)
        assert found.size >= len(found.head)


@settings(max_examples=100)
@given(st.sampled_from([VALID, VALID_32]), st.integers(0, 250), st.binary(min_size=8, max_size=8))
def test_any_number_in_the_headers_gives_a_layout_or_a_core_error(core: bytes, at: int, word: bytes) -> None:
    whole(core[:at] + word + core[at + 8 :])


@pytest.mark.parametrize("lost", [0, 1, 1 << 20])
def test_notes_of_megabytes_are_held_as_they_came(lost: int) -> None:
    """NT_X86_XSTATE of thousands of threads, on a processor with large registers."""
    data = elfcore.core(more_notes=elfcore.note(0x202, bytes(range(256)) * (12 << 10)))
    whole = corefile.parse(data)
    came = data[: len(whole.head) - lost]
    found = corefile.parse(came)
    assert bytes(found.head) == came[: len(whole.head)]
    assert found.whole is (lost == 0)
    assert found.threads == whole.threads
    assert found.process == whole.process
