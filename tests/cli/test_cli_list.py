"""list and info: journal and archives, each crash once, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from cli_system import PROGRAM, SECOND, System, clean_environment, core, fields

from pycoredump.cli import archives

T = 1_795_400_000
HOSTILE = "\x1b[31mred\x1b]0;title\x07\r\nfake line\u202egnp\x9b2J"


@pytest.fixture
def system(tmp_path: pathlib.Path) -> System:
    return System(tmp_path / "root")


def pids(system: System, *arguments: str) -> list[int]:
    done = system.run(*arguments, "--json=short", "-q")
    return [row["pid"] for row in json.loads(done.stdout)] if done.stdout else []


def test_each_crash_is_listed_once_in_the_order_of_time(system: System) -> None:
    system.crash(1, time=T)  # both
    system.crash(2, time=T + 10, entry=False)  # its entry was rotated away
    system.crash(3, time=T + 20, archive=False)  # its archive was removed
    system.crash(4, time=T + 30)
    system.commit()
    assert pids(system, "list") == [1, 2, 3, 4]
    assert pids(system, "list", "-r") == [4, 3, 2, 1]
    assert pids(system, "list", "-n", "2", "-r") == [4, 3]
    assert pids(system, "list", "-1") == [4]


def test_an_entry_without_file_name_still_belongs_to_its_archive(system: System) -> None:
    one = fields(5, time=T)
    system.archive(one)
    system.entry(one)
    system.commit()
    assert pids(system, "list") == [5]
    assert pids(system, "list", "-r") == [5]


def test_archives_alone_are_listed_where_there_is_no_journal(system: System) -> None:
    system.crash(1, time=T, entry=False, unit="a.service")
    system.crash(2, time=T + 1, entry=False, comm="other", exe="/usr/bin/other")
    done = system.run("list")
    assert b"Only archives are shown" in done.stderr
    assert pids(system, "list") == [1, 2]
    assert pids(system, "list", "other") == [2]
    assert pids(system, "list", "/usr/bin/prog") == [1]
    assert pids(system, "list", "COREDUMP_UNIT=a.service") == [1]
    assert pids(system, "list", "--since", f"@{T + 1}") == [2]
    assert pids(system, "list", "2", "prog") == []


def test_an_archive_copied_from_another_machine_tells_its_story(
    system: System, tmp_path: pathlib.Path
) -> None:
    one = fields(77, time=T, hostname="far", unit="x.service")
    copied = tmp_path / "copied.zst"
    shutil.copyfile(f"{system.root}{system.archive(one)}", copied)  # without its attributes and name
    done = system.run("info", os.fspath(copied), root=False)
    text = done.stdout.decode()
    for line in ("PID: 77 (prog)", "Hostname: far", "Unit: x.service", "(present)", "Threads: 2"):
        assert line in text


def test_a_core_of_somebody_else_is_read_from_its_notes(system: System, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "core.4711"
    path.write_bytes(core())
    row = json.loads(system.run("info", "--json=short", os.fspath(path), root=False).stdout)
    assert (row["Signal"], row["Command"], row["Threads"]) == (11, "prog", [4711, 4712])


def test_a_damaged_archive_is_listed_by_its_name(system: System) -> None:
    (system.cores / "core-prog-9-11-1795400000.zst").write_bytes(b"\x28\xb5\x2f\xfdnonsense")
    (system.cores / "notes.txt").write_text("not an archive")
    (system.cores / "core-prog-10-11-1795400000.zst").mkdir()
    assert pids(system, "list") == [9]
    assert b"PID: 9" in system.run("info", "9").stdout


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("core-a-12-11-1795488115.zst", ("12", "11", 1795488115)),
        ("core-a-12-11-1795488115", ("12", "11", 1795488115)),
        ("core-a-12-11-1795488115-3.zst", ("12", "11", 1795488115)),
        ("core-a-1-2-3-12-11-1795488115.zst", ("12", "11", 1795488115)),
        ("core-a-12-11.zst", None),
        ("core.a.0.b.12.11.zst", None),
        (".#core-12-11-1795488115", None),
        ("core-a-x-11-1795488115.zst", None),
    ],
)
def test_names_of_archives_are_taken_apart(name: str, expected: tuple[str, str, int] | None) -> None:
    one = archives.named(name)
    assert (one and (one.pid, one.signal, one.seconds)) == expected


@pytest.mark.parametrize("verb", [("list",), ("info",), ("list", "-F", "COREDUMP_COMM"), ("info", "--all-fields"),
                                  ("stats",), ("stats", "--prometheus")], ids=" ".join)  # fmt: skip
def test_no_field_reaches_the_terminal_as_an_order(system: System, verb: tuple[str, ...]) -> None:
    names = ("comm", "exe", "cmdline", "unit", "hostname", "cwd", "cgroup", "thread_name", "code_name", "environ",
             "title", "signature", "explanation", "reason", "modules", "container_cmdline", "signal_name", "uid",
             "package_name", "package_version", "filename", "script_trace", "problems", "MESSAGE")  # fmt: skip
    system.entry(fields(1, time=T, tid="2", **dict.fromkeys(names, HOSTILE)))
    system.entry(fields(2, time=T, **dict.fromkeys(names, b"\xff\xfe\x1b[2J")))
    system.entry(fields(3, time=T, signal=HOSTILE, pid=HOSTILE))
    system.commit()
    done = system.run(*verb, "--no-pager", SYSTEMD_COLORS="0")
    assert done.returncode == 0
    text = (done.stdout + done.stderr).decode()
    assert all(c.isprintable() or c in "\n\t" for c in text)
    assert not re.search(r"^(TIME .*\n)?fake line", text, re.MULTILINE)


def test_an_entry_of_a_million_bytes_of_environment_is_cut_in_info(system: System) -> None:
    system.entry(
        fields(1, time=T, environ="A=" + "x" * 500_000 + "\n" + "\n".join(f"V{i}=1" for i in range(50_000)))
    )
    system.commit()
    assert len(system.run("info").stdout) < 5000
    whole = system.run("info", "--all-fields").stdout
    assert b"V49999=1" in whole
    assert len(whole) > 1_000_000 - 100_000


def test_a_name_that_is_no_utf8_is_a_match_as_well(system: System) -> None:
    system.crash(1, time=T, comm=b"\xffprog", signature=b"\xff\xfe")
    system.commit()
    for arguments in (("list",), ("list", "-r"), ("info",)):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--root", system.root, *arguments, b"\xffprog"],
            capture_output=True, check=True, env=clean_environment(),
        )  # fmt: skip
        assert done.stderr == b""
    assert b"Signature: \\xff\\xfe\n" in done.stdout
    for entry in (True, False):
        system.crash(2, time=T + 1, entry=entry, archive=not entry, comm=b"\xff")
    assert system.run("stats").returncode == 0


def test_a_comm_that_is_a_path_stays_text(system: System) -> None:
    one = fields(1, time=T, comm="../../x", exe="/usr/bin/x")
    assert system.archive(one) == "/var/core/core-\\x2e\\x2e\\x2f\\x2e\\x2e\\x2fx-1-11-1795400000.zst"
    assert pids(system, "list", "COREDUMP_COMM=../../x") == [1]


def test_an_entry_by_somebody_who_cannot_know_is_marked(system: System) -> None:
    system.entry(fields(1, time=T), sender="1000")
    system.entry(fields(2, time=T, uid="1000"), sender="1000")
    system.commit()
    assert b"Not Trusted: user 1000 wrote this" in system.run("info", "1").stdout
    assert b"Not Trusted" not in system.run("info", "2").stdout


def test_info_shows_what_was_kept_and_why(system: System) -> None:
    system.crash(
        1, time=T, core_size="3000000", kept_size="1000000", content="budget", rlimit="18446744073709551615",
        dropped="0x1000-0x2000\n0x5000-0x6000", fault_address="0x8", code_name="SEGV_MAPERR", code="1",
        sender_pid="99", sender_uid="0", environ="\n".join(f"A{i}=1" for i in range(20)),
    )  # fmt: skip
    text = system.run("info").stdout.decode()
    for line in (
        "Code: SEGV_MAPERR: nothing is mapped at the address",
        "Fault Address: 0x8",
        "Core: 2.8M, 976.5K kept by Content=budget, 8.0K of used memory left out",
        "Core Limit: unlimited",
        "Sent By: process 99 of user 0",
        "Threads: 2 (the crashing one first: 4711 4712)",
        "… and 12 more (--all-fields)",
        "(reduced)",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("content", "truncated", "word"),
    [
        ("stacks", "1", "reduced"),
        ("budget", "", "reduced"),
        ("", "1", "truncated"),
        ("", "", "present"),
    ],
    ids=["stacks", "budget", "cut", "whole"],
)
def test_memory_left_out_on_purpose_is_not_truncation(
    system: System, content: str, truncated: str, word: str
) -> None:
    system.crash(1, time=T, content=content, truncated=truncated)
    system.commit()
    for arguments in (("list",), ("list", "-r")):
        (row,) = json.loads(system.run(*arguments, "--json=short").stdout)
        assert row["corefile"] == word


def test_info_tells_how_often_and_since_when_a_crash_is_known(system: System) -> None:
    for pid, signature in ((1, "aa"), (2, "bb"), (3, "aa"), (4, "aa")):
        system.crash(pid, time=T + 60 * pid, signature=signature)
    once = "Signature: bb (no other crash like this is known)"
    assert once in system.run("info", "2").stdout.decode()  # by the archives
    system.commit()
    assert once in system.run("info", "2").stdout.decode()
    for word in ("1", "4"):
        text = system.run("info", word).stdout.decode()
        assert "Signature: aa (3 crashes like this, the first Mon 2026-11-23 02:14:21 UTC, " in text
    shown = json.loads(system.run("info", "4", "--json=short").stdout)
    assert shown["Known"] == {"Crashes": 3, "First": (T + 61) * SECOND}


def test_a_line_feed_makes_a_new_line_only_where_lines_are_meant(system: System) -> None:
    system.crash(1, time=T, exe="/x\n Signal: 9 (KILL)".replace("\\n", "\n"), environ="A=1\nB=2")
    system.commit()
    text = system.run("info").stdout.decode()
    assert "Executable: /x\\n Signal: 9 (KILL)" in text
    assert "Environment: A=1\n                B=2\n" in text


@pytest.mark.parametrize(
    "word", ["./core", "x.zst", "/var/core/core-a-1-2-3", "core-a-b-1-2-3", "/no/such.zst"]
)
def test_an_archive_that_is_not_there_is_told_as_one(system: System, word: str) -> None:
    done = system.run("info", "-q", word)
    assert done.returncode == 1
    assert f"No archive {word!r}" in done.stderr.decode()


def test_nothing_found_is_one_line_and_status_1(system: System) -> None:
    for verb in ("list", "info", "dump", "debug", "stats"):
        done = system.run(verb, "-q")
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == b"pycoredumpctl: No crashes found.\n"


def test_a_full_disk_is_told(system: System) -> None:
    system.crash(1, time=T, entry=False)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--root", system.root, "list", "-q"],
            stdout=full, stderr=subprocess.PIPE, check=False, env=clean_environment(),
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"pycoredumpctl: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error(system: System) -> None:
    for pid in range(1, 60):
        system.entry(fields(pid, time=T + pid, comm="x" * 4000))
    system.commit()
    command = f"{sys.executable} -c {shlex.quote(PROGRAM)} --root {system.root} list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, env=clean_environment())
    assert done.stdout.startswith(b"TIME")
    assert done.stderr == b""


def terminal(*arguments: str, **environment: str) -> str:
    """What the tool writes to a terminal of 60 columns."""
    control, side = pty.openpty()
    subprocess.run(["stty", "cols", "60"], stdin=side, check=True)
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdin=side, stdout=side, stderr=side, env=clean_environment(**environment)
    )  # fmt: skip
    os.close(side)
    parts = []
    while True:
        try:
            part = os.read(control, 4096)
        except OSError:  # EIO: all have closed it
            break
        if not part:
            break
        parts.append(part)
    child.wait()
    os.close(control)
    return b"".join(parts).decode()


def test_a_terminal_gets_colours_and_lines_that_fit(system: System) -> None:
    system.crash(1, time=T, entry=False, exe="/a/very/long/path/to/the/program/that/does/not/fit/at/all")
    text = terminal("--root", os.fspath(system.root), "list", "-q", "--no-pager")
    assert "\x1b[4m" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(len(line) <= 66 for line in plain.split("\r\n"))
    assert "…" in plain
    assert "\x1b" not in terminal("--root", os.fspath(system.root), "list", "-q", "--no-pager", NO_COLOR="1")


def test_a_terminal_gets_a_pager(system: System, tmp_path: pathlib.Path) -> None:
    system.crash(1, time=T, entry=False, exe="/a/very/long/path/to/the/program/that/does/not/fit/at/all")
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\necho "paged $LESS"; cat\n')
    pager.chmod(0o755)
    text = terminal(
        "--root",
        os.fspath(system.root),
        "list",
        "-q",
        SYSTEMD_PAGER=os.fspath(pager),
        SYSTEMD_PAGERSECURE="0",
    )
    assert text.startswith("paged FRSXMK\r\n")
    assert "COREFILE" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(len(line) <= 66 for line in plain.split("\r\n"))  # less would chop the sizes off


def test_times_of_json_are_microseconds(system: System) -> None:
    system.crash(1, time=T)
    system.commit()
    (row,) = json.loads(system.run("list", "--json=short").stdout)
    assert row["time"] == (T + 1) * SECOND


def test_a_host_with_broken_libraries_still_gets_its_list(system: System) -> None:
    system.crash(1, time=T, entry=False)
    broken = "import sys; sys.modules['zstandard'] = sys.modules['systemd'] = None\n" + PROGRAM
    for arguments, status, message in (
        (("list", "--json=short"), 0, b"python3-systemd cannot be used"),
        (("info",), 0, b"python3-systemd cannot be used"),
        (("dump",), 1, b"zstandard cannot be used"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", broken, "--root", system.root, *arguments], capture_output=True, check=False,
            env=clean_environment(),
        )  # fmt: skip
        assert done.returncode == status
        assert message in done.stderr
        assert b"Traceback" not in done.stderr
        assert status or b"/usr/bin/prog" in done.stdout
