"""What is unusual on one host is the rule on another: missing features, small limits, containers, odd file systems."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Iterator

import launchers
import pytest
import services
from conftest import MakeHandler, Program
from machine import Machine

from pycoredump.reader import Archive

pytestmark = [pytest.mark.kernel, pytest.mark.root]

MIB = 1 << 20
CARD = "%P %s %t %e"
needs_unshare = pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")


def whole(path: pathlib.Path) -> bool:
    return subprocess.run(["zstd", "-tq", path], capture_output=True, check=False).returncode == 0


def fields(path: pathlib.Path) -> dict[str, str]:
    with path.open("rb") as file:
        return Archive(file.fileno()).fields


def is_in_kernel_log(pid: int, text: str) -> bool:
    return any(text in line for line in services.kernel_log(pid))


def same_as_stream(kernel: Machine, pid: int, archive: pathlib.Path) -> bool:
    """Whether the archive holds what the recorder got from the kernel."""
    stream = kernel.directory / f"stream-{pid}"
    try:
        with subprocess.Popen(["zstd", "-dcq", archive], stdout=subprocess.PIPE) as core:
            return subprocess.run(["cmp", "-", stream], stdin=core.stdout, check=False).returncode == 0
    finally:
        stream.unlink()


@contextlib.contextmanager
def mounted(kind: str, directory: pathlib.Path, options: str) -> Iterator[pathlib.Path]:
    directory.mkdir(mode=0o711)
    done = subprocess.run(["mount", "-t", kind, "-o", options, "none", directory], check=False)
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
        directory.rmdir()


# A journald that hangs, and the crash of journald itself.


@contextlib.contextmanager
def hanging_journald(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A directory for /run/systemd/journal, whose socket nobody reads and which takes nothing more."""
    directory.mkdir()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler,
    ):
        sock.bind(os.fspath(directory / "socket"))
        (directory / "socket").chmod(0o666)
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"MESSAGE=x\n", os.fspath(directory / "socket"))
        yield directory


