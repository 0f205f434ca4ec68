from __future__ import annotations

import signal

import pytest

from pycoredump import siginfo


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (11, 1, "SEGV_MAPERR"),
        (11, 2, "SEGV_ACCERR"),
        (11, 10, "SEGV_CPERR"),
        (11, 11, ""),
        (11, 0x80, "SI_KERNEL"),
        (7, 1, "BUS_ADRALN"),
        (7, 5, "BUS_MCEERR_AO"),
        (8, 1, "FPE_INTDIV"),
        (8, 14, "FPE_FLTUNK"),
        (8, 15, "FPE_CONDTRAP"),
        (4, 1, "ILL_ILLOPC"),
        (4, 9, "ILL_BADIADDR"),
        (5, 1, "TRAP_BRKPT"),
        (5, 6, "TRAP_PERF"),
        (31, 1, "SYS_SECCOMP"),
        (31, 2, "SYS_USER_DISPATCH"),
        (6, 0, "SI_USER"),
        (6, -6, "SI_TKILL"),
        (6, -1, "SI_QUEUE"),
        (6, 1, ""),
        (11, -99, ""),
        (99, 1, ""),
    ],
)
def test_codes_have_the_names_of_the_kernels_headers(number: int, code: int, name: str) -> None:
    assert siginfo.code_name(number, code) == name


def test_the_numbers_of_signals_are_those_of_this_machine() -> None:
    assert (siginfo.SIGILL, siginfo.SIGTRAP, siginfo.SIGBUS, siginfo.SIGFPE, siginfo.SIGSEGV, siginfo.SIGSYS) == (
        signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        (11, 1, True),
        (7, 2, True),
        (8, 1, True),
        (4, 2, True),
        (5, 1, True),
        (11, 0x80, False),  # a general protection fault: the processor told no address
        (11, 0, False),  # kill -SEGV
        (11, -6, False),
        (6, 1, False),
        (31, 1, False),
    ],
)
def test_only_faults_of_the_hardware_have_an_address(number: int, code: int, expected: bool) -> None:
    assert siginfo.has_address(number, code) is expected


@pytest.mark.parametrize(
    ("code", "expected"), [(0, True), (-1, True), (-6, True), (-2, False), (1, False), (0x80, False)]
)
def test_only_signals_that_were_sent_have_a_sender(code: int, expected: bool) -> None:
    assert siginfo.has_sender(code) is expected


@pytest.mark.parametrize(
    ("number", "code", "expected"), [(31, 1, True), (31, 2, True), (31, 0, False), (11, 1, False)]
)
def test_only_a_refused_system_call_has_its_number(number: int, code: int, expected: bool) -> None:
    assert siginfo.has_syscall(number, code) is expected
