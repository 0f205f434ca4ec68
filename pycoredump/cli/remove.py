"""pycoredumpctl remove: the archives of matching crashes.

What is removed is chosen by the archives' own facts, which the handler wrote: journal entries may be forged by
anybody, and must not lead root to the archive of somebody else.
"""

from __future__ import annotations

import os

from pycoredump.cli import archives, options, removal, search
from pycoredump.cli.archives import Archives
from pycoredump.errors import ArgumentError


def run(command: options.Command) -> int:
    """NothingFound, ArgumentError, PycoredumpError."""
    wanted = search.meant(command)
    if not wanted.terms and not wanted.archives and wanted.since is None and wanted.until is None:
        raise ArgumentError(
            "Say which archives to remove", hint="A match, --since= or --until=; vacuum goes by limits."
        )

    groups: dict[str, list[str]] = {}
    if wanted.archives:
        for path in wanted.archives:
            if wanted.hold(archives.single(path)):
                groups.setdefault(os.path.dirname(os.path.abspath(path)), []).append(os.path.basename(path))
    else:
        directory = search.place(command).cores
        removal.need_right(directory)
        groups[directory] = [os.path.basename(one.file) for one in Archives(directory, wanted).forward()]
    if not any(groups.values()):
        raise search.NothingFound

    complete = True
    for directory, names in groups.items():
        removal.need_right(directory)
        removed = removal.remove(command, directory, names)
        complete = complete and (removed == len(names) or command.has("dry-run"))
    return 0 if complete else 1
