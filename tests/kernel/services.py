"""What runs beside the handler: journald and what it holds, and systemd-coredump as a peer."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping

from machine import Unavailable

from pycoredump.journal import COREDUMP_ID

JOURNALD = "/lib/systemd/systemd-journald"
JOURNAL_SOCKET = "/run/systemd/journal/socket"
COREDUMP = "/lib/systemd/systemd-coredump"
COREDUMP_SOCKET = "/run/systemd/coredump"
COREDUMP_STORE = pathlib.Path("/var/lib/systemd/coredump")
# As Debian's sysctl.d/50-coredump.conf has it, but for %c: Debian leaves RLIMIT_CORE out.
COREDUMP_SPECIFIERS = "%P %u %g %s %t %c %h %d"
COREDUMP_PIPE_LIMIT = 16
NICE = 9  # as in systemd-coredump@.service
START_SECONDS = 20.0
ENTRY_SECONDS = 60.0

Entry = dict[str, bytes]


def answers(path: str, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
        return True


def until(condition: object, seconds: float, what: str) -> None:
    """Wait for condition() to be true. AssertionError names `what` did not happen."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def journald() -> Iterator[bool]:
    """A journald until the block ends: the one that runs, or one of ours. Whether it is ours."""
    if answers(JOURNAL_SOCKET, socket.SOCK_DGRAM):
        yield False
        return

    if not os.path.exists(JOURNALD):
        raise Unavailable("needs systemd-journald")
    os.makedirs(os.path.dirname(JOURNAL_SOCKET), exist_ok=True)
    process = subprocess.Popen([JOURNALD], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(JOURNAL_SOCKET, socket.SOCK_DGRAM), START_SECONDS, "journald listens")
        yield True
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def persistent_journald() -> Iterator[None]:
    """The journal is kept in /var, split by user, until the block ends; then all that is as it was before."""
    place = pathlib.Path("/var/log/journal", pathlib.Path("/etc/machine-id").read_text().strip())
    flushed = pathlib.Path("/run/systemd/journal/flushed")
    if place.exists() or flushed.exists():
        yield  # it is so already
        return

    flushed.touch()
    try:
        subprocess.run(["journalctl", "--flush"], check=True)
        yield
    finally:
        subprocess.run(["journalctl", "--relinquish-var"], check=True)
        flushed.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def systemd_coredump() -> Iterator[int]:
    """systemd-coredump's socket, served as its units do it. The PID of who serves it, 0 for systemd itself."""
    if answers(COREDUMP_SOCKET, socket.SOCK_SEQPACKET):
        yield 0
        return

    for needed in (COREDUMP, shutil.which("systemd-socket-activate")):
        if not needed or not os.path.exists(needed):
            raise Unavailable("needs systemd-coredump and systemd-socket-activate")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(COREDUMP_SOCKET)
    COREDUMP_STORE.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [
            "nice",
            "-n",
            str(NICE),
            "systemd-socket-activate",
            "--seqpacket",
            "-a",
            "-l",
            COREDUMP_SOCKET,
            COREDUMP,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: os.path.exists(COREDUMP_SOCKET), START_SECONDS, "systemd-socket-activate listens")
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(COREDUMP_SOCKET)


def search(matches: Mapping[str, object], *, since: float, fields: tuple[str, ...] = ()) -> list[Entry]:
    """Entries of the journal from a time on, oldest first; all fields, or only those named."""
    command = [
        "journalctl",
        "--quiet",
        "--no-pager",
        "--all",
        "--output=json",
        f"--since=@{since:.6f}",
        *([f"--output-fields={','.join(fields)}"] if fields else []),
        *(f"{name}={value}" for name, value in matches.items()),
    ]
    shown = subprocess.run(command, capture_output=True, check=False)
    return [decode(json.loads(line)) for line in shown.stdout.splitlines()]


def decode(shown: Mapping[str, object]) -> Entry:
    """Journal fields in JSON are text, or a list of bytes where they are none; of several the first counts."""
    entry: Entry = {}
    for name, value in shown.items():
        first = value[0] if isinstance(value, list) and value and not isinstance(value[0], int) else value
        if isinstance(first, str):
            entry[name] = first.encode("utf-8", "surrogateescape")
        elif isinstance(first, list):
            entry[name] = bytes(first)
    return entry


def crashes(since: float, *, fields: tuple[str, ...] = (), **matches: object) -> list[Entry]:
    """Entries of crashes from a time on."""
    return search({"MESSAGE_ID": COREDUMP_ID} | matches, since=since, fields=fields)


def wait_for_entry(
    pid: int, since: float, *, seconds: float = ENTRY_SECONDS, fields: tuple[str, ...] = ()
) -> Entry:
    """The entry of a crash. AssertionError if it does not come."""
    end = time.monotonic() + seconds
    while not (found := crashes(since, fields=fields, COREDUMP_PID=pid)):
        assert time.monotonic() < end, f"no entry of process {pid} after {seconds:.0f} s; {kernel_log(pid)}"
        time.sleep(0.05)
    return found[0]


def kernel_log(pid: int) -> list[str]:
    """Lines of the kernel log in which the handler names a process."""
    shown = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False)
    return [
        line for line in shown.stdout.splitlines() if "pycoredump" in line and re.search(rf"\b{pid}\b", line)
    ]
