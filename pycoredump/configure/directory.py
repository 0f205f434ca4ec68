"""/var/core in file mode, where crashed processes write their cores with their own rights: sticky, like /tmp."""

from __future__ import annotations

import os
import re
import stat

from pycoredump.configure import lines, sysctl
from pycoredump.configure.item import OK, WRONG, Item
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError

PATH = sysctl.DIRECTORY
MODE = 0o1777
CLOSED = 0o711  # as the handler wants it: only root writes, users reach the cores that an ACL opens to them
# Sorts before the shipped snippet, which makes the directory root's own: the first line for a path wins.
TMPFILES = "/etc/tmpfiles.d/00-pycoredump-file-mode.conf"
LINE = f"d {PATH} {MODE:04o} root root -"
BODY = ["# Crashed processes write their cores here themselves; the sticky bit keeps them apart.", LINE]
OURS = re.compile(re.escape(LINE))


def mode(tree: Tree) -> int | None:
    """The directory's mode; None if it is missing. ConfigError if it is no directory of root's."""
    try:
        status = os.lstat(tree.real(PATH))
    except FileNotFoundError:
        return None

    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{PATH} is not a directory of root's own",
            hint="cores would be written where someone else decides",
        )

    return stat.S_IMODE(status.st_mode)


def plan(tree: Tree, wanted: str) -> int | None:
    """The mode the directory must get; None: leave it. systemd-tmpfiles is told the same."""
    if wanted != "file":
        return None

    if tree.is_directory("/usr/lib/tmpfiles.d"):
        theirs = tree.read(TMPFILES)
        tree.write(TMPFILES, lines.whole(BODY) if theirs is None else lines.insert(theirs, 0, [LINE]))
    return None if mode(tree) == MODE else MODE


def inspect(tree: Tree) -> Item:
    """The item of file mode."""
    now = mode(tree)
    return Item(
        name=f"directory {PATH}",
        state=OK if now == MODE else WRONG,
        wanted=f"mode {MODE:04o}, so that every process may write its core and none another's",
        found="missing" if now is None else f"mode {now:04o}",
        file=PATH,
    )


def inspect_handler(tree: Tree) -> Item:
    """The item of pipe mode: without the handler every crash would be lost."""
    program = sysctl.handler(sysctl.wanted(tree, "pipe")[sysctl.CORE_PATTERN])
    good = tree.is_executable(program)
    return Item(
        name="the handler",
        state=OK if good else WRONG,
        wanted="a program that can be run",
        found="present" if good else "missing",
        file=program,
        hint="" if good else "make install puts it there; core_pattern is not set before",
    )
