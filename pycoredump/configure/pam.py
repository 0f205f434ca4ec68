"""PAM service files (pam.conf(5)): their lines, includes and the session stack, read as libpam reads them.

Debian's @include, include, substack, a leading - and continued lines are understood; the rules are those
of libpam/pam_handlers.c and pam_dispatch.c.
"""

from __future__ import annotations

import functools
import re

from pycoredump.configure import lines
from pycoredump.configure.number import natural
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError
from pycoredump.record import Record

DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d")  # the first that has the file wins
KINDS = ("auth", "account", "password", "session")
LEVELS_MAX = 16  # PAM_SUBSTACK_MAX_LEVEL
WORD = re.compile(r"\[(?:\\\]|[^\]])*\]?|[^ \n\t]+")
KEYWORDS = {
    "required": ("ok", "ignore", "bad"),
    "requisite": ("ok", "ignore", "die"),
    "optional": ("ok", "ignore"),
    "sufficient": ("done", "ignore"),
}
ACTIONS = ("ignore", "ok", "done", "bad", "die", "reset")


class Line(Record):
    """A line that says something. It spans `start` to `end` (line numbers from 0, end exclusive)."""

    file: str
    start: int
    end: int
    words: tuple[str, ...]

    def place(self) -> str:
        """The file and line, for messages."""
        return f"{self.file}:{self.start + 1}"

    def kind(self) -> str:
        """auth, account, password, session or @include."""
        return self.words[0].lower().removeprefix("-")


class Module(Record):
    """One module of a stack. `level` counts the substacks it lies in."""

    line: Line
    level: int
    name: str  # without its directory; empty for the head of a substack
    args: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()  # what may follow from its result


@functools.lru_cache(maxsize=64)  # the stack is followed again for each place that is tried
def parse(text: str, file: str) -> tuple[Line, ...]:
    """The lines of a file. ConfigError names the first that libpam would take as "always fail"."""
    physical = lines.split(text)
    found = []
    number = 0
    while number < len(physical):
        start = number
        words, number = _assemble(physical, number, file)
        if words:
            line = Line(file=file, start=start, end=number, words=tuple(WORD.findall(words)))
            _check(line)
            found.append(line)
    return tuple(found)


def _assemble(physical: list[str], number: int, file: str) -> tuple[str, int]:
    """The line that begins here, continued lines joined, and the number after it."""
    start = number
    joined = ""
    while number < len(physical):
        text = physical[number].strip(" \n\t")
        number += 1
        if not text or text.startswith("#"):
            if not joined:
                return "", number
            continue  # libpam looks past comments for the rest of a continued line

        code, comment, _ = text.partition("#")
        if comment or not code.endswith("\\"):
            return joined + code, number

        joined += code[:-1] + " "
    raise ConfigError(
        f"{file}:{start + 1}: the line is continued, but the file ends", hint="see pam.conf(5)"
    )


def _check(line: Line) -> None:
    words = line.words
    kind = line.kind()
    if any("\r" in word for word in words):
        message = "the line ends in CR LF, and libpam takes the CR for part of a word"
    elif kind == "@include":
        message = "" if len(words) > 1 else "@include names no file"
    elif kind not in KINDS:
        message = f"{words[0]!r} is not a module type"
    elif len(words) < 3:
        message = "the line names no module"
    else:
        message = _bad_control(words[1])
    if message:
        raise ConfigError(f"{line.place()}: {message}", hint="libpam refuses logins by it: see pam.conf(5)")


def _bad_control(control: str) -> str:
    if control.lower() in (*KEYWORDS, "include", "substack"):
        return ""

    if not control.startswith("[") or not control.endswith("]"):
        return f"{control!r} is not a control value"

    for pair in control[1:-1].split():
        value, _, action = pair.partition("=")
        if not value or not (action in ACTIONS or natural(action) is not None):
            return f"{pair!r} in {control!r} is not a control value"
    return ""


def service_file(tree: Tree, service: str) -> str | None:
    """The file that libpam opens for a service (or an include), None if there is none."""
    if service.startswith("/"):
        return service if tree.read(service) is not None else None

    for directory in DIRECTORIES:
        if tree.read(f"{directory}/{service}") is not None:
            return f"{directory}/{service}"
    return None


def session(tree: Tree, service: str) -> list[Module]:
    """The session stack of a service, includes expanded; that of "other" where it has none of its own."""
    for name in (service, "other"):
        file = service_file(tree, name)
        stack = _stack(tree, file, 0, ()) if file else []
        if stack:
            return stack
    return []


def _stack(tree: Tree, file: str, level: int, open_files: tuple[str, ...]) -> list[Module]:
    stack: list[Module] = []
    here = (*open_files, tree.resolve(file))
    for line in parse(tree.read(file) or "", file):
        if line.kind() == "@include":
            stack += _included(tree, line, line.words[1], level, here)
        elif line.kind() == "session":
            control = line.words[1].lower()
            if control == "substack":
                stack.append(Module(line=line, level=level, name="", actions=("ok",)))
            if control in ("include", "substack"):
                stack += _included(tree, line, line.words[2], level + (control == "substack"), here)
            else:
                stack.append(_module(line, level))
    return stack


def _included(tree: Tree, line: Line, name: str, level: int, open_files: tuple[str, ...]) -> list[Module]:
    file = service_file(tree, name)
    if file is None:
        raise ConfigError(f"{line.place()}: {name!r} does not exist", hint="libpam refuses logins by it")

    if tree.resolve(file) in open_files or len(open_files) >= LEVELS_MAX:
        raise ConfigError(f"{line.place()}: {name!r} includes itself", hint="libpam refuses logins by it")

    return _stack(tree, file, level, open_files)


def _module(line: Line, level: int) -> Module:
    name = line.words[2].rpartition("/")[2]
    return Module(
        line=line, level=level, name=name, args=line.words[3:], actions=_actions(line.words[1], name)
    )


def _actions(control: str, name: str) -> tuple[str, ...]:
    """What may follow from the module's result."""
    if control.lower() in KEYWORDS:
        actions = KEYWORDS[control.lower()]
        # pam_permit and pam_deny always return the same.
        return {"pam_permit.so": actions[:1], "pam_deny.so": actions[-1:]}.get(name, actions)

    table = dict(pair.split("=", 1) for pair in control[1:-1].split())
    default = table.get("default", "bad")
    if name == "pam_permit.so":
        return (table.get("success", default),)

    if name == "pam_deny.so":
        return (table.get("session_err", default),)

    return (*table.values(), default)
