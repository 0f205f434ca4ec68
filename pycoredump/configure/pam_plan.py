"""Whether a login's session passes pam_limits for certain, and where a line must go so that it does."""

from __future__ import annotations

import re

from pycoredump.configure import lines, pam
from pycoredump.configure.item import ABSENT, NOTHING, OK, WRONG, Item
from pycoredump.configure.number import natural
from pycoredump.configure.pam import Line, Module
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

LINE = "session required pam_limits.so"
AUTHSELECT = "/etc/authselect/authselect.conf"  # the selected profile, then its features, a line each
OURS = re.compile(re.escape(LINE))
INCLUDE = re.compile(r"(auth|account|password|session) include /\S+")  # of a file of ours, the vendor's
COMMENTED = re.compile(r"\s*#\s*session\s+required\s+pam_limits\.so\b")
MODULES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")  # and one level below: multiarch


class Reach(Record):
    """Whether every session that is opened has passed pam_limits."""

    always: bool
    module: Module | None = None  # the first pam_limits of the stack
    skipper: Module | None = None  # the module that may skip it
    confs: tuple[str, ...] = ()  # their conf= arguments, "" for none


def reach(stack: list[Module]) -> Reach:
    """Follow every way through the stack on which the session is opened."""
    found = [index for index, module in enumerate(stack) if module.name == "pam_limits.so"]
    confs = tuple(sorted({_conf(stack[index]) for index in found}))
    seen: set[int] = set()
    todo = [0]
    skipper = None
    missed = False
    while todo:
        index = todo.pop()
        if index in seen or index in found:
            continue

        seen.add(index)
        if index >= len(stack):
            missed = True
            continue

        for after in _ways(stack, index):
            todo.append(after)
            if any(index < at < after for at in found):
                skipper = stack[index]
    first = stack[found[0]] if found else None
    return Reach(always=not missed and bool(found), module=first, skipper=skipper, confs=confs)


def _conf(module: Module) -> str:
    return next((arg.removeprefix("conf=") for arg in module.args if arg.startswith("conf=")), "")


def _ways(stack: list[Module], index: int) -> set[int]:
    """Where the stack goes on after a module; not at all where the session is then refused."""
    ways = set()
    for action in stack[index].actions:
        if action in ("ok", "ignore", "reset", "0"):
            ways.add(index + 1)
        elif action == "done":
            ways.add(_level_end(stack, index))
        elif (count := natural(action)) is not None:
            landing = jump(stack, index, count)
            if landing is not None:
                ways.add(landing)
    return ways


def _level_end(stack: list[Module], index: int) -> int:
    """Past the rest of the (sub)stack: what done means (pam_dispatch.c, decision_made)."""
    after = index + 1
    while after < len(stack) and stack[after].level >= stack[index].level:
        after += 1
    return after


def jump(stack: list[Module], index: int, count: int) -> int | None:
    """Where a jump over `count` modules lands; a substack counts as one. None: a bad jump, which refuses."""
    level = stack[index].level
    at = index
    while count and at + 1 < len(stack) and stack[at + 1].level >= level:
        at += 1
        while at + 1 < len(stack) and stack[at + 1].level > level:
            at += 1
        count -= 1
    return None if count else at + 1


def undo(text: str) -> str:
    """The text without our lines."""
    return lines.remove(text, OURS)


def plan(tree: Tree, service: str) -> str:
    """Add our line to the tree if the service needs it; says why not where it cannot be added."""
    file = pam.service_file(tree, service)
    if file is None or reach(pam.session(tree, service)).always:
        return ""

    if not has_module(tree):
        return "pam_limits.so is not installed, and a line that names it would refuse every login"

    if managed(tree, file):
        return _authselect_advice(tree, file)

    if not file.startswith("/etc/"):
        return _plan_over_vendor(tree, service, file)

    return _plan_line(tree, service, file)


def has_module(tree: Tree) -> bool:
    """Whether pam_limits.so is installed in one of the directories libpam loads modules from."""
    places = [f"{top}/security" for top in MODULES]
    places += [f"{top}/{name}/security" for top in MODULES for name in tree.names(top) if "-linux-" in name]
    return any("pam_limits.so" in tree.names(place) for place in places)