@needs_unshare
def test_hanging_journald_keeps_nobody_waiting(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    with hanging_journald(kernel.directory / "journal") as journal:
        change = f"mount --bind {journal} /run/systemd/journal"
        kernel.register(launchers.elsewhere(kernel.directory, one.path, change))
        death = kernel.crash([program("signals"), "null"])
        # The entry waits for journald, the process did not.
        assert not is_in_kernel_log(death.pid, "Not in the journal")
        services.until(lambda: one.stored(death.pid), 60.0, "a core")
        (stored,) = one.stored(death.pid)
    services.until(
        lambda: is_in_kernel_log(death.pid, "Not in the journal"), 120.0, "a line of the kernel log"
    )
    assert is_in_kernel_log(death.pid, os.fspath(stored))


@needs_unshare
@pytest.mark.parametrize("by", ["name", "unit"])
def test_crash_of_journald_itself_waits_for_no_journald(
    by: str, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler({"Storage": "journal"})
    copy = kernel.directory / ("systemd-journald" if by == "name" else "other")
    shutil.copyfile(program("signals"), copy)
    copy.chmod(0o755)
    unit = "system.slice/systemd-journald.service" if by == "unit" else ""
    with hanging_journald(kernel.directory / f"journal-{by}") as journal, control_group(unit) as group:
        change = f"mount --bind {journal} /run/systemd/journal"
        kernel.register(launchers.elsewhere(kernel.directory, one.path, change))
        victim = kernel.start([copy, "null"])
        enter(group, victim.pid)
        victim.kill()
        death = victim.wait()
        # Nobody has made room in the socket: whoever waits, waits for ever.
        services.until(
            lambda: is_in_kernel_log(death.pid, "Not in the journal"), 25.0, "a line of the kernel log"
        )
        (stored,) = one.stored(death.pid)  # and not into a journal that is not there
        assert fields(stored)["COREDUMP_EXE"] == os.fspath(copy)


@contextlib.contextmanager
def control_group(name: str) -> Iterator[pathlib.Path | None]:
    """A group where systemd would make one; None for no name."""
    if not name:
        yield None
        return
    roots = [pathlib.Path("/sys/fs/cgroup", part) for part in ("unified", "systemd", "")]
    root = next((root for root in roots if (root / "cgroup.procs").exists()), None)
    if root is None or not os.access(root, os.W_OK):
        pytest.skip("no control groups here")
    made = []
    try:
        path = root
        for part in pathlib.Path(name).parts:
            path /= part
            if not path.exists():
                path.mkdir()
                made.append(path)
        yield path
    finally:
        for path in reversed(made):
            services.until(lambda path=path: removed(path), 60.0, f"the end of {path}")


def removed(path: pathlib.Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def enter(group: pathlib.Path | None, pid: int) -> None:
    if group is not None:
        (group / "cgroup.procs").write_text(str(pid))


def test_unit_is_told_and_a_manager_is_asked_for_nothing(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    handler()
    for name, unit in (("system.slice/web@1.service", b"web@1.service"), ("init.scope", b"init.scope")):
        with control_group(name) as group:
            victim = kernel.start([program("signals"), "null"])
            enter(group, victim.pid)
            victim.kill()
            death = victim.wait()
            entry = services.wait_for_entry(death.pid, death.stamp)
            assert entry["COREDUMP_UNIT"] == unit
            assert entry["COREDUMP_CGROUP"] == f"/{name}".encode()


# The journal as the place of the core, or no place at all.


def test_core_in_the_entry_itself(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler({"Storage": "journal"})
    kernel.register(launchers.recorder(kernel.directory, one.path))
    death = kernel.crash([program("threads"), "3", "4", "mixed"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    stream = kernel.directory / f"stream-{death.pid}"
    assert entry["COREDUMP"] == stream.read_bytes()
    stream.unlink()
    assert "COREDUMP_FILENAME" not in entry
    assert one.stored() == []


@needs_unshare
def test_core_for_a_journal_that_is_not_there_becomes_a_file(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler({"Storage": "journal"})
    change = "mount -t tmpfs none /run/systemd/journal"
    kernel.register(launchers.elsewhere(kernel.directory, one.path, change))
    death = kernel.crash([program("signals"), "null"])
    services.until(
        lambda: is_in_kernel_log(death.pid, "Not in the journal"), 60.0, "a line of the kernel log"
    )
    assert whole(*one.stored(death.pid))


@pytest.mark.parametrize(("most", "traced"), [("32G", True), ("0", False)])
def test_without_storage_only_the_entry_is_left(
    most: str, traced: bool, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler({"Storage": "none", "ProcessSizeMax": most})
    death = kernel.crash([program("threads"), "3", "4", "mixed"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert b"without generating a coredump" in entry["MESSAGE"]
    assert (b"crash_here" in entry["MESSAGE"]) is traced
    assert one.stored() == []


# Limits.


def test_limit_of_the_process_is_that_of_the_file(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler()
    for limit in (64 << 10, MIB, 8 * MIB):
        death = kernel.crash([program("threads"), "5", "64", "random"], core_limit=limit)
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert entry["COREDUMP_TRUNCATED"] == b"1"
        (stored,) = one.stored(death.pid)
        assert whole(stored)
        # What is told of it comes on top where there is next to nothing.
        assert stored.stat().st_size <= max(limit, 128 << 10)
        if limit >= MIB:
            assert b"crash_here" in entry["MESSAGE"]
            assert entry["MESSAGE"].count(b"wait_at_the_bottom") == 4


def test_address_space_alone_removes_nobodys_cores(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    with mounted("tmpfs", kernel.directory / "small", "mode=711,size=64M") as disk:
        one = handler({"Directory": f"{disk}/core", "KeepFree": "8M", "MaxUse": "0"})
        first = kernel.crash([program("threads"), "3", "4", "random"])
        services.wait_for_entry(first.pid, first.stamp)
        second = kernel.crash([program("sparse"), "64", "128"])
        services.wait_for_entry(second.pid, second.stamp)
        assert len(one.stored(first.pid)) == len(one.stored(second.pid)) == 1


def test_room_is_made_for_a_core_that_needs_it(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    with mounted("tmpfs", kernel.directory / "smaller", "mode=711,size=64M") as disk:
        one = handler({"Directory": f"{disk}/core", "KeepFree": "8M", "MaxUse": "0"})
        deaths = [kernel.crash([program("threads"), "3", "48", "mixed"]) for _ in range(4)]
        for death in deaths:
            services.wait_for_entry(death.pid, death.stamp)
        assert one.stored(deaths[0].pid) == []
        (last,) = one.stored(deaths[-1].pid)
        assert "COREDUMP_TRUNCATED" not in fields(last)
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize >= 8 * MIB


def test_cores_beyond_the_burst_are_stacks_alone(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler({"RateLimitBurst": "2"})
    copy = kernel.directory / "looping"  # a program of its own: others have crashed before
    shutil.copyfile(program("threads"), copy)
    copy.chmod(0o755)
    contents = []
    for _ in range(3):
        death = kernel.crash([copy, "3", "16", "random"])
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert b"crash_here" in entry["MESSAGE"]
        contents.append((entry.get("COREDUMP_CONTENT"), one.stored(death.pid)[0].stat().st_size > 8 * MIB))
    assert contents == [(None, True), (None, True), (b"stacks", False)]


# Features that are missing.


def test_without_page_map_scan_the_core_is_the_same(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    """As on kernels before 6.7, and where Python has no _ctypes."""
    one = handler(without=("_ctypes",))
    kernel.register(launchers.recorder(kernel.directory, one.path))
    death = kernel.crash([program("sparse"), "1", "128"])
    services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    assert same_as_stream(kernel, death.pid, stored)


@pytest.mark.parametrize("specifiers", [CARD, None], ids=["first-four", "all"])
def test_process_whose_leader_has_ended_tells_its_facts(
    specifiers: str | None, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler(specifiers=specifiers)
    death = kernel.crash([program("signals"), "thread-alone"])
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_EXE"] == os.fsencode(program("signals"))
    assert b"thread-alone" in entry["COREDUMP_CMDLINE"]
    assert entry["COREDUMP_COMM"] == b"signals"
    assert entry["COREDUMP_PROC_MAPS"]
    assert b"write_null" in entry["MESSAGE"]
    assert whole(*one.stored(death.pid))


def test_file_system_that_knows_neither_its_size_nor_attributes(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    with mounted("ramfs", kernel.directory / "ramfs", "mode=711") as disk:
        one = handler({"Directory": f"{disk}/core"})
        death = kernel.crash([program("signals"), "null"])
        entry = services.wait_for_entry(death.pid, death.stamp)
        (stored,) = one.stored(death.pid)
        assert entry["COREDUMP_FILENAME"] == os.fsencode(stored)
        assert whole(stored)


@needs_unshare
@pytest.mark.parametrize("place", ["/run/pycoredump", "/run"])
def test_without_a_place_for_what_handlers_share(
    place: str, kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    one = handler({"RateLimitBurst": "500"})
    keep = "mkdir -p /run/pycoredump" if place != "/run" else ":"
    change = f"{keep}; mount -t tmpfs -o ro none {place}"
    kernel.register(launchers.elsewhere(kernel.directory, one.path, change))
    death = kernel.crash([program("threads"), "3", "4", "mixed"])
    if place == "/run":
        services.until(
            lambda: is_in_kernel_log(death.pid, "Not in the journal"), 60.0, "a line of the kernel log"
        )
    else:
        services.wait_for_entry(death.pid, death.stamp)
    assert whole(*one.stored(death.pid))


def test_without_a_pipe_limit_the_core_is_kept(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    """The kernel then does not wait for the handler: a small process is gone before it is looked at."""
    one = handler()
    kernel.register(one.path, pipe_limit=0)
    for arguments in (["signals", "null"], ["threads", "3", "16", "mixed"]):
        death = kernel.crash([program(arguments[0]), *arguments[1:]])
        entry = services.wait_for_entry(death.pid, death.stamp)
        assert entry["COREDUMP_COMM"] == arguments[0].encode()
        assert whole(*one.stored(death.pid))


# Processes of another kind.

SMALL = """\
static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

__attribute__((used)) void _start(void)
{
	static const char ready[] = "ready\\n";
	char go;

	call(4, 1, (long)ready, sizeof(ready) - 1); /* write */
	call(3, 0, (long)&go, 1); /* read */
	*(volatile int *)16 = 1;
}
"""


def test_process_of_32_bits_is_stored_and_named(
    kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "small.c").write_text(SMALL)
    small = kernel.directory / "small32"
    source = os.fspath(tmp_path / "small.c")
    command = ["gcc", "-m32", "-nostdlib", "-static", "-O1", "-g", source, "-o", os.fspath(small)]
    if shutil.which("gcc") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing here compiles for 32 bits of this processor")
    one = handler()
    kernel.register(launchers.recorder(kernel.directory, one.path))
    try:
        death = kernel.crash([small])
    except (OSError, AssertionError):
        pytest.skip("this kernel runs no programs of 32 bits")
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_ARCHITECTURE"] == b"x86"
    assert entry["COREDUMP_FAULT_ADDRESS"] == b"0x10"
    assert entry["COREDUMP_THREADS"] == b"1"
    (stored,) = one.stored(death.pid)
    assert same_as_stream(kernel, death.pid, stored)


@needs_unshare
def test_process_in_a_container_is_told_as_the_host_sees_it(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    handler()
    victim = kernel.start(["unshare", "--mount", "--pid", "--fork", program("signals"), "null"])
    (inner,) = children(victim.pid)
    victim.kill()
    victim.wait()
    entry = services.wait_for_entry(inner, victim.stamp)
    assert entry["COREDUMP_COMM"] == b"signals"
    assert entry["COREDUMP_EXE"] == os.fsencode(program("signals"))
    assert entry["COREDUMP_CONTAINER_CMDLINE"].endswith(b"signals null")
    assert b"by_null" in entry["MESSAGE"]


def children(pid: int) -> list[int]:
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_arguments_and_environment_of_megabytes_hide_no_crash(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    handler()
    environment = {f"V{n}PASSWORD{n}": "\x01\\\n" * 20 for n in range(8000)}
    victim = kernel.start([program("signals"), "null", *["\x01" * 1000] * 600], environment=environment)
    victim.kill()
    death = victim.wait()
    entry = services.wait_for_entry(death.pid, death.stamp)
    assert entry["COREDUMP_ENVIRON"].count(b"[redacted]") > 1000
    assert len(entry["COREDUMP_CMDLINE"]) > 100000
    assert entry["COREDUMP_FILENAME"]


def test_very_many_mappings_are_all_there(kernel: Machine, program: Program, handler: MakeHandler) -> None:
    one = handler()
    kernel.register(launchers.recorder(kernel.directory, one.path))
    try:
        death = kernel.crash([program("mappings"), "60000"])
    except AssertionError:
        pytest.skip("vm.max_map_count is lower here")
    services.wait_for_entry(death.pid, death.stamp)
    (stored,) = one.stored(death.pid)
    assert same_as_stream(kernel, death.pid, stored)
