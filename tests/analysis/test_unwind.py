"""Stacks of built processes, where every byte is known."""

from __future__ import annotations

import struct

import pytest
from elfbuilder import STACK, TEXT, Function, build, dead, image, registers, uleb, words

from pycoredump import elfnote
from pycoredump.analysis import unwind
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import ThreadTrace
from pycoredump.analysis.source import BytesSource
from pycoredump.elfnote import MappedFile

BASE = 0x5555_0000_0000
X86, ARM = elfnote.EM_X86_64, elfnote.EM_AARCH64

# call rel32 and ret, so that what stands behind is a plausible return address
CALL = b"\xe8\0\0\0\0"
CALLER = CALL * 16
PUSHED_16 = bytes.fromhex("0e10")  # DW_CFA_def_cfa_offset 16
FIRST = b"\x07" + uleb(16)  # DW_CFA_undefined rip

FUNCTIONS = [
    Function(name="leaf", start=TEXT, size=0x40, instructions=PUSHED_16),
    Function(name="middle", start=TEXT + 0x40, size=0x40, instructions=bytes.fromhex("0e20"), code=CALLER),
    Function(name="first", start=TEXT + 0x80, size=0x40, instructions=FIRST, code=CALLER),
    Function(
        name="bare", start=TEXT + 0xC0, size=0x40, instructions=None, code=b"\x55\x48\x89\xe5" + CALLER
    ),
]


def trace(made: Image) -> ThreadTrace:
    return unwind.threads(made)[0]


def names(found: ThreadTrace) -> list[str]:
    return [frame.symbol for frame in found.frames]


def at(function: int, offset: int = 10) -> int:
    return BASE + FUNCTIONS[function].start + offset


def test_tables_lead_to_the_first_function() -> None:
    stack = words(0, at(1), 1, 2, 3, at(2), 9)
    found = trace(image(build(FUNCTIONS), BASE, stack, [registers(X86, at(0, 4), STACK)]))
    assert names(found) == ["leaf", "middle", "first"]
    assert found.end == ""
    assert [frame.guess for frame in found.frames] == [False, False, False]
    assert [frame.pc for frame in found.frames] == [at(0, 4), at(1), at(2)]
    assert found.frames[1].module_offset == TEXT + 0x40 + 10


def test_a_missing_search_table_is_made_up_for() -> None:
    stack = words(0, at(1), 1, 2, 3, at(2), 9)
    file = build(FUNCTIONS, header=False)
    assert names(trace(image(file, BASE, stack, [registers(X86, at(0, 4), STACK)]))) == [
        "leaf",
        "middle",
        "first",
    ]


def test_a_file_of_another_build_is_not_used() -> None:
    ran, other = build(FUNCTIONS), build(FUNCTIONS, build_id=b"\xcd" * 20)
    core, layout = dead(
        [(BASE, ran[:0x1000], 4), (STACK, words(0, at(1)), 6)],
        [registers(X86, at(0, 4), STACK)],
        files=(MappedFile(start=BASE, end=BASE + 0x4000, offset=0, path=b"/lib/built.so"),),
    )
    made = Image(core, layout, {b"/lib/built.so": BytesSource(other)})
    assert "another build" in made.modules[0].error
    assert made.modules[0].build_id == "ab" * 20
    found = trace(made)
    assert names(found) == [""]
    assert "another build" in found.end


def test_a_return_address_at_the_end_of_a_function_belongs_to_it() -> None:
    stack = words(0, at(1, 0x40), 1, 2, 3, at(2), 9)  # where "first" begins, but "middle" called
    found = trace(image(build(FUNCTIONS), BASE, stack, [registers(X86, at(0, 4), STACK)]))
    assert names(found) == ["leaf", "middle", "first"]


def test_a_call_through_a_bad_pointer_shows_its_caller_for_certain() -> None:
    stack = words(at(1), 1, 2, 3, at(2), 9)
    found = trace(image(build(FUNCTIONS), BASE, stack, [registers(X86, 0, STACK)]))
    assert names(found) == ["", "middle", "first"]
    assert not any(frame.guess for frame in found.frames)


