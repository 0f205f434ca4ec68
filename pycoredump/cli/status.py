"""pycoredumpctl status: whether crashes are caught, and what to do if not."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pycoredump.cli import health, options, screen, search
from pycoredump.cli.health import BAD, NOTE, OK, Item
from pycoredump.cli.incidents import Incidents
from pycoredump.cli.matches import Matches
from pycoredump.cli.screen import Style
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.tree import Tree
from pycoredump.errors import ArgumentError

MARKS = {OK: ("●", "ok", screen.GREEN), NOTE: ("○", "note", screen.YELLOW), BAD: ("✗", "bad", screen.RED)}


def run(command: options.Command) -> int:
    """0 if nothing is bad, 1 otherwise."""
    if command.arguments:
        raise ArgumentError("status takes no matches")
    items = list(look(command))
    if command.get("json", "off") != "off":
        rows = [{name: getattr(one, name) for name in Item._fields} for one in items]
        print(screen.json_text(rows, command.get("json")))
    else:
        style = Style(colour=screen.wants_colour(tty=sys.stdout.isatty()))
        for line in text(items, style, width=screen.columns()):
            print(line)
    return 1 if any(one.state == BAD for one in items) else 0


def look(command: options.Command) -> Iterator[Item]:
    """Everything, in the order in which one would ask."""
    tree, kernel = Tree("/"), Kernel()
    found = Incidents(search.place(command), Matches())
    yield from health.handler(tree, kernel)
    yield from health.settings(kernel)
    yield from health.others(tree)
    yield from health.libraries()
    yield from health.journald(found)
    loaded, problems = health.configuration()
    yield from problems
    yield from health.disk(loaded)
    yield from health.last(found)
    yield from health.kernel_log()


def text(items: list[Item], style: Style, *, width: int = 0) -> Iterator[str]:
    """A line for each item, a second one with what to do; folded at the width of the terminal."""
    label = max(len(one.name) for one in items)
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    for one in items:
        mark, word, colour = MARKS[one.state]
        mark = mark if unicode else f"{word:<4}"
        left = len(mark) + label + 3
        first, *more = _folded(screen.shown(one.found), width - left)
        yield f"{style.paint(mark, colour)} {one.name:>{label}}: {first}"
        hints = _folded(one.hint, width - left - 2) if one.hint and one.state != OK else []
        more += [f"{'  ' if i else '→ ' if unicode else '> '}{line}" for i, line in enumerate(hints)]
        for line in more:
            yield f"{'':>{left}}{line}"
    bad = sum(one.state == BAD for one in items)
    yield ""
    yield f"{bad} of {len(items)} findings are bad" if bad else "crashes are caught"


def _folded(text: str, width: int) -> list[str]:
    import textwrap

    return (textwrap.wrap(text, width, break_on_hyphens=False) if width > 20 else []) or [text]
