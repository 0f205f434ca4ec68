"""A filter of system calls that leaves a parser what it needs, and nothing else (seccomp(2)).

Deny by default: what is not listed fails with EPERM, a call of another architecture ends the process.
"""

from __future__ import annotations

import errno
import os
import struct

from pycoredump import libc
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

# linux/bpf_common.h, linux/filter.h
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# linux/seccomp.h; offsets in struct seccomp_data
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2

PROT_EXEC = 4
AT_EMPTY_PATH = 0x1000


class Machine(Record):
    """System call numbers of one architecture (asm/unistd.h)."""

    audit: int  # AUDIT_ARCH_*
    plain: tuple[int, ...]  # allowed with any arguments
    mapping: tuple[int, ...]  # mmap, mprotect: not executable; the third argument is the protection
    write: tuple[int, ...]  # to the result alone; the first argument is the descriptor
    stat: int  # newfstatat: of a descriptor alone
    foreign: int = 0  # numbers from here on belong to another ABI; 0: there is none


MACHINES = {
    # read close fstat lseek munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64 sched_yield mremap
    # madvise getpid exit gettimeofday sigaltstack gettid futex restart_syscall clock_gettime exit_group
    # preadv getrandom
    "x86_64": Machine(
        audit=0xC000003E,
        plain=(
            0, 3, 5, 8, 11, 12, 13, 14, 15, 17, 24, 25, 28, 39, 60, 96, 131, 186, 202, 219, 228, 231, 295, 318,
        ),
        mapping=(9, 10),
        write=(1,),
        stat=262,
        foreign=0x40000000,  # x32
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        plain=(
            63, 57, 80, 62, 215, 214, 134, 135, 139, 67, 124, 216, 233, 172, 93, 169, 132, 178, 98, 128, 113, 94, 69, 278,
        ),
        mapping=(222, 226),
        write=(64,),
        stat=79,
    ),
}  # fmt: skip


def program(machine: Machine, result: int) -> bytes:
    """The filter as an array of struct sock_filter; `result` is the one descriptor that may be written to."""
    rows = [
        (LOAD, 0, 0, ARCH_AT),
        (EQUAL, 1, 0, machine.audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    if machine.foreign:
        rows += [(AT_LEAST, 0, 1, machine.foreign), (RETURN, 0, 0, KILL)]
    for number in machine.plain:
        rows += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    for number in machine.mapping:
        rows += _if_argument(number, 2, (ANY_BIT, PROT_EXEC), REFUSE, ALLOW)
    for number in machine.write:
        rows += _if_argument(number, 0, (EQUAL, result), ALLOW, REFUSE)
    rows += _if_argument(machine.stat, 3, (EQUAL, AT_EMPTY_PATH), ALLOW, REFUSE)
    rows.append((RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("HBBI", *row) for row in rows)


REFUSE = ERRNO | errno.EPERM


# Arguments are 64 bits wide; the low half decides here, as the kernel takes ints for all of these.
def _if_argument(
    number: int, argument: int, test: tuple[int, int], then: int, otherwise: int
) -> list[tuple[int, int, int, int]]:
    code, value = test
    return [
        (EQUAL, 0, 4, number),
        (LOAD, 0, 0, ARGUMENTS_AT + 8 * argument),
        (code, 0, 1, value),
        (RETURN, 0, 0, then),
        (RETURN, 0, 0, otherwise),
    ]


def forbid_privileges() -> None:
    """No set-user-ID program gives this process anything any more. OSError."""
    libc.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def install(result: int) -> None:
    """Put the filter over this process, for good. PycoredumpError on an unknown machine, OSError."""
    name = os.uname().machine
    machine = MACHINES.get(name)
    if machine is None:
        raise PycoredumpError(f"There is no system call table for {name}")

    code = program(machine, result)
    buffer = libc.Buffer(len(code), code)
    # struct sock_fprog: length, pointer
    header = libc.Buffer(16, struct.pack("H6xQ", len(code) // 8, buffer.address))
    forbid_privileges()
    libc.call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header.address, 0, 0)
