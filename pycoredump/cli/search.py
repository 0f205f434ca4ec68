"""What the verbs that look for crashes have in common: options to place and matches, notes, "nothing found"."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator

from pycoredump import config
from pycoredump.cli import matches, options, screen, times
from pycoredump.cli.incident import Incident
from pycoredump.cli.incidents import Incidents, Place, in_progress
from pycoredump.errors import PycoredumpError


class NothingFound(PycoredumpError):
    """No crash matches."""

    def __init__(self) -> None:
        super().__init__("No crashes found.")


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def place(command: options.Command) -> Place:
    """Where the command line says to look."""
    root = root_of(command)
    return Place(
        root=root,
        directory=command.get("directory"),
        files=command.options.get("file", []),
        all=command.has("all"),
        cores=f"{root}{configuration(command).directory}",
    )


def root_of(command: options.Command) -> str:
    """--root= without a slash at its end; "" for the running system. PycoredumpError if it is no directory."""
    root = command.get("root")
    if root and not os.path.isdir(root):
        raise PycoredumpError(f"There is no directory {root}")
    return root.rstrip("/")


def configuration(command: options.Command) -> config.Config:
    """The configuration of the system that is meant; warnings are for `status` to show."""
    root = root_of(command)
    return config.load(etc=f"{root}/etc", lib=f"{root}/usr/lib")[0]


def meant(command: options.Command) -> matches.Matches:
    """The matches of the command line."""
    at = now()
    since = times.point(command.get("since"), now=at) if command.has("since") else None
    until = times.point(command.get("until"), now=at) if command.has("until") else None
    return matches.parse(list(command.arguments), since=since, until=until)


def incidents(command: options.Command) -> Incidents:
    """The crashes that are meant; what cannot be seen is said on standard error."""
    found = Incidents(place(command), meant(command))
    if not command.has("quiet"):
        for note in found.notes:
            print(f"Hint: {screen.shown(note)}", file=sys.stderr)
    return found


def note_unfinished(command: options.Command, found: Incidents) -> None:
    """Say that some crashes are being processed: the newest may not be shown yet."""
    running = 0 if command.has("quiet") or found.place.root else in_progress()
    if running:
        crashes = f"{screen.counted(running, 'crash')} {'is' if running == 1 else 'are'}"
        print(f"-- Notice: {crashes} being processed, output may be incomplete.", file=sys.stderr)


def newest(command: options.Command) -> tuple[Incident, Incidents]:
    """The newest crash that is meant; says so if there are further ones. NothingFound."""
    found = incidents(command)
    two = found.newest(2)
    if not two:
        raise NothingFound
    if len(two) > 1 and command.arguments and not command.has("quiet"):
        print("More than one entry matches, taking the newest.", file=sys.stderr)
    note_unfinished(command, found)
    return two[0], found


def chosen(command: options.Command, found: Incidents) -> Iterator[Incident]:
    """Those that -n, -1 and -r leave, in their order: as in coredumpctl, -n takes the oldest unless with -r."""
    limit = options.count(command)
    reverse = command.has("reverse") or command.has("1")
    return itertools.islice(
        found.newest_first() if reverse else found.oldest_first(few=limit is not None), limit
    )