def test_a_function_without_tables_is_read_from_its_prologue() -> None:
    # rbp (index 4) points to the saved rbp below the return address
    stack = words(7, STACK + 0x100, at(1), 1, 2, 3, at(2), 9)
    found = trace(image(build(FUNCTIONS), BASE, stack, [registers(X86, at(3, 9), STACK, r4=STACK + 8)]))
    assert names(found) == ["bare", "middle", "first"]
    assert [frame.guess for frame in found.frames] == [False, True, False]


def test_a_smashed_return_address_is_shown_and_the_search_marked() -> None:
    stack = words(0, 0x4141414141414141, 5, at(1), 1, 2, 3, at(2), 9)
    found = trace(image(build(FUNCTIONS), BASE, stack, [registers(X86, at(0, 4), STACK)]))
    assert [frame.pc for frame in found.frames][:2] == [at(0, 4), 0x4141414141414141]
    assert names(found)[2:] == ["middle", "first"]
    assert found.frames[2].guess


def test_a_stack_that_is_not_in_the_core_ends_the_trace_with_a_reason() -> None:
    found = trace(image(build(FUNCTIONS), BASE, b"", [registers(X86, at(0, 4), STACK)]))
    assert names(found) == ["leaf"]
    assert "not in the core" in found.end


@pytest.mark.parametrize(
    "instructions",
    [
        b"\x07\x07",
        b"\x09\x07\x30",
        b"\x10\x07\x01\x06",
        b"\x16\x10\x01\x30",
        b"\x0c\x30\x00",
        b"\x0f\x00",
        b"\x09\x10\x31",
    ],
    ids=[
        "no-sp",
        "sp-from-nowhere",
        "sp-by-empty-stack",
        "pc-is-zero",
        "cfa-from-nowhere",
        "empty-cfa",
        "pc-from-nowhere",
    ],
)
def test_rules_that_lead_nowhere_end_the_trace(instructions: bytes) -> None:
    functions = [Function(name="odd", start=TEXT, size=0x40, instructions=instructions)]
    found = trace(image(build(functions), BASE, words(1, 2, 3), [registers(X86, at(0, 4), STACK)]))
    assert names(found)[0] == "odd"
    assert len(found.frames) <= 2


def test_a_frame_that_repeats_itself_ends_the_trace() -> None:
    # "stuck": CFA = rsp + 0, return address at CFA
    stuck = [Function(name="stuck", start=TEXT, size=0x40, instructions=bytes.fromhex("0e00") + b"\x90\x00")]
    stack = words(BASE + TEXT + 4) * 4
    found = trace(image(build(stuck), BASE, stack, [registers(X86, BASE + TEXT + 4, STACK)]))
    assert len(found.frames) <= 2
    assert found.end


def test_frames_and_threads_and_time_are_bounded() -> None:
    deep = [Function(name="deep", start=TEXT, size=0x40, instructions=b"", code=CALLER)]
    stack = words(*[BASE + TEXT + 5] * 1000)
    made = image(
        build(deep), BASE, stack, [registers(X86, BASE + TEXT + 5, STACK + 8 * n) for n in range(5)]
    )
    found = unwind.threads(made, unwind.Budget(frames=10, threads=3))
    assert sum(1 + len(t.same_as) for t in found) == 3
    assert all(len(t.frames) == 10 for t in found)
    assert found[0].end == "only 10 frames are shown"
    assert made.problems == ["Of 5 threads 3 have a backtrace: the limits allow no more."]
    late = unwind.threads(made, unwind.Budget(seconds=-1.0))
    assert [len(t.frames) for t in late] == [1]
    assert late[0].end == "the time for it was up"


def test_identical_stacks_are_folded_but_the_crashing_thread_is_not() -> None:
    stack = words(0, at(1), 1, 2, 3, at(2), 9)
    threads = [registers(X86, at(0, 4), STACK)] * 4
    found = unwind.threads(image(build(FUNCTIONS), BASE, stack, threads))
    assert [(t.tid, t.same_as) for t in found] == [(100, ()), (101, (102, 103))]


