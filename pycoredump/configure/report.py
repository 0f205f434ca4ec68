"""Items and changes as lines, as JSON, and a plan as a unified diff. Formats; prints nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

from pycoredump.configure import lines
from pycoredump.configure.item import WRONG, Item
from pycoredump.configure.tree import Change


def shown(text: str) -> str:
    """Text of others made safe for a terminal: control and undecodable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def items(found: list[Item], command: str) -> Iterator[str]:
    """One line for each item that holds, a block for each that does not or that there is more to say about.

    `command` makes the settings.
    """
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        state = item.state.upper() if item.state == WRONG else item.state
        if item.holds() and not item.hint:
            effect = f" ({item.effective})" if item.effective else ""
            yield shown(f"{state:<7}{item.name:<{width}}  {_there(item)}{effect}")
            continue

        yield shown(f"{state:<7}{item.name}")
        rows = {
            "is": _there(item),
            "wanted": item.wanted,
            "in effect": item.effective,
            "to do": advice(item, command),
        }
        for label, text in rows.items():
            if text:
                yield shown(f"{'':<9}{label:<11}{text}")


def _there(item: Item) -> str:
    """What is there, after its place."""
    place = f"{item.file}:{item.line}" if item.line else item.file
    return f"{place}: {item.found}" if place else item.found


def advice(item: Item, command: str) -> str:
    """What to do about an item; nothing if it holds and there is nothing to know."""
    return item.hint or (command if item.state == WRONG else "")


def summary(found: list[Item]) -> str:
    """The last line of check."""
    wrong = sum(not item.holds() for item in found)
    if wrong:
        return f"{wrong} of {len(found)} items do not hold"

    notes = sum(item.holds() and bool(item.hint) for item in found)
    return "every item holds" + (f"; notes: {notes}" if notes else "")


def as_json(found: list[Item], command: str, **more: object) -> str:
    """The items as one JSON object: items, holds, and what else is given."""
    rows = [
        {name: getattr(item, name) for name in Item._fields} | {"hint": advice(item, command)}
        for item in found
    ]
    return json.dumps({"items": rows, "holds": all(item.holds() for item in found), **more}, indent=1)


def diff(changes: list[Change]) -> Iterator[str]:
    """The changes as a unified diff that patch(1) applies: lines without their ends, not made safe to be shown."""
    for change in changes:
        before, after = change.before or "", change.after or ""
        names = ("/dev/null" if change.before is None else change.path,
                 "/dev/null" if change.after is None else change.path)  # fmt: skip
        for line in difflib.unified_diff(lines.split(before), lines.split(after), *names, n=3):
            yield line.removesuffix("\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"


def running(pending: dict[str, tuple[str, str]]) -> Iterator[str]:
    """The kernel's values that would be set."""
    for key, (now, wanted) in pending.items():
        yield f"{key}: {now} -> {wanted}"
