"""Real crashes through the real handler: what the entry says about why it crashed, where, and whose program it was."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess
import time

import pytest
import services
from conftest import MakeHandler, Program
from machine import Machine
from services import Entry

pytestmark = [pytest.mark.kernel, pytest.mark.root]

X86 = platform.machine() == "x86_64"
SOURCES = pathlib.Path(__file__).parents[1] / "analysis" / "programs"


@dataclasses.dataclass(frozen=True)
class Fault:
    """A way to die of tests/programs, and what the entry says: a pattern for its words, one for its title."""

    way: str
    words: str
    title: str
    program: str = "signals"


FAULTS = [
    Fault("null", r"^Write of 4 bytes at NULL: \w+ is NULL", "SIGSEGV in by_null (signals)"),
    Fault("address", r"^Write of 4 bytes at 0x1234567000.*nothing is mapped", "SIGSEGV in by_address (signals)"),
    Fault("read-only", r"^Write of 1 byte .*(read-only|only for reading|may only be read)", "SIGSEGV in by_read_only (signals)"),
    Fault("call-null", r"^Call of .*NULL|^Jump to NULL", "SIGSEGV in by_call_null, calling what is no function (signals)"),
    Fault("call-data", r"^Jump to 0x\w+, which is data .* not code", "SIGSEGV in data (signals)"),
    Fault("overflow", r"^(The stack|Stack overflow)", "SIGSEGV in endless recursion of"),
    Fault("bus", r"mapped file /tmp/bus-\w+( \(deleted\))?: the file was cut short", "SIGBUS in by_bus (signals)"),
    Fault("division", r"^An integer was divided by zero", "SIGFPE in by_division (signals)"),
    Fault("illegal", r"(ud2|udf)", "SIGILL in by_illegal (signals)"),
    Fault("breakpoint", r"^A breakpoint instruction", "SIGTRAP in by_breakpoint (signals)"),
    Fault("seccomp", r"system call getppid \(\d+\) is forbidden", "SIGSYS in syscall, called by by_seccomp (signals)"),
    Fault("noncanonical", r"0xdead00000000beef", "SIGSEGV in by_noncanonical (signals)"),
    Fault("double-free", r"free\(\): double free detected", "SIGABRT in free, called by by_double_free (messages)", "messages"),
    Fault("assertion", r"by_assertion: Assertion `months <= 12' failed", "SIGABRT in by_assertion (messages)", "messages"),
    Fault("smashing", r"stack smashing detected", "SIGABRT in by_smashing (messages)", "messages"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.way for fault in FAULTS])
def test_the_fault_is_told_in_words(
    fault: Fault, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    handler()
    death = kernel.crash([program(fault.program), fault.way])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert re.search(fault.words, entry["COREDUMP_EXPLANATION"].decode(), re.MULTILINE)
    assert entry["COREDUMP_TITLE"].decode().startswith(fault.title)
    assert re.fullmatch(rb"[0-9a-f]{16}", entry["COREDUMP_SIGNATURE"])


def die(*argv: str, environment: dict[str, str] | None = None) -> Entry:
    """The entry of a program that dies by itself."""
    since = time.time()
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)),
    )
    assert process.wait(60) < 0
    return services.wait_for_entry(process.pid, since)


def test_a_signal_from_outside_is_told_with_its_sender(kernel: Machine, handler: MakeHandler) -> None:
    handler()
    victim = subprocess.Popen(
        ["sleep", "1000"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
    )
    since = time.time()
    victim.send_signal(11)
    victim.wait()
    entry = services.wait_for_entry(victim.pid, since)
    told = entry["COREDUMP_EXPLANATION"].decode().split("\n")[0]
    assert told.startswith(f"Process {os.getpid()} of user 0 sent SIGSEGV: nothing in the program itself")
    assert entry["COREDUMP_TITLE"].decode().startswith("SIGSEGV from outside in ")


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg's database is what is asked")
def test_the_package_of_a_distributions_program_is_named(kernel: Machine, handler: MakeHandler) -> None:
    handler()
    entry = die("bash", "-c", "kill -SEGV $$")
    query = ["dpkg-query", "--show", "--showformat=${Version}", "bash"]
    version = subprocess.run(query, capture_output=True, check=True).stdout
    assert entry["COREDUMP_PACKAGE_NAME"] == b"bash"
    assert entry["COREDUMP_PACKAGE_VERSION"] == version
    table = json.loads(entry["COREDUMP_PACKAGE_JSON"])
    assert table["libc.so.6"]["name"] == "libc6"
    assert table["bash"]["type"] == "deb"


def test_a_separate_debug_file_gives_its_names(
    kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path, program: Program
) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy")
    whole = program("signals")
    notes = subprocess.run(["readelf", "-n", whole], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Build ID: (\w+)", notes)
    assert found, "the compiler writes no build ids"
    stripped = kernel.directory / "stripped"
    subprocess.run(["objcopy", "--strip-all", whole, stripped], check=True)
    debug = pathlib.Path("/usr/lib/debug/.build-id", found[1][:2], f"{found[1][2:]}.debug")
    made = [path for path in (debug.parent.parent, debug.parent) if not path.exists()]
    debug.parent.mkdir(parents=True, exist_ok=True)
    handler()
    try:
        subprocess.run(["objcopy", "--only-keep-debug", whole, debug], check=True)
        death = kernel.crash([stripped, "null"])
        entry = services.wait_for_entry(death.pid, death.stamp)
    finally:
        debug.unlink(missing_ok=True)
        for path in reversed(made):
            path.rmdir()
    assert entry["COREDUMP_TITLE"] == b"SIGSEGV in by_null (stripped)"
    assert re.search(rb"by_null \(.*\) at .*signals\.c:\d+", entry["MESSAGE"])


def test_an_exception_of_cpp_is_told_with_its_words(
    kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    exe = tmp_path / "throw"
    subprocess.run(["g++", "-w", "-O2", "-pthread", SOURCES / "throw.cpp", "-o", exe], check=True)
    handler()
    entry = die(os.fspath(exe))
    assert "std::out_of_range" in entry["COREDUMP_EXPLANATION"].decode()
    assert "no milk" in entry["COREDUMP_EXPLANATION"].decode()
    assert b"shop::Basket" in entry["COREDUMP_TITLE"] or b"std::__throw" in entry["COREDUMP_TITLE"]


def test_a_panic_of_rust_is_told_with_its_words(
    kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path
) -> None:
    if shutil.which("rustc") is None:
        pytest.skip("needs rustc")
    exe = tmp_path / "panic"
    subprocess.run(["rustc", SOURCES / "panic.rs", "-Cpanic=abort", "-o", exe], check=True)
    handler()
    entry = die(os.fspath(exe))
    assert "no such thing" in entry["COREDUMP_EXPLANATION"].decode()
    assert b"price" in entry["COREDUMP_TITLE"]


PYTHON = """\
import os, threading, time

