"""Tells of a crash whose handler was killed: by the kernel for want of memory, or by somebody. See watcher.py.

What the handler was given is known, and what it has stored, if it came so far.
"""

from __future__ import annotations

import os

from pycoredump import config, entry, guard, handler, journal, store
from pycoredump import crash as crashes
from pycoredump.errors import PycoredumpError
from pycoredump.kept import Kept
from pycoredump.reader import Archive
from pycoredump.way import Way

REASON = "The handler was killed while it worked"


def main(arguments: list[str]) -> int:
    """`arguments`: the directories of the configuration, then those of the handler. 0 if the crash was recorded."""
    etc, lib, _, *rest = arguments
    way = Way(crashes.parse(rest))
    way.problems += guard.secure(lambda text: journal.kernel_log(journal.LOG_WARNING, text))
    way.config, _warnings = config.load(etc=etc, lib=lib)
    way.problems.append(REASON)
    way.log(journal.LOG_ERR, f"{entry.processing(way.crash)}: {REASON[0].lower()}{REASON[1:]}")
    try:
        recover(way)
    except (PycoredumpError, OSError):
        way.kept = Kept(reason=REASON)
    return 0 if handler.record(way) else 1


def recover(way: Way) -> None:
    """The archive, where it had its name already, and what it tells. OSError, PycoredumpError if there is none."""
    name = store.file_name(way.crash, compressed=way.config.compress)
    file = f"{way.config.directory}/{name}"
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    told = {field: entry.text(value) for field, value in Archive(fd, name=file).fields.items()}
    way.message = told.pop("MESSAGE", b"").decode("utf-8", "replace")
    told.pop("COREDUMP_PROBLEMS", None)
    way.found = told
    way.kept = Kept(file=file, fd=fd, stored=os.fstat(fd).st_size)
