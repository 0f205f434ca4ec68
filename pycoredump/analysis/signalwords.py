"""Signals and their codes in words (signal(7), sigaction(2)): every signal that leaves a core."""

from __future__ import annotations

SIGNALS = {
    "SIGQUIT": "it was asked to quit and to leave a core, as Ctrl+\\ does",
    "SIGILL": "it came to an instruction that the processor refuses",
    "SIGTRAP": "it came to a breakpoint, and no debugger was there to take it",
    "SIGABRT": "it gave up by itself: abort(), a failed assertion, an uncaught exception",
    "SIGBUS": "it used memory that is mapped, but cannot be had",
    "SIGFPE": "it did arithmetic that has no result, as an integer divided by zero",
    "SIGSEGV": "it used memory that is not there, or not for this use",
    "SIGXCPU": "it used more processor time than its limit allows (RLIMIT_CPU)",
    "SIGXFSZ": "it made a file larger than its limit allows (RLIMIT_FSIZE)",
    "SIGSYS": "it made a system call that it may not make",
    "SIGEMT": "it came to an instruction that would have to be emulated",
}

CODES = {
    "SI_USER": "sent by kill(2)",
    "SI_TKILL": "sent by tgkill(2), as raise(3) and abort(3) do",
    "SI_QUEUE": "sent by sigqueue(3)",
    "SI_KERNEL": "sent by the kernel, which knows no address",
    "SI_TIMER": "sent by a timer (timer_create(2))",
    "SI_MESGQ": "sent by a message queue (mq_notify(3))",
    "SI_ASYNCIO": "sent by asynchronous input or output",
    "SI_SIGIO": "sent because a descriptor is ready",
    "SEGV_MAPERR": "nothing is mapped at the address",
    "SEGV_ACCERR": "the mapping does not allow this kind of access",
    "SEGV_BNDERR": "a bounds check failed",
    "SEGV_PKUERR": "a protection key forbids the access (pkeys(7))",
    "SEGV_ACCADI": "the memory's tag is not enabled",
    "SEGV_ADIDERR": "the tag of memory did not match when it was written back",
    "SEGV_ADIPERR": "the pointer's tag is not that of its memory",
    "SEGV_MTEAERR": "the pointer's tag is not that of its memory; noticed later than it happened",
    "SEGV_MTESERR": "the pointer's tag is not that of its memory",
    "SEGV_CPERR": "the return address is not the one on the shadow stack: the stack was overwritten",
    "BUS_ADRALN": "the address is not aligned as the instruction needs it",
    "BUS_ADRERR": "there is nothing behind the address: the mapped file ends before it, or the disk is full",
    "BUS_OBJERR": "the hardware behind the address failed",
    "BUS_MCEERR_AR": "the memory chip failed: a hardware error",
    "BUS_MCEERR_AO": "the memory chip failed: a hardware error that was noticed early",
    "FPE_INTDIV": "an integer was divided by zero, or the quotient has no room",
    "FPE_INTOVF": "an integer overflowed",
    "FPE_FLTDIV": "a number was divided by zero",
    "FPE_FLTOVF": "a number became too large",
    "FPE_FLTUND": "a number became too small",
    "FPE_FLTRES": "a result is not exact",
    "FPE_FLTINV": "a floating-point operation has no result",
    "FPE_FLTSUB": "an index is out of range",
    "FPE_FLTUNK": "a floating-point exception of unknown kind",
    "FPE_CONDTRAP": "a trap on a condition",
    "ILL_ILLOPC": "there is no such instruction",
    "ILL_ILLOPN": "the instruction does not take these operands",
    "ILL_ILLADR": "the instruction does not take this kind of address",
    "ILL_ILLTRP": "there is no such trap",
    "ILL_PRVOPC": "only the kernel may use the instruction",
    "ILL_PRVREG": "only the kernel may use the register",
    "ILL_COPROC": "a coprocessor failed",
    "ILL_BADSTK": "the stack is not usable",
    "ILL_BADIADDR": "there is no instruction at this address",
    "TRAP_BRKPT": "a breakpoint",
    "TRAP_TRACE": "a single step",
    "TRAP_BRANCH": "a branch that is traced",
    "TRAP_HWBKPT": "a hardware breakpoint or watchpoint",
    "TRAP_UNK": "a trap of unknown kind",
    "TRAP_PERF": "a performance event (perf_event_open(2))",
    "SYS_SECCOMP": "a seccomp filter refused it",
    "SYS_USER_DISPATCH": "the program wanted to be asked first (prctl(2), PR_SET_SYSCALL_USER_DISPATCH)",
}


def signal(name: str) -> str:
    """What SIGSEGV means, "" if that is not known."""
    return SIGNALS.get(name, "")


def code(name: str) -> str:
    """What SEGV_MAPERR means, "" if that is not known."""
    return CODES.get(name, "")
