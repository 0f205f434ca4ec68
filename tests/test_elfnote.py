from __future__ import annotations

import struct

import elfcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import elfnote
from pycoredump.elfnote import Abi, MappedFile, Note, ProcessInfo, SignalInfo

X86_64 = Abi(word=8, order="<", machine=62)
I386 = Abi(word=4, order="<", machine=3)
ARM64 = Abi(word=8, order="<", machine=183)
S390X = Abi(word=8, order=">", machine=22)
ABIS = [X86_64, I386, ARM64, S390X]
any_abi = st.sampled_from(ABIS)


def test_notes_are_read_one_behind_the_other() -> None:
    data = elfcore.note(1, b"abc") + elfcore.note(6, b"defgh", name=b"LINUX")
    assert list(elfnote.notes(data, X86_64)) == [
        Note(name=b"CORE", type=1, data=b"abc"),
        Note(name=b"LINUX", type=6, data=b"defgh"),
    ]


@pytest.mark.parametrize("left", [1, 11, 12, 16, 20, 22])
def test_a_note_that_is_not_whole_ends_the_reading(left: int) -> None:
    whole = elfcore.note(1, b"abc")
    found = list(elfnote.notes(whole + elfcore.note(6, b"def")[:left], X86_64))
    assert found == [Note(name=b"CORE", type=1, data=b"abc")]


def test_a_note_without_name_and_contents_is_a_note() -> None:
    assert list(elfnote.notes(bytes(12), X86_64)) == [Note(name=b"", type=0, data=b"")]


@given(st.binary(max_size=300), any_abi)
def test_any_bytes_are_some_notes_and_end(data: bytes, abi: Abi) -> None:
    assert len(list(elfnote.notes(data, abi))) <= len(data) // 12


@given(
    st.binary(max_size=20).filter(lambda name: not name.endswith(b"\0")),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=40),
    any_abi,
)
def test_what_pack_writes_notes_reads_back(name: bytes, kind: int, data: bytes, abi: Abi) -> None:
    note = Note(name=name, type=kind, data=data)
    packed = elfnote.pack(note, abi)
    assert len(packed) % 4 == 0
    assert list(elfnote.notes(packed + packed, abi)) == [note, note]


@pytest.mark.parametrize("abi", [X86_64, I386, ARM64], ids=["x86-64", "x86", "arm64"])
def test_a_threads_counter_and_stack_pointer_are_found(abi: Abi) -> None:
    thread = elfcore.Thread(tid=77, signal=6, pc=0x1234, sp=0x5678, tls=0x9AB0)
    data = elfcore.prstatus(thread, bits=abi.word * 8, machine=abi.machine)
    found = elfnote.thread(data, abi)
    assert found is not None
    assert (found.tid, found.signal, found.pc, found.sp) == (77, 6, 0x1234, 0x5678)
    assert found.tls == (0x9AB0 if abi is X86_64 else 0)


def test_the_sizes_of_the_notes_are_those_of_the_kernels_structures() -> None:
    assert len(elfcore.prstatus(elfcore.Thread())) == 336
    assert len(elfcore.prstatus(elfcore.Thread(), bits=32, machine=3)) == 144
    assert len(elfcore.prstatus(elfcore.Thread(), machine=183)) == 392
    assert len(elfcore.prpsinfo(b"", b"")) == 136
    assert len(elfcore.prpsinfo(b"", b"", bits=32)) == 124


def test_a_thread_of_a_machine_we_do_not_know_has_no_registers() -> None:
    data = elfcore.prstatus(elfcore.Thread(tid=77, signal=11), order=">", machine=22)
    found = elfnote.thread(data, S390X)
    assert found == elfnote.Thread(tid=77, signal=11, registers=b"")


@pytest.mark.parametrize(("size", "known"), [(0, False), (111, False), (112, True), (327, True)])
def test_a_status_that_is_too_short_has_no_registers_or_is_none(size: int, known: bool) -> None:
    found = elfnote.thread(elfcore.prstatus(elfcore.Thread(tid=77, pc=5))[:size], X86_64)
    assert (found is not None) is known
    assert found is None or (found.tid, found.registers, found.pc) == (77, b"", 0)


