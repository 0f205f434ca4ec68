from __future__ import annotations

import os

import elfcore
import pytest

from pycoredump import corefile, journal
from pycoredump.config import Config
from pycoredump.crash import Crash
from pycoredump.kept import Kept, fields_of
from pycoredump.procfs import Process
from pycoredump.way import Way

CRASH = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog", uid=0, gid=0)


def way(process: Process | None = None, *, pid: int = 4711) -> Way:
    found = Way(CRASH.replace(pid=pid))
    found.process = process or Process()
    return found


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (Process(exe=b"/lib/systemd/systemd-journald"), True),
        (Process(exe=b"/usr/lib/systemd/systemd-journald (deleted)"), True),
        (Process(cgroup=b"0::/system.slice/systemd-journald.service\n"), True),
        (Process(cgroup=b"0::/system.slice/system-systemd\\x2djournald.slice/systemd-journald@x.service\n"), True),
        (Process(cgroup=b"0::/user.slice/user-1000.slice/user@1000.service/systemd-journald.service\n"), False),
        (Process(comm=b"systemd-journald", exe=b"/home/a/prog"), False),
        (Process(), False),
    ],
)  # fmt: skip
def test_journald_is_known_by_executable_or_unit_and_not_by_a_name_it_gives_itself(
    process: Process, expected: bool
) -> None:
    assert way(process).is_journald is expected


@pytest.mark.parametrize(
    ("pid", "cgroup", "expected"),
    [
        (1, b"", True),
        (4711, b"0::/init.scope\n", True),
        (4711, b"12:pids:/init.scope\n1:name=systemd:/init.scope\n0::/init.scope\n", True),
        (4711, b"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", False),
        (4711, b"0::/system.slice/web.service\n", False),
        (4711, b"", False),
    ],
)
def test_the_manager_is_pid_1_or_its_scope(pid: int, cgroup: bytes, expected: bool) -> None:
    assert way(Process(cgroup=cgroup), pid=pid).is_manager is expected


def test_the_executable_is_told_without_what_the_kernel_appends() -> None:
    assert way(Process(exe=b"/usr/bin/prog (deleted)")).exe == "/usr/bin/prog"
    assert os.fsencode(way(Process(exe=b"/\xff")).exe) == b"/\xff"
    assert way().exe == ""


def test_later_sources_know_better_than_earlier_ones() -> None:
    """%e is the thread's name, NT_PRPSINFO and /proc have the process's."""
    found = way()
    assert found.facts()["COREDUMP_COMM"] == b"prog"
    found.layout = corefile.parse(elfcore.core(process=(b"from the core", b"")))
    assert found.facts()["COREDUMP_COMM"] == b"from the core"
    found.process = Process(comm=b"from proc")
    assert found.facts()["COREDUMP_COMM"] == b"from proc"


ORDINARY = {11: 1000, 12: 1000, 13: 1000, 14: 1000, 23: 0}  # AT_UID … AT_EGID, AT_SECURE


@pytest.mark.parametrize(
    ("dumpable", "vector", "expected"),
    [
        (1, ORDINARY, 1000),
        (1, ORDINARY | {23: 1}, None),
        (2, ORDINARY, None),
        (1, None, None),  # nothing says that it had no privileges
    ],
)
def test_a_user_may_read_the_entry_of_an_ordinary_process_and_root_alone_that_of_any_other(
    dumpable: int, vector: dict[int, int] | None, expected: int | None
) -> None:
    found = way()
    found.crash = CRASH.replace(uid=1000, gid=1000, dumpable=dumpable)
    found.layout = corefile.parse(elfcore.core(vector=vector)) if vector else None
    assert found.reader == expected


def test_problems_and_an_unread_stream_are_told() -> None:
    found = way()
    found.problems += ["one", "two"]
    found.unread = 5
    facts = found.facts()
    assert facts["COREDUMP_PROBLEMS"] == b"one\ntwo"
    assert facts["COREDUMP_STREAM_CLOSED"] == b"1"


def test_the_entry_begins_with_the_line_of_systemd_coredump() -> None:
    found = way()
    assert found.entry()["MESSAGE"] == (
        b"Process 4711 (prog) of user 0 terminated abnormally without generating a coredump."
    )
    found.kept = Kept(file="/var/core/x.zst", size=10, stored=5)
    found.message = "Stack trace of thread 1:"
    entry = found.entry()
    assert entry["MESSAGE"] == b"Process 4711 (prog) of user 0 dumped core.\n\nStack trace of thread 1:"
    assert entry["COREDUMP_FILENAME"] == b"/var/core/x.zst"
    found.kept = Kept(journal=True)
    assert found.entry()["MESSAGE"].startswith(b"Process 4711 (prog) of user 0 dumped core.")


def test_nothing_that_is_known_costs_the_entry() -> None:
    assert {"MESSAGE", "COREDUMP_PID", "COREDUMP_SIGNAL", "COREDUMP_UID", "COREDUMP_GID"} <= set(
        way().entry()
    )


def test_a_boot_has_an_id_of_32_digits() -> None:
    boot = way().facts()["COREDUMP_BOOT_ID"].decode()
    assert len(boot) == 32
    int(boot, 16)


def test_what_became_of_the_core_is_told_in_fields() -> None:
    kept = Kept(
        file="/var/core/a.zst",
        size=100,
        stored=10,
        content="budget",
        truncated=True,
        dropped=((0x1000, 0x2000), (0x5000, 0x9000)),
        unreadable=((0xA000, 0xB000),),
        reason="why",
    )
    assert fields_of(kept) == {
        "COREDUMP_FILENAME": b"/var/core/a.zst",
        "COREDUMP_TRUNCATED": b"1",
        "COREDUMP_CONTENT": b"budget",
        "COREDUMP_KEPT_SIZE": b"100",
        "COREDUMP_STORED_SIZE": b"10",
        "COREDUMP_DROPPED": b"0x1000-0x2000\n0x5000-0x9000",
        "COREDUMP_UNREADABLE": b"0xa000-0xb000",
        "COREDUMP_REASON": b"why",
    }
    assert set(fields_of(kept)) <= {*journal.STANDARD_FIELDS, *journal.OWN_FIELDS}


def test_a_core_that_is_all_there_has_no_field_of_what_it_lacks() -> None:
    assert fields_of(Kept(file="/a.zst", content="full")) == {"COREDUMP_FILENAME": b"/a.zst"}


def test_very_many_stretches_are_counted_instead_of_listed() -> None:
    kept = Kept(dropped=tuple((n * 0x2000, n * 0x2000 + 0x1000) for n in range(5000)))
    lines = fields_of(kept)["COREDUMP_DROPPED"].split(b"\n")
    assert lines[-1] == b"and 3976 more"
    assert len(lines) == 1025


def test_the_default_configuration_stands_until_one_is_loaded() -> None:
    assert way().config == Config()
