"""pycoredumpctl info: everything about a crash."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from pycoredump.cli import core, facts, options, screen, search
from pycoredump.cli.incident import Incident, presence
from pycoredump.cli.incidents import Incidents
from pycoredump.cli.screen import Style


def run(command: options.Command) -> int:
    """The newest crash, or all that match. NothingFound."""
    found = search.incidents(command)
    if command.has("field"):
        from pycoredump.cli import list as listing

        return listing.run(command)
    newest = not command.arguments and not command.has("n")
    incidents: Iterable[Incident] = found.newest(1) if newest else search.chosen(command, found)
    incidents = _completed(command, incidents, found)
    if command.get("json", "off") != "off":
        return _json(command, incidents, found)

    count = 0
    style = Style(colour=screen.wants_colour(tty=sys.stdout.isatty()))
    with screen.paged(wanted=not command.has("no-pager")):
        for count, one in enumerate(incidents, 1):
            if count > 1:
                print()
            lines = _all(one) if command.has("all-fields") else text(one, found, style)
            for line in lines:
                print(line)
    if not count:
        raise search.NothingFound
    search.note_unfinished(command, found)
    return 0


def _completed(
    command: options.Command, incidents: Iterable[Incident], found: Incidents
) -> Iterator[Incident]:
    try:
        from pycoredump.cli import analyse
    except ImportError:  # a library is broken: what is recorded can be shown all the same
        return iter(incidents)
    return analyse.completed(command, incidents, found)


def text(one: Incident, found: Incidents, style: Style) -> Iterator[str]:
    """The lines of one crash."""
    there = presence(one, root=found.place.root)
    threads = core.thread_ids(one, found)
    known = found.history(one.get("COREDUMP_SIGNATURE"))
    for label, value in facts.lines(one, there, now=search.now(), threads=threads, known=known):
        line = facts.text(label, value)
        if label in ("Signal", "Title"):
            line = style.paint(line, screen.BOLD)
        elif label in ("Not Kept", "Problems"):
            line = style.paint(line, screen.YELLOW)
        yield line


def _all(one: Incident) -> Iterator[str]:
    """Every field by its journal name, whole."""
    for name in one.names():
        value = screen.shown(one.get(name).rstrip("\n"), lines=True)
        yield (
            f"{screen.shown(name)}={value}"
            if "\n" not in value
            else f"{screen.shown(name)}=\n    " + value.replace("\n", "\n    ")
        )


def _json(command: options.Command, incidents: Iterable[Incident], found: Incidents) -> int:
    rows = [as_json(one, found) for one in incidents]
    if not rows:
        raise search.NothingFound
    for one in rows:
        print(screen.json_text(one, command.get("json")))
    return 0


def as_json(one: Incident, found: Incidents) -> dict[str, object]:
    """The facts by their labels, and all fields under their own names; undecodable bytes as lone surrogates."""
    there = presence(one, root=found.place.root)
    return {
        "PID": one.number("COREDUMP_PID"),
        "UID": one.number("COREDUMP_UID"),
        "GID": one.number("COREDUMP_GID"),
        "Signal": one.number("COREDUMP_SIGNAL"),
        "SignalName": one.signal,
        "Timestamp": one.number("COREDUMP_TIMESTAMP"),
        "Command": one.get("COREDUMP_COMM"),
        "CommandLine": one.get("COREDUMP_CMDLINE"),
        "Executable": one.get("COREDUMP_EXE"),
        "Storage": one.file or there.word,
        "State": there.word,
        "DiskSize": there.size,
        "Threads": list(core.thread_ids(one, found)),
        "Known": found.history(one.get("COREDUMP_SIGNATURE")).as_json(),
        "Fields": {name: one.get(name) for name in one.names()},
    }