def wait(): time.sleep(1000)
def inner(): os.abort()
def outer(): inner()

threading.Thread(target=wait, daemon=True).start()
outer()
"""


def test_pythons_own_frames_are_told(kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(PYTHON)
    handler()
    entry = die("/usr/bin/python3", os.fspath(script))
    assert entry["COREDUMP_SCRIPT"].decode() == os.fspath(script)
    trace = entry["COREDUMP_SCRIPT_TRACE"].decode()
    assert f"#0  inner ({script}:4)\n#1  outer ({script}:5)\n#2  <module> ({script}:8)" in trace
    assert f"wait ({script}:3)" in trace
    assert b"inner:shop.py" in entry["COREDUMP_TITLE"]


INTERPRETERS = [
    ("perl", "kill 'SEGV', $$; sleep 9", "pl"),
    ("ruby", "Process.kill('KILL', 0) if false; Process.kill(:ABRT, $$); sleep 9", "rb"),
    ("node", "process.abort()", "js"),
    ("dash", "kill -ABRT $$", "sh"),
    ("bash", "kill -ABRT $$", "sh"),
    ("php", "<?php posix_kill(getmypid(), 6); sleep(9);", "php"),
]


@pytest.mark.parametrize(("name", "text", "suffix"), INTERPRETERS, ids=[row[0] for row in INTERPRETERS])
def test_the_script_is_named(
    name: str, text: str, suffix: str, kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    script = tmp_path / f"job.{suffix}"
    script.write_text(text)
    handler()
    entry = die(name, os.fspath(script), "--verbose")
    assert entry["COREDUMP_SCRIPT"].decode() == os.fspath(script)
    assert b"job." in entry["COREDUMP_TITLE"]
