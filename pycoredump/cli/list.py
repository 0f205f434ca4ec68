"""pycoredumpctl list: one line for each crash, with coredumpctl's columns."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from pycoredump.cli import options, screen, search, times
from pycoredump.cli.incident import Incident, presence
from pycoredump.cli.screen import Style
from pycoredump.cli.table import Table

NAMES = ("TIME", "PID", "UID", "GID", "SIG", "COREFILE", "EXE", "SIZE")
COREFILE = NAMES.index("COREFILE")
COLOURS = {
    "missing": (screen.GREY,), "none": (screen.GREY,), "-": (screen.GREY,), "inaccessible": (screen.YELLOW,),
    "truncated": (screen.YELLOW,), "error": (screen.RED,),
}  # fmt: skip
# Their values are read as lines; in others a line feed is foul play.
LINES = {
    "MESSAGE", "COREDUMP_OPEN_FDS", "COREDUMP_PROC_STATUS", "COREDUMP_PROC_MAPS", "COREDUMP_PROC_LIMITS",
    "COREDUMP_PROC_MOUNTINFO", "COREDUMP_PROC_CGROUP", "COREDUMP_ENVIRON", "COREDUMP_PROBLEMS", "COREDUMP_DROPPED",
    "COREDUMP_EXPLANATION", "COREDUMP_SCRIPT_TRACE", "COREDUMP_MODULES",
}  # fmt: skip


def run(command: options.Command) -> int:
    """NothingFound if no crash matches."""
    found = search.incidents(command)
    incidents = search.chosen(command, found)
    if command.has("field"):
        return _fields(command, incidents)
    if command.get("json", "off") != "off":
        return _json(command, incidents, found.place.root)

    table = Table(NAMES, right=("PID", "UID", "GID", "SIZE"), elastic="EXE")
    for one in incidents:
        _add(table, one, found.place.root)
    if not table.rows:
        raise search.NothingFound

    style = Style(colour=screen.wants_colour(tty=sys.stdout.isatty()))
    width = screen.columns()  # behind the pager, standard output is no terminal
    with screen.paged(wanted=not command.has("no-pager")):
        for line in table.lines(style, legend=not command.has("no-legend"), width=width):
            print(line)
    search.note_unfinished(command, found)
    return 0


def _add(table: Table, one: Incident, root: str) -> None:
    there = presence(one, root=root)
    table.add(
        times.stamp(one.time),
        *(screen.shown(one.get(f"COREDUMP_{name}"))[:20] or "-" for name in ("PID", "UID", "GID")),
        screen.shown(one.signal)[:20] or "-",
        there.word,
        screen.shown(one.program) or "-",
        screen.size(there.size) if there.size is not None else "-",
        codes={COREFILE: "".join(COLOURS[there.word])} if there.word in COLOURS else None,
    )


def _fields(command: options.Command, incidents: Iterable[Incident]) -> int:
    """All values of one field, each on its line, the missing ones left out."""
    name, count = command.get("field"), 0
    with screen.paged(wanted=not command.has("no-pager")):
        for one in incidents:
            count += 1
            if value := one.get(name):
                print(screen.shown(value, lines=name in LINES))
    if not count:
        raise search.NothingFound
    return 0


def _json(command: options.Command, incidents: Iterable[Incident], root: str) -> int:
    rows = [row(one, root) for one in incidents]
    if not rows:
        raise search.NothingFound
    print(screen.json_text(rows, command.get("json")))
    return 0


def row(one: Incident, root: str) -> dict[str, object]:
    """The columns as JSON has them: times in microseconds, sizes in bytes, what is missing as null."""
    there = presence(one, root=root)
    return {
        "time": one.time,
        **{name: one.number(f"COREDUMP_{name.upper()}") for name in ("pid", "uid", "gid")},
        "sig": one.signal_number,
        "corefile": there.word if there.word != "-" else None,
        "exe": one.program,
        "size": there.size,
    }
