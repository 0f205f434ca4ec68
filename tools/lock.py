"""The lock on the kernel's core dump settings: tests, demo and installing change them for the whole machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from pycoredump.configure.kernel import Kernel
from pycoredump.errors import PycoredumpError

PATH = "/run/lock/pycoredump-core-pattern.lock"
HELD = "PYCOREDUMP_LOCK_FD"  # environment: the descriptor by which whoever started us holds the lock
SECONDS = 900  # longer than any test holds it


@contextlib.contextmanager
def held(path: str = PATH, *, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the lock. PycoredumpError if another program keeps it for `seconds`."""
    inherited = os.environ.get(HELD)
    if inherited is not None:
        fcntl.flock(int(inherited), fcntl.LOCK_EX | fcntl.LOCK_NB)  # ours already: the same open file
        yield
        return

    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait(fd, path, seconds)
        yield
    finally:
        os.close(fd)


def _wait(fd: int, path: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise PycoredumpError(
                    f"{path} is held by another program",
                    hint="tests or a demo are running; try again when they are done",
                ) from None
        time.sleep(0.2)


@contextlib.contextmanager
def restored(kernel: Kernel) -> Iterator[dict[str, str]]:
    """Put the settings back at the end, whatever happens; yields what they were."""
    before = kernel.values()
    try:
        yield before
    finally:
        for key, value in reversed(before.items()):
            if kernel.read(key) != value:
                kernel.write(key, value)