def test_a_signal_frame_is_known_by_its_code_and_the_interrupted_pc_is_exact() -> None:
    restorer = bytes.fromhex("48c7c00f0000000f05")
    functions = [
        *FUNCTIONS,
        Function(name="restorer", start=TEXT + 0x100, size=9, instructions=None, code=restorer),
    ]
    # order in sigcontext: r8-r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip; the interrupted is at the
    # first byte of "leaf", where one byte less would be another function
    interrupted_sp = STACK + 0x200
    context = words(*range(15), interrupted_sp, at(0, 0))
    frame = bytes(40) + context
    stack = words(0, BASE + TEXT + 0x100) + frame
    stack = stack.ljust(0x200, b"\0") + words(0, at(1), 1, 2, 3, at(2), 9)
    found = trace(image(build(functions), BASE, stack, [registers(X86, at(0, 4), STACK)]))
    assert names(found) == ["leaf", "restorer", "leaf", "middle", "first"]
    assert [frame.signal_frame for frame in found.frames] == [False, True, False, False, False]


ARM_BL = struct.pack("<I", 0x94000000)
ARM_FUNCTIONS = [
    Function(name="leaf", start=TEXT, size=0x40),
    # CFA = sp + 32; x29 at CFA-32, x30 at CFA-24; the return address is signed
    Function(
        name="signed",
        start=TEXT + 0x40,
        size=0x40,
        instructions=bytes.fromhex("2d 0e20 9d04 9e03"),
        code=ARM_BL * 16,
    ),
    Function(name="first", start=TEXT + 0x80, size=0x40, instructions=b"\x07" + uleb(30), code=ARM_BL * 16),
]


@pytest.mark.parametrize("mask", [0, 0x007F_0000_0000_0000], ids=["no-mask", "mask"])
def test_aarch64_signed_return_addresses_are_stripped(mask: int) -> None:
    signature = 0x0055_0000_0000_0000
    stack = words(0, BASE + TEXT + 0x88 | signature, 1, 2, 3)
    values = registers(ARM, BASE + TEXT + 8, STACK, r30=BASE + TEXT + 0x48)
    core, layout = dead(
        [(BASE, build(ARM_FUNCTIONS, machine=ARM), 5), (STACK, stack, 6)],
        [values],
        machine=ARM,
        files=(MappedFile(start=BASE, end=BASE + 0x4000, offset=0, path=b"/lib/built.so"),),
        notes=struct.pack("<III8sQQ", 6, 16, 0x406, b"LINUX\0\0\0", mask, mask) if mask else b"",
    )
    found = trace(Image(core, layout))
    assert names(found) == ["leaf", "signed", "first"]
    assert [frame.pc for frame in found.frames][2] == BASE + TEXT + 0x88
    assert found.end == ""


def test_aarch64_signal_frame() -> None:
    restorer = struct.pack("<II", 0xD2801168, 0xD4000001)
    functions = [
        *ARM_FUNCTIONS,
        Function(name="restorer", start=TEXT + 0x100, size=8, instructions=None, code=restorer),
    ]
    context = words(0, *range(29), 0, BASE + TEXT + 0x48, STACK + 0x400, BASE + TEXT)
    stack = bytes(128 + 176) + context
    stack = stack.ljust(0x400, b"\0") + words(0, BASE + TEXT + 0x88, 1, 2, 3)
    values = registers(ARM, BASE + TEXT + 8, STACK, r30=BASE + TEXT + 0x100)
    file = build(functions, machine=ARM)
    found = trace(image(file, BASE, stack, [values], machine=ARM))
    assert names(found) == ["leaf", "restorer", "leaf", "signed", "first"]


def test_registers_that_are_not_in_the_core_are_a_reason() -> None:
    core, layout = dead([], [registers(X86, 0, 0)])
    broken = layout.replace(threads=(layout.threads[0].replace(registers=b""),))
    found = trace(Image(core, broken))
    assert found.frames == ()
    assert "no registers" in found.end
