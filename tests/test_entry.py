from __future__ import annotations

import shutil
import struct
import subprocess

import elfcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump import corefile, entry, journal
from pycoredump.config import Config
from pycoredump.crash import Crash
from pycoredump.procfs import Process

CRASH = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog", uid=1000, gid=100)
BARE = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog")
STATUS = b"Name:\tprog\nUid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t103\n"


def crash_fields(crash: Crash, process: Process | None = None) -> dict[str, bytes]:
    return entry.from_crash(crash, process or Process(), boot_id="0" * 32)


def test_the_kernels_arguments_become_fields() -> None:
    full = CRASH.replace(rlimit=2**64 - 1, dumpable=1, pidfd=3, tid=4712, hostname="web")
    assert crash_fields(full) == {
        "COREDUMP_PID": b"4711",
        "COREDUMP_UID": b"1000",
        "COREDUMP_GID": b"100",
        "COREDUMP_SIGNAL": b"11",
        "COREDUMP_SIGNAL_NAME": b"SIGSEGV",
        "COREDUMP_TIMESTAMP": b"1700000000000000",
        "COREDUMP_COMM": b"prog",
        "COREDUMP_RLIMIT": b"18446744073709551615",
        "COREDUMP_DUMPABLE": b"1",
        "COREDUMP_TID": b"4712",
        "COREDUMP_BY_PIDFD": b"1",
        "COREDUMP_HOSTNAME": b"web",
        "COREDUMP_BOOT_ID": b"0" * 32,
    }


@pytest.mark.parametrize(
    ("process", "uid", "gid"),
    [(Process(), b"65534", b"65534"), (Process(status=STATUS), b"1000", b"100")],
    ids=["gone", "there"],
)
def test_what_coredumpctl_cannot_do_without_is_always_there(
    process: Process, uid: bytes, gid: bytes
) -> None:
    """Before release 257 it aborts its whole list at an entry without user, group, PID or signal."""
    fields = crash_fields(BARE, process)
    assert (fields["COREDUMP_UID"], fields["COREDUMP_GID"]) == (uid, gid)
    assert fields["COREDUMP_PID"]
    assert fields["COREDUMP_SIGNAL"]
    assert fields["COREDUMP_COMM"] == b"prog"


def test_what_is_not_known_is_left_out() -> None:
    assert entry.from_process(Process(), Config()) == {}
    assert "COREDUMP_TID" not in crash_fields(BARE)


def test_facts_of_the_process_become_fields() -> None:
    process = Process(
        comm=b"prog",
        cmdline=b"/usr/bin/prog\0an argument\0",
        environ=b"HOME=/root\0API_TOKEN=hush\0",
        cgroup=b"0::/system.slice/web.service\n",
        exe=b"/usr/bin/prog (deleted)",
        open_fds=b"0:/dev/null\npos:\t0\n",
    )
    assert entry.from_process(process, Config()) == {
        "COREDUMP_COMM": b"prog",
        "COREDUMP_EXE": b"/usr/bin/prog",
        "COREDUMP_UNIT": b"web.service",
        "COREDUMP_SLICE": b"system.slice",
        "COREDUMP_CGROUP": b"/system.slice/web.service",
        "COREDUMP_PROC_CGROUP": b"0::/system.slice/web.service",
        "COREDUMP_CMDLINE": b'/usr/bin/prog "an argument"',
        "COREDUMP_OPEN_FDS": b"0:/dev/null\npos:\t0\n",
        "COREDUMP_ENVIRON": b"HOME=/root\nAPI_TOKEN=[redacted]",
    }


def test_all_names_are_those_that_the_journal_module_lists() -> None:
    process = Process(
        **{  # type: ignore[arg-type]  # all of them are bytes
            name: b"x\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service\n"
            for name in Process._fields
            if name not in ("start_time", "problems")
        }
    )
    layout = corefile.parse(elfcore.linux_process().core())
    full = CRASH.replace(rlimit=1, dumpable=1, pidfd=3, tid=1, hostname="h")
    fields = crash_fields(full) | entry.from_layout(layout) | entry.from_process(process, Config())
    assert set(fields) <= {*journal.STANDARD_FIELDS, *journal.OWN_FIELDS}


def test_the_core_tells_threads_signal_and_fault() -> None:
    fields = entry.from_layout(corefile.parse(elfcore.linux_process().core()))
    assert fields == {
        "COREDUMP_THREADS": b"2",
        "COREDUMP_ARCHITECTURE": b"x86-64",
        "COREDUMP_CORE_SIZE": fields["COREDUMP_CORE_SIZE"],
        "COREDUMP_CODE": b"1",
        "COREDUMP_CODE_NAME": b"SEGV_MAPERR",
        "COREDUMP_FAULT_ADDRESS": b"0x422010",
        "COREDUMP_COMM": b"prog",
    }


def of_signal(signal: int, code: int, union: bytes) -> dict[str, bytes]:
    info = elfcore.Siginfo(signal=signal, code=code, union=union)
    return entry.from_layout(corefile.parse(elfcore.core(signal=info)))


def test_a_sender_is_told_for_signals_that_have_one() -> None:
    fields = of_signal(6, -6, struct.pack("<iI", 99, 1000))
    assert (fields["COREDUMP_SENDER_PID"], fields["COREDUMP_SENDER_UID"]) == (b"99", b"1000")
    assert "COREDUMP_FAULT_ADDRESS" not in fields


def test_a_system_call_is_told_for_seccomp() -> None:
    fields = of_signal(31, 1, struct.pack("<QiI", 0x1000, 110, 0xC000003E))
    assert fields["COREDUMP_SYSCALL"] == b"110"
    assert fields["COREDUMP_CODE_NAME"] == b"SYS_SECCOMP"


