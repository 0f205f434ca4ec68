from __future__ import annotations

import pytest

from pycoredump import elfnote
from pycoredump.analysis import signalwords, syscalls, words
from pycoredump.analysis.fault import Fault, Region
from pycoredump.crash import SIGNALS

SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS = 4, 5, 6, 7, 8, 11, 31
SIGQUIT, SIGXCPU, SIGXFSZ = 3, 24, 25
MAPERR, ACCERR, KERNEL, USER, TKILL = 1, 2, 0x80, 0, -6
R, W, X = 4, 2, 1

CODE = Region(start=0x400000, end=0x401000, flags=R | X, name="/usr/bin/prog")
DATA = Region(start=0x600000, end=0x601000, flags=R | W, name="/usr/bin/prog", offset=0x1000)
CONSTANTS = Region(start=0x500000, end=0x501000, flags=R, name="/usr/bin/prog")
HEAP = Region(start=0x700000, end=0x721000, flags=R | W, name="[heap]")
MAPPED = Region(start=0x7F0000000000, end=0x7F0000004000, flags=R | W, name="/srv/data", offset=0x1000)
STACK = Region(start=0x7FFF00000000, end=0x7FFF00800000, flags=R | W, name="[stack]")
REGIONS = (CODE, CONSTANTS, DATA, HEAP, MAPPED, STACK)

STORE = bytes.fromhex("c70001000000")  # movl $1, (%rax)
LOAD = bytes.fromhex("488b4018")  # mov 0x18(%rax), %rax
CALL_RAX = bytes.fromhex("ffd0")


def registers(**values: int) -> dict[str, int]:
    names = (
        "rax",
        "rbx",
        "rcx",
        "rdx",
        "rsi",
        "rdi",
        "rbp",
        "r8",
        "r9",
        "r10",
        "r11",
        "r12",
        "r13",
        "r14",
        "r15",
    )
    return {**dict.fromkeys(names, 0), "rsp": STACK.end - 0x1000, "fs_base": 0, "gs_base": 0, **values}


def story(
    *,
    signal: int = SIGSEGV,
    code: int | None = MAPERR,
    address: int = 0,
    instruction: bytes = b"",
    pc: int = 0x400100,
    sp: int = STACK.end - 0x1000,
    regions: tuple[Region, ...] = REGIONS,
    sizes: dict[str, int] | None = None,
    sender: tuple[int, int] = (0, 0),
    syscall: tuple[int, int] = (0, 0),
    **values: int,
) -> str:
    one = Fault(
        machine=elfnote.EM_X86_64, signal=signal, code=code, address=address, instruction=instruction, pc=pc, sp=sp, pid=4711,
        registers=registers(**values), regions=tuple(sorted(regions, key=lambda r: r.start)), sizes=sizes or {},
        sender_pid=sender[0], sender_uid=sender[1], syscall=syscall[0], arch=syscall[1],
    )  # fmt: skip
    return words.explain(one)[0]


def test_null_names_the_register() -> None:
    assert story(instruction=STORE) == "Write of 4 bytes at NULL: rax is NULL."


def test_a_field_behind_null_is_told_with_its_place() -> None:
    told = story(address=0x18, instruction=LOAD)
    assert told.startswith("Read of 8 bytes at NULL + 0x18: rax is NULL (address rax+0x18)")


def test_null_is_told_without_code_and_registers() -> None:
    assert story(address=8).startswith("Use at NULL + 0x8: a pointer is NULL")


def test_write_to_read_only_memory_names_the_file() -> None:
    told = story(code=ACCERR, address=0x500010, instruction=STORE, rax=0x500010)
    assert told == "Write of 4 bytes to read-only memory at 0x500010 (/usr/bin/prog) through rax."


def test_memory_without_rights_is_a_guard() -> None:
    guard = (*REGIONS, Region(start=0x7F1000000000, end=0x7F1000001000, flags=0))
    told = story(code=ACCERR, address=0x7F1000000008, instruction=LOAD, rax=0x7F0FFFFFFFF0, regions=guard)
    assert "memory that nobody may use" in told


