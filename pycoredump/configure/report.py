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


def items(found: list[Item]) -> Iterator[str]:
    """One line for each item, a second one with what is wanted where it does not hold."""
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        state = item.state.upper() if item.state == WRONG else item.state
        yield shown(f"{state:<7}{item.name:<{width}}  {_where(item)}{_effect(item)}")
        if item.state == WRONG:
            yield shown(f"{'':<7}{'':<{width}}  wanted: {item.wanted}")
        if item.hint:
            yield shown(f"{'':<7}{'':<{width}}  {item.hint}")


def _where(item: Item) -> str:
    place = f"{item.file}:{item.line}" if item.line else item.file
    return f"{place}: {item.found}" if place else item.found


def _effect(item: Item) -> str:
    return f" ({item.effective})" if item.effective else ""


def summary(found: list[Item]) -> str:
    """The last line of check."""
    wrong = sum(not item.holds() for item in found)
    return f"{wrong} of {len(found)} items do not hold" if wrong else "every item holds"


def as_json(found: list[Item], **more: object) -> str:
    """The items as one JSON object: items, holds, and what else is given."""
    rows = [{name: getattr(item, name) for name in Item._fields} for item in found]
    return json.dumps({"items": rows, "holds": all(item.holds() for item in found), **more}, indent=1)


def diff(changes: list[Change]) -> Iterator[str]:
    """The changes as a unified diff, without line ends."""
    for change in changes:
        before, after = change.before or "", change.after or ""
        names = ("/dev/null" if change.before is None else change.path,
                 "/dev/null" if change.after is None else change.path)  # fmt: skip
        for line in difflib.unified_diff(lines.split(before), lines.split(after), *names, n=3):
            yield shown(line.removesuffix("\n")) if line.endswith("\n") else line
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"


def running(pending: dict[str, tuple[str, str]]) -> Iterator[str]:
    """The kernel's values that would be set."""
    for key, (now, wanted) in pending.items():
        yield shown(f"{key}: {now} -> {wanted}")
