"""Signals and their codes in words, for people (signal(7), sigaction(2))."""

from __future__ import annotations

SIGNALS = {
    "SIGQUIT": "asked to quit with a core, as Ctrl+\\ does",
    "SIGILL": "an instruction that the processor refuses",
    "SIGTRAP": "a breakpoint with no debugger to take it",
    "SIGABRT": "gave up by itself: abort(), a failed assertion, an uncaught exception",
    "SIGBUS": "memory that is mapped, but cannot be had",
    "SIGFPE": "arithmetic that has no result, as an integer divided by zero",
    "SIGSEGV": "memory that is not there, or not for this use",
    "SIGXCPU": "more processor time than RLIMIT_CPU allows",
    "SIGXFSZ": "a file larger than RLIMIT_FSIZE allows",
    "SIGSYS": "a system call that a filter forbids",
    "SIGEMT": "an instruction to be emulated",
}
CODES = {
    "SI_USER": "sent by kill(2)",
    "SI_TKILL": "sent by a thread: raise(3), abort(3), tgkill(2)",
    "SI_QUEUE": "sent by sigqueue(3)",
    "SI_KERNEL": "sent by the kernel, which knows no address",
    "SI_TIMER": "sent by a timer",
    "SEGV_MAPERR": "nothing is mapped at the address",
    "SEGV_ACCERR": "the mapping does not allow this kind of access",
    "SEGV_PKUERR": "a protection key forbids the access",
    "SEGV_CPERR": "the shadow stack does not agree with the return address",
    "SEGV_MTEAERR": "a pointer's tag is not that of its memory",
    "SEGV_MTESERR": "a pointer's tag is not that of its memory",
    "BUS_ADRALN": "the address is not aligned",
    "BUS_ADRERR": "the file mapped there ends before the address, or the disk is full",
    "BUS_OBJERR": "the hardware behind the address failed",
    "BUS_MCEERR_AR": "the memory chip failed",
    "BUS_MCEERR_AO": "the memory chip failed",
    "FPE_INTDIV": "an integer was divided by zero, or its quotient has no room",
    "FPE_INTOVF": "an integer overflowed",
    "FPE_FLTDIV": "a number was divided by zero",
    "FPE_FLTOVF": "a number became too large",
    "FPE_FLTUND": "a number became too small",
    "FPE_FLTINV": "an operation has no result",
    "ILL_ILLOPC": "there is no such instruction",
    "ILL_ILLOPN": "the instruction does not take these operands",
    "ILL_PRVOPC": "the instruction is for the kernel only",
    "TRAP_BRKPT": "a breakpoint",
    "TRAP_TRACE": "a single step",
    "TRAP_HWBKPT": "a hardware breakpoint",
    "SYS_SECCOMP": "refused by a seccomp filter",
    "SYS_USER_DISPATCH": "dispatched to user space",
}


def signal(name: str) -> str:
    """What SIGSEGV means, "" if that is not known."""
    return SIGNALS.get(name, "")


def code(name: str) -> str:
    """What SEGV_MAPERR means, "" if that is not known."""
    return CODES.get(name, "")
