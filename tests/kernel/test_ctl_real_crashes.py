"""pycoredumpctl on real crashes: its selftest, the real coredumpctl beside it, and what a user may see."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import launchers
import pytest
import services
from machine import Machine

from pycoredump.cli import crashers

pytestmark = pytest.mark.kernel

CHECKOUT = pathlib.Path(__file__).parents[2]
USER, OTHER = 45001, 45002  # regular ones; they need no accounts
# The tool with the configuration of a handler under test, as a user.
TOOL = """
import importlib, os, pkgutil, sys
sys.path.insert(0, {checkout!r})
from pycoredump import cli, config
load = config.load
config.load = lambda **places: load(etc={etc!r}, lib={etc!r} + "/lib")
for module in pkgutil.iter_modules(cli.__path__):
    importlib.import_module("pycoredump.cli." + module.name)  # the user cannot read a checkout of root's
import grp, pwd, json, tempfile, pycoredump.reader
from pycoredump.cli.main import main
if {user}:
    os.setgroups([]); os.setresgid({user}, {user}, {user}); os.setresuid({user}, {user}, {user})
sys.exit(main())
"""

Make = Callable[..., launchers.Handler]


def tool(handler: launchers.Handler, *arguments: str, user: int = 0) -> subprocess.CompletedProcess[bytes]:
    text = TOOL.format(checkout=os.fspath(CHECKOUT), etc=os.fspath(handler.etc), user=user)
    return subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, check=False, timeout=120, cwd="/",
        env={"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip


def crash(user: int) -> int:
    """A crash of the user; its PID."""
    with open(crashers.__file__, "rb") as script:
        child = subprocess.Popen(
            [sys.executable, "-IS", f"/proc/self/fd/{script.fileno()}", "abort"], user=user, group=user, extra_groups=[],
            pass_fds=[script.fileno()], cwd="/", stderr=subprocess.DEVNULL, preexec_fn=_unlimited,
        )  # fmt: skip
    assert child.wait() == -signal.SIGABRT
    return child.pid


def _unlimited() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def entry_of(handler: launchers.Handler, pid: int) -> dict[str, object]:
    """The row of a crash, when its entry is there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        done = tool(handler, "info", "--json=short", "-q", str(pid))
        if done.returncode == 0:
            row: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
            fields = row["Fields"]
            assert isinstance(fields, dict)
            if "MESSAGE" in fields:  # the entry, not only the archive
                return row
        time.sleep(0.1)
    raise AssertionError(f"no entry of process {pid}")


def test_selftest_finds_every_signal_caught(handler: Make) -> None:
    one = handler()
    done = tool(one, "selftest", "--json=short")
    rows = json.loads(done.stdout)
    assert [(row["trial"], row["detail"]) for row in rows if row["state"] == "FAILED"] == []
    assert done.returncode == 0
    caught = {row["trial"] for row in rows if row["core"] == "present"}
    assert caught >= {
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGFPE",
        "SIGSEGV",
        "SIGBUS",
        "SIGSYS",
        "SIGXCPU",
        "SIGXFSZ",
    }
    assert one.stored() == []  # it cleans up


def test_selftest_says_which_trials_fail(handler: Make) -> None:
    done = tool(handler({"Storage": "none"}), "selftest")
    assert done.returncode == 1
    assert b"SIGSEGV" in done.stdout
    assert re.search(rb"FAILED +none .*the core is none", done.stdout)


def test_selftest_without_a_handler_fails_at_once(kernel: Machine, handler: Make) -> None:
    one = handler()
    kernel.write("kernel/core_pattern", "core")
    done = tool(one, "selftest")
    assert done.returncode == 1
    assert b"crashes are handed to no program" in done.stderr


def test_a_user_sees_and_dumps_own_crashes_and_no_others(handler: Make, tmp_path: pathlib.Path) -> None:
    one = handler()
    own, foreign, roots = crash(USER), crash(OTHER), crash(0)
    paths = {pid: str(entry_of(one, pid)["Storage"]) for pid in (own, foreign, roots)}

    listed = tool(one, "list", user=USER)
    assert b"There may be more" in listed.stderr
    for pid in (foreign, roots):
        assert f" {pid} ".encode() not in listed.stdout
        denied = tool(one, "dump", paths[pid], user=USER)
        assert (denied.returncode, denied.stdout) == (1, b"")
        assert b"cannot be read" in denied.stderr

    dumped = tool(one, "dump", "-q", paths[own], user=USER)
    assert dumped.returncode == 0, dumped.stderr
    assert dumped.stdout[:4] == b"\x7fELF"
    assert f"PID: {own} ".encode() in tool(one, "info", paths[own], user=USER).stdout
    removed = tool(one, "remove", paths[own], "-y", user=USER)
    assert removed.returncode == 1
    assert b"Only root may remove" in removed.stderr