def test_jump_to_data_is_not_a_read() -> None:
    told = story(code=ACCERR, address=0x700040, pc=0x700040, instruction=STORE)
    assert told.startswith("Jump to 0x700040, which is data (the heap), not code")


@pytest.mark.parametrize(("pc", "rest"), [(0, "NULL:"), (0x30, "NULL + 0x30:")])
def test_call_through_null_is_a_jump(pc: int, rest: str) -> None:
    assert story(address=pc, pc=pc).startswith(f"Jump to {rest} a function was called through a pointer")


def test_jump_to_text_shows_the_text() -> None:
    told = story(address=0x414141414141, pc=0x414141414141)
    assert '(its bytes are the text "AAAAAA")' in told


def test_stack_overflow_of_the_first_thread() -> None:
    full = STACK.start - 0x20
    assert story(address=full, sp=full, rsp=full, instruction=b"\x50").startswith(
        "Stack overflow: the stack of 8.0 MiB is full"
    )


def test_stack_overflow_into_a_guard() -> None:
    guard = Region(start=0x7E0000000000, end=0x7E0000001000, flags=0)
    stack = Region(start=0x7E0000001000, end=0x7E0000801000, flags=R | W)
    at = 0x7E0000000FF8
    told = story(
        code=ACCERR, address=at, sp=at + 8, rsp=at + 8, instruction=b"\x50", regions=(*REGIONS, guard, stack)
    )
    assert told.startswith("Stack overflow")


def test_a_wild_write_near_nothing_is_no_stack_overflow() -> None:
    told = story(address=0x1234567000, instruction=STORE, rax=0x1234567000)
    assert told == "Write of 4 bytes at 0x1234567000, where nothing is mapped through rax."


def test_an_overrun_names_what_was_overrun() -> None:
    told = story(address=HEAP.end + 8, instruction=LOAD, rax=HEAP.end - 16)
    assert told.endswith("0x8 bytes behind the end of the heap.")


def test_an_address_that_is_none_is_found_in_the_registers() -> None:
    told = story(code=KERNEL, instruction=LOAD, rax=0xDEADBEEF_DEADBEEF)
    assert told.startswith("Read of 8 bytes at 0xdeadbeefdeadbf07, which is not an address at all")
    assert "0xdeadbeef" in told


def test_text_in_a_pointer_is_shown() -> None:
    told = story(code=KERNEL, instruction=LOAD, rax=int.from_bytes(b"GET / HT", "little"))
    assert '"GET / HT"' in told


def test_return_to_an_address_that_is_none() -> None:
    told = story(code=KERNEL, instruction=b"\xc3", pc=0x400100, rsp=0x4141414141414141)
    assert "not an address at all" in told


def test_bus_error_beyond_the_end_names_file_offset_and_size() -> None:
    told = story(signal=SIGBUS, code=2, address=MAPPED.start + 0x2000, sizes={"/srv/data": 4096})
    assert told == (
        "Use of offset 12288 of the mapped file /srv/data, which has only 4096 bytes: "
        "the file was cut short while it was mapped."
    )


def test_division_by_zero_names_the_divisor() -> None:
    assert (
        story(signal=SIGFPE, code=1, instruction=bytes.fromhex("f7f9"))
        == "An integer was divided by zero (rcx = 0)."
    )


def test_division_without_room_is_not_by_zero() -> None:
    told = story(signal=SIGFPE, code=1, instruction=bytes.fromhex("f7f9"), rcx=0xFFFFFFFF)
    assert told.startswith("An integer division by rcx = 0xffffffff, whose result has no room")


@pytest.mark.parametrize(
    ("code", "told"),
    [("0f0b", "The compiler put a stop here (ud2)"), ("62f1", "A vector instruction"), ("06", "The processor does not know")],
)  # fmt: skip
def test_illegal_instruction_is_told_apart(code: str, told: str) -> None:
    assert story(signal=SIGILL, code=2, instruction=bytes.fromhex(code)).startswith(told)


