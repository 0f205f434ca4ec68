"""What goes wrong on a machine in trouble costs as little as possible: never the fact that a process crashed."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import launchers
import pytest
import services
from conftest import MakeHandler, Program
from machine import Death, Machine, Victim, running
from meter import KTHREADD, Meter, NoMeter

from pycoredump import reader, zstd

pytestmark = [pytest.mark.kernel, pytest.mark.root]

MIB = 1 << 20
needs_unshare = pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")


def whole(path: pathlib.Path) -> bool:
    """Whether any zstd tool can decompress the archive to its end."""
    return subprocess.run(["zstd", "-tq", path], capture_output=True, check=False).returncode == 0


def metadata(path: pathlib.Path) -> dict[str, str]:
    """What the archive itself tells of its crash."""
    with path.open("rb") as file:
        return reader.Archive(file.fileno()).fields


@contextlib.contextmanager
def mounted(directory: pathlib.Path, options: str) -> Iterator[pathlib.Path]:
    """A tmpfs of its own."""
    directory.mkdir(mode=0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=711,{options}", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
        directory.rmdir()


def until(condition: Callable[[], object], what: str) -> None:
    services.until(condition, 30.0, what)


# The place of the cores.


def test_nearly_full_disk_keeps_a_core_that_opens(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    with mounted(kernel.directory / "nearly-full", "size=4M") as disk:
        one = handler({"Directory": f"{disk}/core", "KeepFree": "0", "MaxUse": "0"})
        death = kernel.crash([program("threads"), "5", "64", "random"])
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert entry["COREDUMP_TRUNCATED"] == b"1"
        assert entry["COREDUMP_REASON"]
        (stored,) = one.stored(death.pid)
        assert whole(stored)
        assert metadata(stored)["COREDUMP_PID"] == str(death.pid)


def test_full_disk_costs_the_core_but_not_the_entry(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    with mounted(kernel.directory / "full", "size=1M") as disk:
        (disk / "core").mkdir(mode=0o711)
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes(2 * MIB))
        one = handler({"Directory": f"{disk}/core", "KeepFree": "0", "MaxUse": "0"})
        death = kernel.crash([program("threads"), "5", "4", "mixed"])
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert b"without generating a coredump" in entry["MESSAGE"]
        assert b"Stack trace of thread" in entry["MESSAGE"]
        assert entry["COREDUMP_REASON"]
        assert one.stored() == []


def test_read_only_directory_costs_the_core_but_not_the_entry(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    with mounted(kernel.directory / "read-only", "size=1M,ro") as disk:
        handler({"Directory": os.fspath(disk)})
        death = kernel.crash([program("signals"), "null"])
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert b"Read-only file system" in entry["COREDUMP_REASON"]
        assert b"Stack trace of thread" in entry["MESSAGE"]


def test_missing_directory_is_made(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler({"Directory": os.fspath(kernel.directory / "missing" / "too" / "core")})
    death = kernel.crash([program("signals"), "null"])
    services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    assert whole(stored)
    assert one.core.stat().st_mode & 0o7777 == 0o711


def test_directory_that_cannot_be_made_costs_the_core_but_not_the_entry(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    (kernel.directory / "file").write_bytes(b"")
    one = handler({"Directory": os.fspath(kernel.directory / "file" / "core")})
    death = kernel.crash([program("signals"), "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert os.fspath(one.core).encode() in entry["COREDUMP_REASON"]


def test_directory_of_others_is_not_used(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    """Whoever may write to it could put another file in the place of a core."""
    directory = kernel.directory / "others"
    directory.mkdir()
    directory.chmod(0o777)
    one = handler({"Directory": os.fspath(directory)})
    death = kernel.crash([program("signals"), "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_REASON"]
    assert one.stored() == []


# The rest of the machine.


def test_broken_configuration_warns_and_is_ignored(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    good = (one.etc / "pycoredump.conf").read_bytes()
    (one.etc / "pycoredump.conf").write_bytes(
        good + b"MaxUse=plenty\nNonsense=1\n[\xff\n\0\n= =\nno assignment\n"
    )
    drop_ins = one.etc / "pycoredump.conf.d"
    drop_ins.mkdir()
    (drop_ins / "10-directory.conf").mkdir()
    os.mkfifo(drop_ins / "20-fifo.conf")
    (drop_ins / "30-loop.conf").symlink_to("30-loop.conf")
    death = kernel.crash([program("signals"), "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    problems = entry["COREDUMP_PROBLEMS"].decode()
    for named in ("plenty", "Nonsense", "no assignment", "10-directory.conf", "30-loop.conf"):
        assert named in problems
    assert whole(*one.stored(death.pid))


@needs_unshare
def test_without_journald_the_archive_tells_the_story(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    kernel.register(
        launchers.elsewhere(kernel.directory, one.path, "mount -t tmpfs none /run/systemd/journal")
    )
    death = kernel.crash([program("signals"), "null"])
    until(
        lambda: any("Not in the journal" in line for line in services.kernel_log(death.pid)),
        "a line of the kernel log",
    )
    (stored,) = one.stored(death.pid)
    told = metadata(stored)
    assert told["COREDUMP_PID"] == str(death.pid)
    assert told["COREDUMP_SIGNAL_NAME"] == "SIGSEGV"
    assert told["COREDUMP_EXE"].endswith("/signals")
    assert any(os.fspath(stored) in line for line in services.kernel_log(death.pid))


@needs_unshare
@pytest.mark.parametrize("missing", ["zstandard", "systemd", "."])
def test_without_packages_the_crash_is_kept_all_the_same(
    missing: str, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    """As after an upgrade of Python, when the C parts of the old one no longer load."""
    directory = pathlib.Path(zstd.PACKAGES) / missing
    if not directory.is_dir():
        pytest.skip(f"{directory} does not exist")
    one = handler()
    kernel.register(launchers.elsewhere(kernel.directory, one.path, f"mount -t tmpfs none {directory}"))
    death = kernel.crash([program("threads"), "5", "4", "mixed"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    assert whole(stored)
    if missing != "systemd":
        assert b"zstandard" in entry["COREDUMP_PROBLEMS"]


def test_process_that_is_gone_is_stored_from_the_stream(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    """Nothing of /proc is left when the handler starts: the core alone has to tell."""
    one = handler()
    late = launchers.write(
        kernel.directory / "late",
        f"#!/bin/sh\ncat >{kernel.directory}/stream\nexec </dev/null\nwhile [ -e /proc/$1/maps ]; do sleep 0.01; done\n"
        f'exec {one.path} "$@" <{kernel.directory}/stream\n',
    )
    kernel.register(late, pipe_limit=0)
    death = kernel.crash([program("threads"), "3", "1", "mixed", "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_THREADS"] == b"3"
    assert entry["COREDUMP_FAULT_ADDRESS"] == b"0x0"
    assert entry["COREDUMP_COMM"] == b"threads"
    assert whole(*one.stored(death.pid))


def test_hostile_name_stays_a_name(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler()
    copy = kernel.directory / "a .\n\xff-%s\x1b[1m"
    shutil.copy(program("signals"), copy)
    death = kernel.crash([copy, "null"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    assert stored.parent == one.core
    assert stored.name.isascii()
    assert stored.name.isprintable()
    assert b"\x1b" not in entry["MESSAGE"]
    assert b"\n" not in entry["COREDUMP_COMM"]


# Death of the handler, and of the dying process.


def running_handler(launcher: pathlib.Path, pid: int) -> int:
    """The PID of the handler that the kernel started for a process; 0 if there is none (any more)."""
    return next(iter(running(os.fsencode(launcher) + b"\0%d\0" % pid)), 0)


def kill_handler(one: launchers.Handler, victim: Victim, delay: float, number: signal.Signals) -> Death:
    """Let the victim crash, wait for its handler, and end that after a delay."""
    victim.kill()
    end = time.monotonic() + 20
    while not (found := running_handler(one.path, victim.pid)) and time.monotonic() < end:
        pass
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):
        os.kill(found, number)
    return victim.wait()


def is_watched(pid: int) -> bool:
    """Whether somebody waits beside the handler of this process: from then on its crash is told in any case."""
    return bool(running(b"pycoredump.lost", b"\0%d\0" % pid))


@pytest.mark.parametrize(
    "moments", [(0.0, 0.1), (0.1, 0.5), (0.5, 2.0)], ids=["early", "while-writing", "late"]
)
def test_killed_handler_leaves_an_entry_and_no_half_file(
    moments: tuple[float, float], kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    chosen = random.Random(1)
    killed = []
    for _ in range(6):
        victim = kernel.start([program("threads"), "3", "64", "mixed"])
        victim.kill()
        until(lambda pid=victim.pid: is_watched(pid), "somebody who watches")  # type: ignore[misc]
        time.sleep(chosen.uniform(*moments))
        found = running_handler(one.path, victim.pid)
        if found:
            os.kill(found, signal.SIGKILL)
        death = victim.wait()
        assert death.signal == signal.SIGABRT  # it was released
        killed.append((death, bool(found)))
    for death, _ in killed:
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert entry["COREDUMP_SIGNAL_NAME"] == b"SIGABRT"
        stored = one.stored(death.pid)
        assert all(whole(path) for path in stored)
        assert entry.get("COREDUMP_FILENAME", b"").decode() in ["", *map(str, stored)]
        assert ("COREDUMP_FILENAME" in entry) == bool(stored)
    left = sorted(one.core.iterdir()) if one.core.is_dir() else []
    assert left == one.stored()
    told = [services.wait_for_entry(death.pid, death.stamp) for death, was_killed in killed if was_killed]
    said = [entry for entry in told if b"was killed" in entry.get("COREDUMP_PROBLEMS", b"")]
    assert said or moments[0] >= 0.5
    assert all(len(services.crashes(death.stamp, COREDUMP_PID=death.pid)) == 1 for death, _ in killed)
    death = kernel.crash([program("signals"), "null"])
    services.wait_for_entry(death.pid, death.stamp)


def test_handler_killed_before_anybody_watches_leaves_no_half_file(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    """In its first hundredth of a second only the interpreter is at work; then the kernel log has the signal alone."""
    one = handler()
    for _ in range(6):
        victim = kernel.start([program("threads"), "3", "32", "mixed"])
        death = kill_handler(one, victim, 0.0, signal.SIGKILL)
        assert death.signal == signal.SIGABRT
    assert all(whole(path) for path in one.stored())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_polite_signals_do_not_end_the_handler(
    number: signal.Signals, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    victim = kernel.start([program("threads"), "3", "64", "random"])
    death = kill_handler(one, victim, 0.15, number)
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert "COREDUMP_TRUNCATED" not in entry
    assert whole(*one.stored(death.pid))


def test_core_that_breaks_off_is_marked_and_decompresses(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    """SIGKILL of a process ends its dump at once, whatever is read by then."""
    one = handler()
    broken = 0
    for delay in (0.05, 0.1, 0.2, 0.4):
        victim = kernel.start([program("threads"), "3", "256", "random"])
        victim.kill()
        until(lambda pid=victim.pid: running_handler(one.path, pid), "a handler")  # type: ignore[misc]
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        death = victim.wait()
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert all(whole(path) for path in one.stored(death.pid))
        broken += "COREDUMP_TRUNCATED" in entry
        one.clear()
    assert broken


# Who may read.

USER, OTHER = 12345, 12346  # of regular users; nobody needs to have such an account


def readable_by(user: int, path: pathlib.Path) -> bool:
    done = subprocess.run(
        ["cat", path], user=user, group=user, extra_groups=[], capture_output=True, check=False
    )
    return done.returncode == 0


def copied(source: pathlib.Path, target: pathlib.Path, mode: int) -> pathlib.Path:
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
    return target


@pytest.fixture
def set_uid_program(kernel: Machine, program: Program) -> pathlib.Path:
    target = copied(program("signals"), kernel.directory / "set-uid", 0o4755)
    if os.statvfs(target).f_flag & os.ST_NOSUID:
        pytest.skip(f"{kernel.directory} is mounted nosuid")
    return target


@pytest.fixture
def user_program(kernel: Machine, program: Program) -> pathlib.Path:
    """Where every user can run it, whoever owns the checkout."""
    return copied(program("signals"), kernel.directory / "plain", 0o755)


CARD = "%P %s %t %e"


@pytest.mark.parametrize(
    "specifiers", [None, CARD, "%P %s %t %e %u %g %c"], ids=["all", "first-four", "without-%d"]
)
def test_core_of_a_set_uid_program_is_for_root_alone(
    specifiers: str | None, kernel: Machine, set_uid_program: pathlib.Path, handler: MakeHandler
) -> None:
    one = handler(specifiers=specifiers, suid_dumpable=2)
    death = kernel.crash([set_uid_program, "null"], user=USER)
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["_UID"] == b"0"  # journald shows it to no other user
    (stored,) = one.stored(death.pid)
    facts = stored.stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (0, 0, 0o640)
    assert not readable_by(USER, stored)
    assert not readable_by(OTHER, stored)


def test_core_of_a_user_is_readable_by_that_user_alone(
    kernel: Machine, user_program: pathlib.Path, handler: MakeHandler
) -> None:
    one = handler(suid_dumpable=2)
    death = kernel.crash([user_program, "null"], user=USER)
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_UID"].decode() == entry["_UID"].decode() == str(USER)
    (stored,) = one.stored(death.pid)
    assert readable_by(USER, stored)
    assert not readable_by(OTHER, stored)
    assert stored.stat().st_uid == 0


def test_without_the_dumpable_specifier_a_core_is_for_root_alone(
    kernel: Machine, user_program: pathlib.Path, handler: MakeHandler
) -> None:
    """Nothing then tells that the process was not a privileged one."""
    one = handler(specifiers="%P %s %t %e %u %g %c")
    death = kernel.crash([user_program, "null"], user=USER)
    services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    assert not readable_by(USER, stored)


# Size and number.


@pytest.fixture
def meter() -> Iterator[Meter]:
    try:
        with contextlib.closing(Meter()) as counting:
            yield counting
    except NoMeter as e:
        pytest.skip(str(e))


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        pytest.param(["threads", "5", "4", "mixed"], 30 * MIB, id="4M"),
        pytest.param(["threads", "5", "256", "mixed"], 64 * MIB, id="256M"),
        pytest.param(["threads", "500", "4", "mixed"], 64 * MIB, id="500-threads"),
        pytest.param(["threads", "2000", "4", "mixed"], 64 * MIB, id="2000-threads"),
        pytest.param(["mappings", "30000"], 64 * MIB, id="30000-mappings"),
        pytest.param(["sparse", "8", "128"], 64 * MIB, id="8G-sparse"),
        pytest.param(["threads", "5", "1024", "random"], 64 * MIB, id="1G", marks=pytest.mark.slow),
    ],
)
def test_memory_of_the_handler_is_bounded(
    arguments: list[str], most: int, kernel: Machine, program: Program, handler: MakeHandler, meter: Meter
) -> None:
    handler()
    victim = kernel.start([program(arguments[0]), *arguments[1:]])
    meter.start()
    victim.kill()
    victim.wait()
    # The kernel may have started something else meanwhile, which is small.
    assert 8 * MIB < max(cost.peak for cost in meter.costs(KTHREADD)) <= most


@pytest.mark.slow
def test_hundred_crashes_at_once_are_all_kept(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    victims = [kernel.start([program("threads"), "2", "1", "mixed"]) for _ in range(100)]
    for victim in victims:
        victim.kill()
    pids = {victim.wait().pid for victim in victims}

    def told() -> set[int]:
        entries = services.crashes(victims[0].stamp, fields=("COREDUMP_PID", "COREDUMP_FILENAME"))
        return {int(entry["COREDUMP_PID"]) for entry in entries if "COREDUMP_FILENAME" in entry}

    services.until(lambda: pids <= told(), 600.0, "an entry of each")
    stored = one.stored()
    assert len(stored) == 100
    assert all(whole(path) for path in stored)

    death = kernel.crash([program("signals"), "null"])
    services.wait_for_entry(death.pid, death.stamp)
    assert len(one.stored(death.pid)) == 1
