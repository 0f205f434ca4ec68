"""UsePAM in sshd_config(5): the first value wins, Include expands in place, a Match block ends the global part.

A drop-in of ours that sorts first is best: the distribution's file stays as it was. Where the main file
includes none, or another drop-in would come first, the line goes above the first line that matters. Never
at the end: below a Match block UsePAM makes sshd refuse to start.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re

from pycoredump.configure import lines
from pycoredump.configure.item import ABSENT, NOTHING, OK, WRONG, Item
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError
from pycoredump.record import Record

LINE = "UsePAM yes"
OURS = re.compile(r"UsePAM yes")
MAINS = (
    "/etc/ssh/sshd_config",
    "/usr/etc/ssh/sshd_config",
)  # the latter: openSUSE, where the former is missing
DROP_IN = "/etc/ssh/sshd_config.d/00-pycoredump.conf"
INCLUDES_MAX = 16  # SERVCONF_MAX_DEPTH (servconf.c)
DIRECTIVE = re.compile(r'\s*(?:"([^"]*)"|([^\s="#]+))(?:\s*=\s*|\s+|$)(.*)', re.DOTALL)
ARGUMENT = re.compile(r'"([^"]*)"|(#.*)|(\S+)')


class Directive(Record):
    """A line of the configuration, in the order sshd sees them."""

    file: str
    line: int  # from 1
    keyword: str  # lower case
    arguments: tuple[str, ...]
    matched: bool  # inside a Match block

    def place(self) -> str:
        """The file and line, for messages."""
        return f"{self.file}:{self.line}"


def main_file(tree: Tree) -> str | None:
    """The file sshd reads first, None if there is none."""
    return next((path for path in MAINS if tree.read(path) is not None), None)


def parse(text: str, file: str) -> list[Directive]:
    """The directives of one file, Include not expanded."""
    found = []
    matched = False
    for number, line in enumerate(lines.split(text), start=1):
        match = DIRECTIVE.match(line.strip())
        if match is None:
            continue

        keyword = (match[1] or match[2] or "").lower()
        words = [a or c for a, b, c in ARGUMENT.findall(match[3]) if not b]
        if keyword == "match":
            matched = [word.lower() for word in words] != ["all"]  # "Match all" is global again
        found.append(
            Directive(file=file, line=number, keyword=keyword, arguments=tuple(words), matched=matched)
        )
    return found


def directives(
    tree: Tree, file: str, *, open_files: tuple[str, ...] = (), matched: bool = False
) -> list[Directive]:
    """The directives of a file, Include expanded. ConfigError for a file that includes itself."""
    found = []
    here = (*open_files, tree.resolve(file))
    for one in parse(tree.read(file) or "", file):
        # A Match block of an included file ends with that file (servconf.c, since OpenSSH 8.2).
        one = one.replace(matched=one.matched or matched)
        found.append(one)
        if one.keyword == "include":
            for path in _included(tree, one.arguments):
                if tree.resolve(path) in here or len(here) > INCLUDES_MAX:
                    raise ConfigError(
                        f"{one.place()}: {path} includes itself", hint="sshd does not start with it"
                    )

                found += directives(tree, path, open_files=here, matched=one.matched)
    return found


def _included(tree: Tree, patterns: tuple[str, ...]) -> list[str]:
    return [path for pattern in patterns for path in _glob(tree, posixpath.join("/etc/ssh", pattern))]


def _glob(tree: Tree, pattern: str) -> list[str]:
    """The files that match, sorted as glob(3) does; sshd reads a directory as an empty file."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        found = [f"{base}/{name}" for base in found for name in _matching(tree, base or "/", part)]
    return sorted((path for path in found if tree.is_file(path)), key=os.fsencode)


def _matching(tree: Tree, directory: str, part: str) -> list[str]:
    if not any(c in part for c in "*?["):
        return [part]

    names = [name for name in tree.names(directory) if part.startswith(".") or not name.startswith(".")]
    return [name for name in names if fnmatch.fnmatchcase(name, part)]


def use_pam(tree: Tree) -> Directive | None:
    """The directive that decides, None if there is none (sshd's own default is no)."""
    main = main_file(tree)
    if main is None:
        return None

    found = [one for one in directives(tree, main) if one.keyword == "usepam"]
    for one in found:
        _check(one)
    return found[0] if found else None


def _check(one: Directive) -> None:
    if one.matched:
        raise ConfigError(f"{one.place()}: UsePAM inside a Match block: sshd does not start with it")

    if len(one.arguments) != 1 or one.arguments[0].lower() not in ("yes", "no"):
        raise ConfigError(f"{one.place()}: UsePAM is neither yes nor no", hint="see sshd_config(5)")


def enabled(tree: Tree) -> bool:
    """Whether sshd uses PAM."""
    found = use_pam(tree)
    return found is not None and found.arguments[0].lower() == "yes"


def undo(text: str) -> str:
    """The text without our lines."""
    return lines.remove(text, OURS)


def edit(text: str) -> str:
    """The main file with our line above the first that sets UsePAM, includes files or begins a Match block."""
    clean = undo(text)
    for one in parse(clean, ""):
        if one.keyword in ("usepam", "include", "match"):
            return lines.insert(clean, one.line - 1, [LINE])
    return lines.insert(clean, len(lines.split(clean)), [LINE])


def supported(settings: dict[str, str]) -> bool:
    """Whether this sshd knows PAM: without it, as in Alpine's openssh-server, sshd -T has no such setting."""
    return not settings or "usepam" in settings


def plan(tree: Tree, settings: dict[str, str]) -> str:
    """Add UsePAM to the tree if it is missing; says why not where it cannot be. `settings`: sshd -T's, {} if unknown."""
    main = main_file(tree)
    if main is None or enabled(tree) or not supported(settings):
        return ""

    trial = tree.copy()
    if tree.is_directory(posixpath.dirname(DROP_IN)) and tree.read(DROP_IN) is None:
        trial.write(DROP_IN, lines.whole([LINE]))
        if enabled(trial):
            tree.write(DROP_IN, lines.whole([LINE]))
            return ""

    if main != MAINS[0]:
        return f"put {LINE!r} into a file below {posixpath.dirname(DROP_IN)} that {main} includes first"

    tree.write(main, edit(tree.read(main) or ""))
    return ""


def flattened(tree: Tree) -> str:
    """The configuration as one text, for sshd to judge before any file of the plan exists."""
    main = main_file(tree) or MAINS[0]
    text = tree.read(main) or ""
    drop_in = tree.read(DROP_IN)
    on_disk = Tree(tree.root).read(DROP_IN)
    return text if drop_in == on_disk or drop_in is None else f"{drop_in}{text}"


def inspect(tree: Tree, settings: dict[str, str], reason: str = "") -> Item:
    """The item. `settings`: what sshd -T says, {} if it could not be asked."""
    main = main_file(tree)
    if main is None:
        return Item(name="sshd uses PAM", state=ABSENT, found="no sshd_config", file=MAINS[0])

    if not supported(settings):
        return Item(name="sshd uses PAM", state=ABSENT, found="this sshd is built without PAM", file=main)

    found = use_pam(tree)
    effective = settings.get("usepam", "")
    good = effective == "yes" if effective else enabled(tree)
    return Item(
        name="sshd uses PAM",
        state=OK if good else WRONG,
        wanted=LINE,
        found=f"UsePAM {found.arguments[0]}" if found else NOTHING,
        effective=effective and f"sshd -T: {effective}",
        file=found.file if found else main,
        line=found.line if found else 0,
        hint="" if good else reason,
    )
