"""What si_code says of a signal, by name, and which fields of siginfo_t hold something (sigaction(2)).

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

# asm-generic/siginfo.h
GENERIC = {
    0: "SI_USER", 0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ", -4: "SI_ASYNCIO",
    -5: "SI_SIGIO", -6: "SI_TKILL", -7: "SI_DETHREAD", -60: "SI_ASYNCNL",
}  # fmt: skip
SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS = 4, 5, 7, 8, 11, 31
CODES = {
    SIGILL: (
        "ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC",
        "ILL_BADSTK", "ILL_BADIADDR",
    ),
    SIGFPE: (
        "FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV",
        "FPE_FLTSUB", "FPE_DECOVF", "FPE_DECDIV", "FPE_DECERR", "FPE_INVASC", "FPE_INVDEC", "FPE_FLTUNK", "FPE_CONDTRAP",
    ),
    SIGSEGV: (
        "SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR", "SEGV_ACCADI", "SEGV_ADIDERR", "SEGV_ADIPERR",
        "SEGV_MTEAERR", "SEGV_MTESERR", "SEGV_CPERR",
    ),
    SIGBUS: ("BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"),
    SIGTRAP: ("TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"),
    SIGSYS: ("SYS_SECCOMP", "SYS_USER_DISPATCH"),
}  # fmt: skip


def code_name(signal: int, code: int) -> str:
    """SEGV_MAPERR and the like; "" if the code has no name."""
    names = CODES.get(signal, ())
    if 1 <= code <= len(names):
        return names[code - 1]
    return GENERIC.get(code, "")


def has_address(signal: int, code: int) -> bool:
    """Whether si_addr holds the fault's address: the hardware reported one (SI_KERNEL: it did not)."""
    return signal in (SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV) and 1 <= code < 0x80


def has_sender(code: int) -> bool:
    """Whether si_pid and si_uid name who sent it: kill(2), tgkill(2), sigqueue(3)."""
    return code in (0, -1, -6)


def has_syscall(signal: int, code: int) -> bool:
    return signal == SIGSYS and code in (1, 2)
