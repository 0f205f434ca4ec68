"""Access to the core of a crash: the archive, or the journal entry that has it inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycoredump.cli import incident as incidents_
from pycoredump.cli.incident import Incident
from pycoredump.cli.incidents import Incidents
from pycoredump.errors import PycoredumpError

if TYPE_CHECKING:
    from pycoredump.reader import Archive

WHY = {
    "missing": (
        "The core {path} is gone",
        "It was removed by the limits of pycoredump.conf(5), or by somebody.",
    ),
    "inaccessible": (
        "The core {path} may not be read by you",
        "Only root and the user whose process crashed may.",
    ),
    "error": ("The core {path} is not a regular file", ""),
}


class NoCore(PycoredumpError):
    """There is no core to be had."""


@contextmanager
def opened(one: Incident, found: Incidents) -> Iterator[Archive]:
    """The core of an incident, for reading. NoCore, ArchiveError."""
    there = incidents_.presence(one, root=found.place.root)
    if there.word in WHY:
        message, hint = WHY[there.word]
        raise NoCore(message.format(path=there.path), hint=hint)
    if not there.path and there.word not in ("journal", "truncated"):
        raise NoCore(
            f"No core of process {one.get('COREDUMP_PID')} was kept",
            hint=one.get("COREDUMP_REASON") or "Storage=none, or a limit; `pycoredumpctl info` tells more.",
        )

    # Not at the top: a host whose zstandard is broken must still get its list.
    from pycoredump.reader import Archive

    fd = _open(there.path) if there.path else _inline(one, found)
    try:
        yield Archive(fd, name=there.path or "the core in the journal")
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _inline(one: Incident, found: Incidents) -> int:
    if found.entries is None:
        raise NoCore("The core is in a journal that cannot be read")
    fd = os.memfd_create("core", os.MFD_CLOEXEC)
    view = memoryview(found.entries.core(one))
    while view:
        view = view[os.write(fd, view) :]
    return fd


def thread_ids(one: Incident, found: Incidents) -> tuple[int, ...]:
    """The threads in the core, the crashing one first; () if it cannot be read, or stands in the journal."""
    if not one.file:
        return ()  # it would be copied whole
    try:
        from pycoredump.cli.layout import scan

        with opened(one, found) as archive:
            return tuple(thread.tid for thread in scan(archive).threads)
    except (PycoredumpError, OSError, ImportError):
        return ()
