"""The checks of selftest: each fault in what was recorded is found, and a faultless record has none."""

from __future__ import annotations

import os
import pathlib
import struct

import pytest
from cli_system import System, fields

from pycoredump import store
from pycoredump.cli import archives, crashers, matches, trials
from pycoredump.cli.incidents import Incidents, Place
from pycoredump.cli.trials import Trial

T = 1_795_400_000
# What cli_system.core() holds: two threads, SIGSEGV.
TRIAL = Trial(name="x", way="x", crasher="x", signal="SIGSEGV", code="SEGV_MAPERR", threads=2)


@pytest.fixture
def system(tmp_path: pathlib.Path) -> System:
    return System(tmp_path / "root")


def faults(system: System, trial: Trial = TRIAL, /, **facts: str) -> list[str]:
    """What is found wrong with a crash that is recorded so."""
    known = {"code_name": "SEGV_MAPERR", **facts}
    if not list(system.cores.iterdir()):
        system.archive(fields(1, time=T, **known))
    (path,) = system.cores.iterdir()
    place = Place(cores=os.fspath(system.cores))
    one = archives.incident(os.fspath(path), time=T, known={})
    return list(trials.faults(trial, one, Incidents(place, matches.Matches(archives=("x",)))))


@pytest.mark.skipif(os.geteuid() != 0, reason="an archive is root's")
def test_a_crash_as_expected_has_no_fault(system: System) -> None:
    assert faults(system) == []


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"signal": "6"}, "the signal is SIGABRT"),
        ({"code_name": "SEGV_ACCERR"}, "the code is SEGV_ACCERR, not SEGV_MAPERR"),
        ({"cmdline": ""}, "COREDUMP_CMDLINE is missing"),
    ],
    ids=["signal", "code", "command line"],
)
def test_a_wrong_fact_is_a_fault(system: System, facts: dict[str, str], fault: str) -> None:
    assert fault in faults(system, **facts)


def test_a_missing_thread_is_a_fault(system: System) -> None:
    assert "the core has 2 threads" in faults(system, TRIAL.replace(threads=5))


def test_a_core_that_should_not_be_is_a_fault(system: System) -> None:
    assert faults(system, TRIAL.replace(core="none")) == [
        "a core is present, though RLIMIT_CORE forbids one"
    ]


def test_a_core_that_is_not_whole_is_a_fault(system: System) -> None:
    assert faults(system, truncated="1", reason="No space") == ["the core is truncated: No space"]


def test_a_damaged_core_is_a_fault(system: System) -> None:
    system.archive(fields(1, time=T, code_name="SEGV_MAPERR"))
    (path,) = system.cores.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    (fault,) = (fault for fault in faults(system) if "cannot be read" in fault)
    assert fault


def test_a_file_that_others_may_read_is_a_fault(system: System) -> None:
    system.archive(fields(1, time=T, code_name="SEGV_MAPERR"))
    (path,) = system.cores.iterdir()
    path.chmod(0o644)
    assert any(fault.endswith("mode 644") for fault in faults(system))


@pytest.mark.skipif(os.geteuid() != 0, reason="an archive is root's")
def test_who_may_read_is_checked_both_ways(system: System) -> None:
    owned = TRIAL.replace(user=4711)
    assert faults(system, owned) == ["the core is readable for the users root, not [4711]"]
    (path,) = system.cores.iterdir()
    fd = os.open(path, os.O_RDWR)
    try:
        store.allow_reading(fd, 4711)
    finally:
        os.close(fd)
    assert faults(system, owned) == []
    assert faults(system) == ["the core is readable for the users [4711], not root alone"]


def test_a_limit_that_was_not_kept_is_a_fault(system: System) -> None:
    system.archive(fields(1, time=T, code_name="SEGV_MAPERR"))
    (path,) = system.cores.iterdir()
    with open(path, "ab") as file:
        file.truncate(4 << 20)
    assert any(
        "more than RLIMIT_CORE allows" in fault for fault in faults(system, TRIAL.replace(core="limited"))
    )


def test_readers_are_the_named_users_that_may_read() -> None:
    rows = [(1, 6, 0xFFFFFFFF), (2, 4, 1000), (2, 0, 1001), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    assert trials._readers(acl) == [1000]


def test_every_signal_with_a_core_is_tried() -> None:
    tried = {trial.signal for trial in trials.TRIALS}
    assert tried == {
        "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGFPE", "SIGSEGV", "SIGBUS", "SIGSYS", "SIGXCPU", "SIGXFSZ",
    }  # fmt: skip
    assert {trial.crasher for trial in trials.TRIALS} <= set(crashers.CRASHES)