@pytest.mark.parametrize(
    ("bits", "order", "machine", "name"),
    [
        (64, "<", 62, b"x86-64"),
        (32, "<", 62, b"x32"),
        (32, "<", 3, b"x86"),
        (64, "<", 183, b"arm64"),
        (32, "<", 40, b"arm"),
        (64, "<", 243, b"riscv64"),
        (64, ">", 22, b"s390x"),
        (32, ">", 8, b"e_machine 8"),
    ],
)
def test_cores_of_other_machines_are_named(bits: int, order: str, machine: int, name: bytes) -> None:
    layout = corefile.parse(elfcore.core(bits=bits, order=order, machine=machine))
    assert entry.from_layout(layout)["COREDUMP_ARCHITECTURE"] == name


# Quoting: the judge is the shell that systemd quotes for.


def read_back(quoted: str) -> list[bytes]:
    """The words that bash makes of it."""
    script = b'set -f; eval "set -- $1"; for word; do printf "%s\\0" "$word"; done'
    done = subprocess.run(
        ["bash", "-c", script, "bash", quoted.encode("utf-8", "surrogateescape")],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    return done.stdout.split(b"\0")[:-1]


words = st.binary(max_size=12).map(lambda data: data.replace(b"\0", b""))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=5))
def test_a_shell_reads_back_any_arguments(arguments: list[bytes]) -> None:
    assert read_back(entry.quote(b"".join(word + b"\0" for word in arguments))) == arguments


@given(st.lists(words, min_size=1, max_size=5))
def test_quoted_arguments_are_one_printable_line(arguments: list[bytes]) -> None:
    quoted = entry.quote(b"".join(word + b"\0" for word in arguments))
    assert quoted.isprintable()


@pytest.mark.parametrize(
    ("cmdline", "quoted"),
    [
        (b"", ""),
        (b"prog\0", "prog"),
        (b"prog\0--a=b\0", "prog --a=b"),
        (b"prog\0a b\0", 'prog "a b"'),
        (b"prog\0\0", 'prog ""'),
        (b"a\nb\0", "$'a\\nb'"),
        (b"it's\0", "$'it\\'s'"),
        (b"$HOME\0", "'$HOME'"),
        (b"\xff\0", "$'\\xff'"),
        (b"\xc3\xbc\0", '"ü"'),
        (b"title rewritten by the process", '"title rewritten by the process"'),
    ],
)
def test_arguments_are_quoted_as_systemd_does(cmdline: bytes, quoted: str) -> None:
    assert entry.quote(cmdline) == quoted


# Environment.

PATTERNS = Config().redact_environment


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (b"", b""),
        (b"A=1\0B=2\0", b"A=1\nB=2"),
        (b"PATH=/bin\0DB_PASSWORD=x\0", b"PATH=/bin\nDB_PASSWORD=[redacted]"),
        (b"github_token=abc\0", b"github_token=[redacted]"),
        (b"TEXT=a\nFAKE=b\0", b"TEXT=a\\nFAKE=b"),
        (b"TEXT=a\\nb\0", b"TEXT=a\\\\nb"),
        (b"no assignment\0", b"no assignment"),
        (b"A\nSECRET=x\0", b"A\\nSECRET=[redacted]"),
        (b"SECRET=\0", b"SECRET=[redacted]"),
    ],
)
def test_an_environment_is_one_variable_in_a_line_without_secrets(block: bytes, told: bytes) -> None:
    assert entry.environ(block, PATTERNS) == told


def test_without_patterns_nothing_is_taken_out() -> None:
    assert entry.environ(b"PASSWORD=x\0", ()) == b"PASSWORD=x"


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"")), max_size=6))
def test_an_environment_has_as_many_lines_as_variables(variables: list[bytes]) -> None:
    block = b"".join(variable + b"\0" for variable in variables)
    told = entry.environ(block, PATTERNS)
    assert len(told.split(b"\n")) <= max(1, len(variables))


# Names and lines.


@given(st.binary(max_size=40), st.integers(0, 40))
def test_printable_text_is_printable_whatever_it_was(value: bytes, limit: int) -> None:
    shown = entry.printable(value, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode()


@given(st.binary(max_size=40))
def test_a_harmless_name_is_utf_8_and_obeys_nothing(value: bytes) -> None:
    assert entry.harmless(value).decode().isprintable()


def test_the_first_line_is_in_the_words_of_systemd_coredump() -> None:
    fields = crash_fields(CRASH)
    assert entry.summary(fields, dumped=True) == "Process 4711 (prog) of user 1000 dumped core."
    assert entry.summary(fields, dumped=False) == (
        "Process 4711 (prog) of user 1000 terminated abnormally without generating a coredump."
    )
    assert entry.summary({}, dumped=True) == "Process ? (?) of user ? dumped core."


@pytest.mark.parametrize(
    ("crash", "process", "line"),
    [
        (CRASH, None, "Process 4711 (prog) of user 1000 crashed with SIGSEGV, processing"),
        (BARE, None, "Process 4711 (prog) of user unknown crashed with SIGSEGV, processing"),
        (BARE, Process(status=STATUS), "Process 4711 (prog) of user 1000 crashed with SIGSEGV, processing"),
        (
            CRASH.replace(signal=35, comm="a\n\x1b[1m"),
            None,
            "Process 4711 (a\\x0a\\x1b[1m) of user 1000 crashed with signal 35, processing",
        ),
    ],
)
def test_the_early_line_names_process_user_and_signal(
    crash: Crash, process: Process | None, line: str
) -> None:
    assert entry.processing(crash, process) == line