def _authselect_advice(tree: Tree, file: str) -> str:
    """The commands: a custom profile based on the selected one, whose name and features authselect keeps."""
    base, *features = (tree.read(AUTHSELECT) or "").split() or ["local"]
    name = tree.resolve(file).rpartition("/")[2]
    return (
        f"authselect owns this file: authselect create-profile pycoredump --base-on={base}; add {LINE!r} to "
        f"/etc/authselect/custom/pycoredump/{name}; authselect select {' '.join(['custom/pycoredump', *features])}"
    )


def managed(tree: Tree, file: str) -> bool:
    """Whether authselect(8) writes this file and would lose what is added to it."""
    head = (tree.read(file) or "")[:400]
    return tree.resolve(file).startswith("/etc/authselect/") or "Generated by authselect" in head


def _plan_line(tree: Tree, service: str, file: str) -> str:
    text = undo(tree.read(file) or "")
    before = _jumps(pam.session(tree, service))
    for at in places(text, file):
        trial = tree.copy()
        trial.write(file, lines.insert(text, at, [LINE]))
        stack = pam.session(trial, service)
        if reach(stack).always and _jumps(stack) == before:
            tree.write(file, lines.insert(text, at, [LINE]))
            return ""
    return f"no place in {file} is reached by every login without changing a jump over modules"


def places(text: str, file: str) -> list[int]:
    """The line numbers where our line may go, the best first.

    Best is the place of a commented-out line of the same kind, then the end of the session lines (as
    distributions have it), then ever further up, past whatever may skip the rest of the stack.
    """
    relevant = [line for line in pam.parse(text, file) if line.kind() in ("session", "@include")]
    if not relevant:
        return []

    inside = {number for line in relevant for number in range(line.start + 1, line.end)}
    commented = [
        number + 1
        for number, line in enumerate(lines.split(text))
        if COMMENTED.match(line) and line.endswith("\n") and number + 1 not in inside
    ]
    return [*commented, _last_session(relevant).end, *[line.start for line in reversed(relevant)]]


def _last_session(relevant: list[Line]) -> Line:
    """The last line of the session block: an @include below it may be one of account or password lines."""
    own = [line for line in relevant if line.kind() == "session"]
    return own[-1] if own else relevant[-1]


def _jumps(stack: list[Module]) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Every jump with the lines it skips: adding ours must not change what a jump is over."""
    found = []
    for index, module in enumerate(stack):
        for count in (count for action in module.actions if (count := natural(action)) is not None):
            landing = jump(stack, index, count)
            skipped = stack[index + 1 : landing] if landing is not None else []
            found.append((module.line.words, [other.line.words for other in skipped]))
    return found


def _plan_over_vendor(tree: Tree, service: str, file: str) -> str:
    """A file of ours that includes the vendor's, so that its updates still count."""
    path = f"/etc/pam.d/{service}"
    body = [f"{kind} include {file}" for kind in ("auth", "account", "password", "session")]
    for order in ([*body, LINE], [*body[:3], LINE, body[3]]):
        trial = tree.copy()
        trial.write(path, lines.whole(order))
        if reach(pam.session(trial, service)).always:
            tree.write(path, lines.whole(order))
            return ""
    return f"{file} skips what follows it"


def inspect(tree: Tree, service: str, program: str, reason: str = "") -> Item:
    """The item of one service. `reason`: why plan() could not help."""
    file = pam.service_file(tree, service)
    name = f"PAM limits for {program}"
    if file is None:
        return Item(name=name, state=ABSENT, found=f"no PAM service {service}", file=f"/etc/pam.d/{service}")

    found = reach(pam.session(tree, service))
    line = found.module.line if found.module else None
    effective = "every login" if found.always else "may be skipped" if found.module else "no login"
    if found.skipper is not None and not found.always:
        effective = f"may be skipped by {found.skipper.line.place()}"
    return Item(
        name=name,
        state=OK if found.always else WRONG,
        wanted=LINE,
        found=" ".join(line.words) if line else NOTHING,
        effective=effective,
        file=line.file if line else file,
        line=line.start + 1 if line else 0,
        hint="" if found.always else reason,
    )
