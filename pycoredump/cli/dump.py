"""pycoredumpctl dump: a core, or a part of it, decompressed to a file or a pipe; never onto a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from pycoredump import values
from pycoredump.cli import core, info, options, screen, search
from pycoredump.cli.incident import Incident
from pycoredump.cli.incidents import Incidents
from pycoredump.cli.screen import Style
from pycoredump.errors import ArgumentError

if TYPE_CHECKING:
    from pycoredump.reader import Archive

TEMPORARY = "/var/tmp"  # as coredumpctl: /tmp is memory on many hosts
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROGRESS_AFTER = 1.0  # seconds until a progress bar appears

Part = bytes | int  # bytes, or so many zeros


def run(command: options.Command) -> int:
    """NothingFound, NoCore, ArchiveError."""
    unwind_on_signals()
    path = command.get("output")
    if not path and sys.stdout.isatty():
        raise ArgumentError(
            "Refusing to dump a core to a terminal", hint="Redirect standard output, or give --output=FILE."
        )
    one, found = search.newest(command)
    if path and not command.has("quiet"):
        for line in info.text(one, found, Style(colour=False)):
            print(line)
    with core.opened(one, found) as archive, contextlib.ExitStack() as held:
        parts, size = _parts(command, archive, held)
        write(parts, path, size=size)
    return 0


def _parts(
    command: options.Command, archive: Archive, held: contextlib.ExitStack
) -> tuple[Iterator[Part], int]:
    """What is to be written, and how many bytes that are (0: not known)."""
    if command.has("budget"):
        as_archive = command.get("output").endswith(".zst")
        return _small(archive, values.size(command.get("budget")), held, as_archive=as_archive)
    if command.has("range") or command.has("thread"):
        from pycoredump.cli import memory

        where = memory.stack(archive, command.get("thread")) if command.has("thread") else None
        start, end = where or memory.addresses(command.get("range"))
        return memory.read(archive, start, end), end - start
    return archive.stream(), archive.core_size


def _small(
    archive: Archive, budget: int, held: contextlib.ExitStack, *, as_archive: bool
) -> tuple[Iterator[Part], int]:
    """What a debugger needs most, as much as compresses to `budget` bytes: the core, or the archive as it is."""
    from pycoredump import extract
    from pycoredump.reader import Archive

    file = held.enter_context(tempfile.TemporaryFile(dir=TEMPORARY))
    extract.small_archive(extract.StoredCore(archive), file.fileno(), limit=budget)
    if as_archive:
        file.seek(0)
        return iter(lambda: file.read(1 << 20), b""), os.fstat(file.fileno()).st_size
    small = Archive(file.fileno(), name="the smaller core")
    return small.stream(), small.core_size


def write(parts: Iterator[Part], path: str, *, size: int) -> None:
    """To the file, or to standard output for "": sparse where the target can be. A file that fails is removed."""
    if not path:
        _copy(parts, 1, size)
        return

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
    fd = os.open(path, flags, 0o600)
    try:
        _copy(parts, fd, size)
    except BaseException:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.unlink(path)
        raise
    finally:
        os.close(fd)


def _copy(parts: Iterator[Part], fd: int, size: int) -> None:
    sparse = _is_sparse(fd)
    progress = Progress(size)
    at = 0
    for part in parts:
        if isinstance(part, int):
            _zeros(fd, part, sparse=sparse)
            at += part
        else:
            _bytes(fd, part)
            at += len(part)
        progress.show(at)
    if sparse:
        os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))
    progress.end()


def _is_sparse(fd: int) -> bool:
    # Holes need a file whose position is at its end, and which does not append (`>>` ignores lseek).
    import fcntl

    facts = os.fstat(fd)
    return (
        stat.S_ISREG(facts.st_mode)
        and not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
        and os.lseek(fd, 0, os.SEEK_CUR) == facts.st_size
    )


def _zeros(fd: int, size: int, *, sparse: bool) -> None:
    if sparse:
        os.lseek(fd, size, os.SEEK_CUR)
        return
    block = bytes(min(size, 1 << 20))
    while size > 0:
        size -= os.write(fd, memoryview(block)[: min(size, len(block))])


def _bytes(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def unwind_on_signals() -> None:
    """Let what ends us remove files that are not complete, or temporary, as Ctrl+C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup(1)
            signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Progress:
    """A bar on standard error for what takes long; nothing where that is no terminal."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.started = time.monotonic()
        self.last = 0.0
        self.visible = sys.stderr.isatty()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if not self.visible or now - self.started < PROGRESS_AFTER or now - self.last < 0.1:
            return
        self.last = now
        rate = screen.size(int(done / (now - self.started)))
        if self.size:
            filled = min(30, 30 * done // self.size)
            bar = f"[{'#' * filled}{'.' * (30 - filled)}] {min(100, 100 * done // self.size):3}% "
        else:
            bar = ""
        print(f"\r{bar}{screen.size(done)} {rate}/s   ", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def to_temporary(one: Incident, found: Incidents, held: contextlib.ExitStack) -> str:
    """The core decompressed into a new file that only we can read, and which goes away with `held`."""
    with core.opened(one, found) as archive:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # no file without who removes it
        try:
            fd, path = tempfile.mkstemp(prefix="coredump-", dir=TEMPORARY)
            held.callback(os.unlink, path)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            _copy(archive.stream(), fd, archive.core_size)
        finally:
            os.close(fd)
    return path
