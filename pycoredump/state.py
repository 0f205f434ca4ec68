"""What handlers share while the host is up, under /run/pycoredump: who may compress, how often a program crashed.

Runs before the release: tests/test_hot_path.py lists what this module may import. All of it is optional:
without the directory, everybody may do everything.
"""

from __future__ import annotations

import fcntl
import os

from pycoredump import guard

DIRECTORY = "/run/pycoredump"
SLOT_SECONDS = 300  # a handler that waited so long goes on without: better slow than lost
NAME_MAX = 200
PROGRAMS_MAX = 1000  # whose stamps are kept: names are free, and /run is memory


class Slots:
    """As many handlers work at a time as there are processors; the others wait before they load anything large."""

    def __init__(self, count: int, *, name: str = "slot", directory: str = DIRECTORY) -> None:
        self.count = max(1, count)
        self.name = name
        self.directory = directory
        self.fd = -1

    @property
    def held(self) -> bool:
        return self.fd >= 0

    def try_acquire(self, number: int) -> bool:
        """Take a place if one is free; `number` spreads those who ask. False if there is none."""
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            return any(
                self._lock((number + i) % self.count, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for i in range(self.count)
            )
        except OSError:
            return False  # no /run: nobody to wait for

    def acquire(self, number: int, *, seconds: int = SLOT_SECONDS) -> bool:
        """Wait for a place. False if there was none in that time."""
        try:
            return self.try_acquire(number) or self._wait(number % self.count, seconds)
        except OSError:
            return False

    def release(self) -> None:
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # a forked child holds the descriptor, too
            os.close(self.fd)
            self.fd = -1

    def _lock(self, slot: int, how: int) -> bool:
        fd = os.open(
            f"{self.directory}/{self.name}-{slot}",
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            fcntl.flock(fd, how)
        except (BlockingIOError, TimeoutError):
            os.close(fd)
            return False
        self.fd = fd
        return True

    def _wait(self, slot: int, seconds: int) -> bool:
        with guard.TimeLimit(seconds):
            return self._lock(slot, fcntl.LOCK_EX)


def stamps(program: str, now: int, *, keep: int, directory: str = DIRECTORY) -> list[int]:
    """When cores of this program were kept lately (seconds since the epoch), `now` being added for the next one.

    Only the last `keep` are remembered. Anything unreadable counts as never.
    """
    try:
        fd = _open_stamps(f"{directory}/rate", _file_name(program))
    except OSError:
        return []
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        words = os.pread(fd, 1 << 20, max(0, size - (1 << 20))).split()
        known = [int(word) for word in words if word.isdigit() and len(word) < 20][-keep:] if keep else []
        data = b"".join(b"%d\n" % stamp for stamp in [*known, now][-keep:])
        os.ftruncate(fd, 0)
        os.pwrite(fd, data, 0)
    except OSError:
        return []
    finally:
        os.close(fd)
    return known


def _open_stamps(directory: str, name: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(f"{directory}/{name}", flags)
    except FileNotFoundError:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _forget_oldest(directory)
        return os.open(f"{directory}/{name}", flags | os.O_CREAT, 0o600)


def _forget_oldest(directory: str) -> None:
    names = os.listdir(directory)
    if len(names) < PROGRAMS_MAX:
        return
    with_times = []
    for name in names:
        try:
            with_times.append((os.stat(f"{directory}/{name}", follow_symlinks=False).st_mtime, name))
        except OSError:
            continue  # another handler is forgetting, too
    for _, name in sorted(with_times)[: PROGRAMS_MAX // 2]:
        try:
            os.unlink(f"{directory}/{name}")
        except OSError:
            continue


def _file_name(program: str) -> str:
    safe = (
        program.encode("utf-8", "surrogateescape").hex()
        if not program.isascii()
        else program.replace("/", "!")
    )
    return "".join(c if c.isprintable() else "?" for c in safe)[-NAME_MAX:] or "unknown"
