"""Each signal that makes a core, raised for real: caught, stored, and told with the right facts."""

from __future__ import annotations

import dataclasses
import platform
import signal
import subprocess

import pytest
import services
from conftest import MakeHandler, Program
from machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.root]

X86 = platform.machine() == "x86_64"


@dataclasses.dataclass(frozen=True)
class Way:
    """How a program of signals.c dies, and what the entry has to say of it (sigaction(2))."""

    name: str
    signal: str
    code: str | None = None
    address: str | None = None  # None: the signal has none


WAYS = [
    Way("quit", "SIGQUIT", "0"),  # SI_USER
    Way("illegal", "SIGILL", "2" if X86 else "1", "a program address"),
    Way("breakpoint", "SIGTRAP", "128" if X86 else "1", None if X86 else "a program address"),
    Way("abort", "SIGABRT", "-6"),  # SI_TKILL
    Way("bus", "SIGBUS", "2", "a program address"),  # BUS_ADRERR
    Way("division", "SIGFPE", "1" if X86 else None, "a program address" if X86 else None),  # FPE_INTDIV
    Way("null", "SIGSEGV", "1", "0x0"),  # SEGV_MAPERR
    Way("address", "SIGSEGV", "1", "0x1234567000"),
    Way("read-only", "SIGSEGV", "2", "a program address"),  # SEGV_ACCERR
    Way("call-null", "SIGSEGV", "1", "0x0"),
    Way("call-data", "SIGSEGV", "2", "a program address"),
    Way("overflow", "SIGSEGV", None, "a program address"),  # MAPERR or ACCERR: what lies below the stack
    Way("alternate-stack", "SIGABRT", "-6"),
    Way("thread", "SIGSEGV", "1", "0x0"),
    Way("thread-alone", "SIGSEGV", "1", "0x0"),
    Way("cpu-time", "SIGXCPU", "128"),  # SI_KERNEL
    Way("file-size", "SIGXFSZ", "0"),
    Way("seccomp", "SIGSYS", "1"),  # SYS_SECCOMP
    *([Way("noncanonical", "SIGSEGV", "128")] if X86 else []),  # the processor does not tell the address
]


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_death_is_stored_and_told(way: Way, kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler()
    death = kernel.crash([program("signals"), way.name])
    assert signal.Signals(death.signal).name == way.signal

    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_SIGNAL_NAME"].decode() == way.signal
    assert entry["COREDUMP_SIGNAL"].decode() == str(death.signal)
    if way.code is not None:
        assert entry["COREDUMP_CODE"].decode() == way.code
    if way.address is None:
        assert "COREDUMP_FAULT_ADDRESS" not in entry
    elif way.address.startswith("0x"):
        assert entry["COREDUMP_FAULT_ADDRESS"].decode() == way.address
    else:
        assert 0x1000 < int(entry["COREDUMP_FAULT_ADDRESS"], 16) < 2**47

    (stored,) = one.stored(death.pid)
    assert entry["COREDUMP_FILENAME"].decode() == str(stored)
    assert core_of(stored).startswith(b"\x7fELF")


def core_of(stored: object) -> bytes:
    """The first bytes of the core in a whole archive."""
    tested = subprocess.run(["zstd", "-tq", str(stored)], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    with subprocess.Popen(
        ["zstd", "-dcq", str(stored)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reader:
        assert reader.stdout is not None
        head: bytes = reader.stdout.read(64)
    return head


def test_name_has_comm_pid_signal_and_time(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler()
    death = kernel.crash([program("signals"), "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    seconds = int(entry["COREDUMP_TIMESTAMP"]) // 1_000_000
    assert stored.name == f"core-signals-{death.pid}-11-{seconds}.zst"
    assert abs(seconds - death.stamp) < 60


def test_missing_system_call_is_no_crash(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler()
    death = kernel.crash([program("signals"), "no-syscall"])
    assert death.status == 0
    assert one.stored() == []


def test_seccomp_names_the_system_call(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    handler()
    death = kernel.crash([program("signals"), "seccomp"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_SYSCALL"].decode() == ("110" if X86 else "173")  # getppid(2)


def test_threads_are_counted(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    handler()
    death = kernel.crash([program("threads"), "17", "1", "mixed"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_THREADS"] == b"17"
    assert entry["COREDUMP_COMM"] == b"threads"


def test_crashing_thread_is_named(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    """The entry names the process and, beside it, the thread; %e alone would give the thread's name."""
    handler()
    death = kernel.crash([program("signals"), "thread"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_COMM"] == b"signals"
    assert entry["COREDUMP_THREAD_NAME"] == b"culprit"
    assert entry["COREDUMP_TID"].decode() != str(death.pid)


@pytest.mark.parametrize("name", ["SIGQUIT", "SIGABRT", "SIGSEGV", "SIGXCPU"])
def test_signal_from_outside_names_its_sender(
    name: str, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    handler()
    death = kernel.crash([program("signals"), "sleep"], by=signal.Signals[name])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_SIGNAL_NAME"].decode() == name
    assert entry["COREDUMP_CODE"] == b"0"
    assert int(entry["COREDUMP_SENDER_PID"]) > 0
    assert "COREDUMP_FAULT_ADDRESS" not in entry


def test_first_four_specifiers_are_enough(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    """The pattern of the design: everything else is read from the process and its core."""
    one = handler(specifiers="%P %s %t %e")
    death = kernel.crash([program("signals"), "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_FAULT_ADDRESS"] == b"0x0"
    assert entry["COREDUMP_EXE"].endswith(b"/signals")
    assert len(one.stored(death.pid)) == 1


def test_limit_below_one_page_keeps_no_core(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler()
    death = kernel.crash([program("signals"), "null"], core_limit=0)
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert b"terminated abnormally without generating a coredump" in entry["MESSAGE"]
    assert "COREDUMP_FILENAME" not in entry
    assert one.stored() == []
    # Why it crashed is known all the same.
    assert b"Stack trace of thread" in entry["MESSAGE"]
    assert entry["COREDUMP_TITLE"].startswith(b"SIGSEGV in ")


def test_deleted_executable_is_named(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    handler()
    copy = kernel.directory / "deleted"
    copy.write_bytes(program("signals").read_bytes())
    copy.chmod(0o755)
    victim = kernel.start([copy, "null"])
    copy.unlink()
    victim.kill()
    death = victim.wait()
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_EXE"].decode() == str(copy)