@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (64, ">"), (32, "<"), (32, ">")])
def test_the_fault_address_is_found_in_siginfo(bits: int, order: str) -> None:
    union = elfcore.pointer(0xDEADBEE8, bits=bits, order=order)
    data = elfcore.siginfo(elfcore.Siginfo(11, 0, 2, union), bits=bits, order=order)
    found = elfnote.signal_info(data, Abi(word=bits // 8, order=order, machine=62))
    assert found is not None
    assert (found.signal, found.errno, found.code, found.address) == (11, 0, 2, 0xDEADBEE8)


def test_the_sender_is_found_in_siginfo() -> None:
    data = elfcore.siginfo(elfcore.Siginfo(6, 0, -6, struct.pack("<iI", 4242, 1000)))
    found = elfnote.signal_info(data, X86_64)
    assert found is not None
    assert (found.code, found.pid, found.uid) == (-6, 4242, 1000)


def test_the_refused_system_call_is_found_in_siginfo() -> None:
    union = struct.pack("<QiI", 0x7F0000001000, 999, 0xC000003E)
    found = elfnote.signal_info(elfcore.siginfo(elfcore.Siginfo(31, 0, 1, union)), X86_64)
    assert found == SignalInfo(
        signal=31,
        errno=0,
        code=1,
        address=0x7F0000001000,
        pid=0x1000,
        uid=0x7F00,
        syscall=999,
        arch=0xC000003E,
    )


@given(st.binary(max_size=40), any_abi)
def test_any_bytes_are_a_siginfo_or_none(data: bytes, abi: Abi) -> None:
    found = elfnote.signal_info(data, abi)
    assert (found is None) == (len(data) < (32 if abi.word == 8 else 28))


@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (64, ">"), (32, "<"), (32, ">")])
def test_the_auxiliary_vector_is_read_to_its_end(bits: int, order: str) -> None:
    data = elfcore.auxv({23: 0, 11: 1000}, bits=bits, order=order)
    abi = Abi(word=bits // 8, order=order, machine=62)
    assert elfnote.auxiliary_vector(data + data[:1], abi) == {23: 0, 11: 1000}


def test_half_an_auxiliary_vector_is_none() -> None:
    assert elfnote.auxiliary_vector(elfcore.auxv({23: 0, 11: 1000}, end=False), X86_64) is None
    assert elfnote.auxiliary_vector(elfcore.auxv({23: 0})[:-1], X86_64) is None
    assert elfnote.auxiliary_vector(b"", X86_64) is None


def test_what_stands_behind_the_end_of_the_vector_does_not_count() -> None:
    data = elfcore.auxv({23: 1}) + elfcore.auxv({23: 0})
    assert elfnote.auxiliary_vector(data, X86_64) == {23: 1}


@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (32, ">")])
def test_mapped_files_have_their_offset_in_bytes(bits: int, order: str) -> None:
    files = [
        elfcore.File(0x400000, 0x401000, 0, b"/bin/a b"),
        elfcore.File(0x402000, 0x404000, 2, b"/lib/\xff\n"),
    ]
    abi = Abi(word=bits // 8, order=order, machine=62)
    assert elfnote.mapped_files(elfcore.nt_file(files, bits=bits, order=order), abi) == (
        MappedFile(start=0x400000, end=0x401000, offset=0, path=b"/bin/a b"),
        MappedFile(start=0x402000, end=0x404000, offset=8192, path=b"/lib/\xff\n"),
    )


def test_files_whose_names_are_missing_are_left_out() -> None:
    data = elfcore.nt_file([elfcore.File(1, 2, 0, b"/a"), elfcore.File(3, 4, 0, b"/b")])
    assert len(elfnote.mapped_files(data[:-6], X86_64)) == 1


@pytest.mark.parametrize("count", [3, 1 << 18, 2**64 - 1, 2**63])
def test_a_count_of_files_that_does_not_fit_gives_none(count: int) -> None:
    data = struct.pack("<2Q", count, 4096) + bytes(48)
    assert elfnote.mapped_files(data, X86_64) == ()


@given(st.binary(max_size=200), any_abi)
def test_any_bytes_are_some_mapped_files(data: bytes, abi: Abi) -> None:
    assert len(elfnote.mapped_files(data, abi)) <= len(data)


@pytest.mark.parametrize("bits", [64, 32])
def test_comm_and_arguments_stand_at_the_end_of_prpsinfo(bits: int) -> None:
    found = elfnote.process_info(elfcore.prpsinfo(b"prog", b"prog -x ", bits=bits))
    assert found == ProcessInfo(comm=b"prog", arguments=b"prog -x")


def test_a_comm_of_sixteen_bytes_without_end_is_kept() -> None:
    assert elfnote.process_info(b"a" * 16 + b"b" * 80) == ProcessInfo(comm=b"a" * 16, arguments=b"b" * 80)
    assert elfnote.process_info(b"a" * 95) is None