def test_breakpoint() -> None:
    assert story(signal=SIGTRAP, code=KERNEL, instruction=b"\x90").startswith(
        "A breakpoint instruction (int3)"
    )


@pytest.mark.parametrize(
    ("number", "arch", "name"),
    [
        (41, syscalls.AUDIT_ARCH_X86_64, "socket (41)"),
        (198, syscalls.AUDIT_ARCH_AARCH64, "socket (198)"),
        (102, syscalls.AUDIT_ARCH_I386, "socketcall (102)"),
        (462, syscalls.AUDIT_ARCH_X86_64, "mseal (462)"),
        (999, syscalls.AUDIT_ARCH_X86_64, "number 999, which has no name here"),
    ],
)
def test_forbidden_system_calls_are_named(number: int, arch: int, name: str) -> None:
    told = story(signal=SIGSYS, code=1, syscall=(number, arch))
    assert told.startswith(f"The system call {name} is forbidden by a seccomp filter")


def test_who_sent_a_signal() -> None:
    told = story(signal=SIGQUIT, code=USER, sender=(815, 1000))
    assert told.startswith("Process 815 of user 1000 sent SIGQUIT")


def test_a_sender_in_another_namespace_has_no_number() -> None:
    assert story(signal=SIGABRT, code=USER).startswith(
        "A process outside of its process namespace of user 0 sent"
    )


def test_abort_is_its_own_doing() -> None:
    told = story(signal=SIGABRT, code=TKILL, sender=(4711, 0))
    assert told == "The program ended itself: it called abort(), directly or for a failed check."


@pytest.mark.parametrize(
    ("signal", "begin"),
    [(SIGQUIT, "It was asked to quit"), (SIGXCPU, "It has used all the processor time"), (SIGXFSZ, "It wrote a file beyond")],
)  # fmt: skip
def test_signals_of_the_kernel_are_explained(signal: int, begin: str) -> None:
    assert story(signal=signal, code=KERNEL).startswith(begin)


def test_every_signal_that_leaves_a_core_has_words() -> None:
    assert not set(SIGNALS.values()) - signalwords.SIGNALS.keys()


def test_signal_line_has_names_words_and_address() -> None:
    fault = Fault(machine=elfnote.EM_X86_64, signal=SIGSEGV, code=MAPERR, address=0x10)
    assert words.explain(fault)[1] == (
        "SIGSEGV: it used memory that is not there, or not for this use "
        "(SEGV_MAPERR: nothing is mapped at the address), address 0x10."
    )


def test_instruction_line_has_bytes_place_and_operand() -> None:
    fault = Fault(
        machine=elfnote.EM_X86_64, signal=SIGSEGV, code=MAPERR, address=0x18, pc=0x400100, sp=STACK.start,
        instruction=LOAD, registers=registers(), place="prog+0x100",
    )  # fmt: skip
    line = words.explain(fault)[2]
    assert line == "Code at 0x400100 (prog+0x100): 48 8b 40 18 (read of 8 bytes at rax+0x18 = 0x18)"


def test_arm64_store_through_null() -> None:
    store = bytes.fromhex("010800b9")  # str w1, [x0, #8]
    names = {f"x{number}": 0 for number in range(31)}
    fault = Fault(
        machine=elfnote.EM_AARCH64, signal=SIGSEGV, code=MAPERR, address=8, pc=0x400100, sp=STACK.start,
        instruction=store, registers=names, regions=REGIONS,
    )  # fmt: skip
    told = words.explain(fault)[0]
    assert told.startswith("Write of 4 bytes at NULL + 0x8: x0 is NULL")


def test_nothing_known_still_has_words() -> None:
    assert words.explain(Fault(machine=0, signal=99)) == ("Signal 99.",)
