"""A program that ends itself by one signal, for `selftest`: no compiler is needed on the host.

Started as a script by its path, with nothing of the package: crashers.py NAME.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import sys
import time

# Machine code that raises an exception of the processor, by machine (os.uname) and kind.
CODE = {
    "x86_64": {
        "illegal": bytes.fromhex("0f0b"),  # ud2
        "breakpoint": bytes.fromhex("ccc3"),  # int3
        "division": bytes.fromhex("31c931d231c0f7f1c3"),  # xor ecx,ecx; xor edx,edx; xor eax,eax; div ecx
    },
    "aarch64": {
        "illegal": bytes.fromhex("00000000"),  # udf #0
        "breakpoint": bytes.fromhex("000020d4"),  # brk #0
    },
}
PAGE = mmap.PAGESIZE
SYSCALL_MISSING = 999
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
SECCOMP_RET_TRAP, SECCOMP_RET_ALLOW = 0x00030000, 0x7FFF0000
BPF_LD_W_ABS, BPF_JEQ_K, BPF_RET_K = 0x20, 0x15, 0x06  # linux/bpf_common.h


def execute(kind: str) -> None:
    """Run machine code; a signal is raised by hand where the machine has no such exception."""
    import ctypes

    code = CODE.get(os.uname().machine, {}).get(kind)
    if code is None:
        by_hand = {"illegal": signal.SIGILL, "breakpoint": signal.SIGTRAP, "division": signal.SIGFPE}
        signal.raise_signal(by_hand[kind])
        return
    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CFUNCTYPE(None)(address)()


def null_pointer() -> None:
    import ctypes

    ctypes.c_int.from_address(8).value = 1


def read_only() -> None:
    import ctypes

    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), PAGE, mmap.PROT_READ)
    ctypes.c_int.from_address(address).value = 1


def truncated_mapping() -> None:
    fd = os.memfd_create("mapped")
    os.ftruncate(fd, PAGE)
    mapped = mmap.mmap(fd, PAGE)
    os.ftruncate(fd, 0)
    mapped[0]


def forbidden_system_call() -> None:
    """A system call that does not exist, under a filter that traps it: the one way to SIGSYS today."""
    import ctypes
    import struct

    filters = (
        (BPF_LD_W_ABS, 0, 0, 0),  # the number is first in struct seccomp_data
        (BPF_JEQ_K, 0, 1, SYSCALL_MISSING),
        (BPF_RET_K, 0, 0, SECCOMP_RET_TRAP),
        (BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in filters))
    header = struct.pack("@HP", len(filters), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0) != 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    libc.syscall(SYSCALL_MISSING)


def missing_system_call() -> None:
    """The same without a filter: an error, no signal. The exit status is the error's number."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(SYSCALL_MISSING)
    sys.exit(ctypes.get_errno())


def processor_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1, 10))
    while True:
        pass


def large_file() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, PAGE))
    fd = os.memfd_create("large")
    os.ftruncate(fd, PAGE)
    os.pwrite(fd, b"x", PAGE)


def threads() -> None:
    """Four more threads are there when it aborts."""
    import _thread

    started: list[int] = []

    def sleeper() -> None:
        started.append(1)
        time.sleep(60)

    for _ in range(4):
        _thread.start_new_thread(sleeper, ())
    while len(started) < 4:
        time.sleep(0.001)
    os.abort()


def wait() -> None:
    """Until somebody sends a signal; says when it is ready."""
    os.write(1, b"ready\n")
    time.sleep(60)


CRASHES = {
    "quit": wait,
    "abort": os.abort,
    "threads": threads,
    "null": null_pointer,
    "readonly": read_only,
    "bus": truncated_mapping,
    "illegal": lambda: execute("illegal"),
    "breakpoint": lambda: execute("breakpoint"),
    "division": lambda: execute("division"),
    "syscall": forbidden_system_call,
    "enosys": missing_system_call,
    "cpu": processor_time,
    "filesize": large_file,
}

if __name__ == "__main__":
    CRASHES[sys.argv[1]]()
    sys.exit("The signal did not come")