def test_a_user_finds_own_crashes_in_the_own_journal(handler: Make, tmp_path: pathlib.Path) -> None:
    one = handler()
    pid = crash(USER)
    entry_of(one, pid)
    remote = shutil.which("systemd-journal-remote", path="/usr/lib/systemd:/lib/systemd")
    if not remote:
        pytest.skip("needs systemd-journal-remote to write a journal as a persistent journald would")
    # As journald splits them: the user's entries in a file that the user may read.
    exported = subprocess.run(
        ["journalctl", "-o", "export", f"COREDUMP_PID={pid}"], capture_output=True, check=True
    )
    place = pathlib.Path(one.core).parent / "journal"
    place.mkdir()
    subprocess.run(
        [remote, "-o", place / "user.journal", "-"], input=exported.stdout, check=True, capture_output=True
    )
    os.chown(place, USER, USER)
    os.chown(place / "user.journal", USER, USER)
    listed = tool(one, "list", "-q", "-D", os.fspath(place), user=USER)
    assert re.search(rf" {pid} +{USER} +{USER} SIGABRT present ".encode(), listed.stdout)
    dumped = tool(one, "dump", "-q", "-D", os.fspath(place), str(pid), user=USER)
    assert dumped.stdout[:4] == b"\x7fELF"
    inaccessible = tool(one, "list", "-q", "-D", os.fspath(place), user=OTHER)
    assert b"present" not in inaccessible.stdout


@pytest.mark.skipif(shutil.which("coredumpctl") is None, reason="needs coredumpctl to compare with")
def test_real_crashes_look_the_same_through_coredumpctl(handler: Make) -> None:
    one = handler()
    for pid in (crash(0), crash(USER)):
        entry_of(one, pid)
        theirs = subprocess.run(
            ["coredumpctl", "info", "--no-pager", str(pid)], capture_output=True, text=True, check=True,
            env={"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        ).stdout.splitlines()  # fmt: skip
        ours = iter(tool(one, "info", str(pid)).stdout.decode().splitlines())
        without_age = [re.sub(r" \([^()]* ago\)$", "", line) for line in theirs]
        seen = [re.sub(r" \([^()]* ago\)$", "", line) for line in ours]
        rest = iter(seen)
        assert [line for line in without_age if line not in rest] == []


HOSTILE = b"\x1b[31m ..\n\xff"


@pytest.mark.skipif(shutil.which("coredumpctl") is None, reason="needs coredumpctl")
def test_a_name_that_is_not_utf8_ends_no_list(handler: Make, tmp_path: pathlib.Path) -> None:
    # coredumpctl ends its whole list at such a name, and hands escape sequences to the terminal.
    one = handler()
    program = os.fsencode(tmp_path) + b"/" + HOSTILE
    shutil.copyfile(b"/bin/sleep", program)
    os.chmod(program, 0o755)
    child = subprocess.Popen([b"sleep", b"60"], executable=program, preexec_fn=_unlimited)
    while os.readlink(f"/proc/{child.pid}/exe".encode()) != program:
        time.sleep(0.01)
    child.send_signal(signal.SIGABRT)
    assert child.wait() == -signal.SIGABRT
    entry_of(one, child.pid)
    for listed in (
        subprocess.run(["coredumpctl", "list", str(child.pid)], capture_output=True, check=True),
        tool(one, "list", str(child.pid)),
        tool(one, "info", str(child.pid)),
    ):
        assert b"\\x1b[31m" in listed.stdout
        assert not {b"\x1b", b"\xff"} & {listed.stdout[i : i + 1] for i in range(len(listed.stdout))}


@pytest.mark.skipif(not os.path.isdir("/var/log/journal"), reason="needs a place for a persistent journal")
def test_a_user_lists_own_crashes_where_the_journal_is_split(handler: Make) -> None:
    """As on a host: journald keeps users' entries in files of their own, which they may read."""
    one = handler()
    with services.persistent_journald():
        own, foreign, roots = crash(USER), crash(OTHER), crash(0)
        for pid in (own, foreign, roots):
            entry_of(one, pid)
        listed = tool(one, "list", "--json=short", user=USER)
        assert [row["pid"] for row in json.loads(listed.stdout)] == [own]
        assert b"There may be more" in listed.stderr
        assert {own, foreign, roots} <= {
            row["pid"] for row in json.loads(tool(one, "list", "--json=short").stdout)
        }
        assert tool(one, "dump", "-q", str(own), user=USER).stdout[:4] == b"\x7fELF"
        assert tool(one, "info", "-q", str(foreign), user=USER).returncode == 1


def test_watch_shows_a_real_crash(handler: Make) -> None:
    one = handler()
    text = TOOL.format(checkout=os.fspath(CHECKOUT), etc=os.fspath(one.etc), user=0)
    child = subprocess.Popen(
        [sys.executable, "-c", text, "watch", "-q", f"COREDUMP_UID={USER}", "--exec", "/bin/sh -c 'echo ran $COREDUMP_PID'"],
        stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    try:
        time.sleep(1.5)  # nothing tells that it follows
        crash(0)
        pid = crash(USER)
        assert child.stdout is not None
        assert f"[{pid}] SIGABRT".encode() in child.stdout.readline()
        assert child.stdout.readline() == f"ran {pid}\n".encode()
    finally:
        child.terminate()
        child.communicate()
