"""Shell profiles that lower the core limit again after PAM has set it. They are only looked at, never edited."""

from __future__ import annotations

import re

from pycoredump.configure import lines
from pycoredump.configure.item import NOTE, Item
from pycoredump.configure.number import natural
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

FILES = ("/etc/profile", "/etc/bash.bashrc", "/etc/bashrc", "/etc/bash.bashrc.local", "/etc/profile.local")
DIRECTORY = "/etc/profile.d"
# ulimit -c 0, ulimit -S -c 0, ulimit -Sc 0, also after ";", "&&" or "then"; a flag other than S, H, c is not ours.
ULIMIT = re.compile(
    r"(?:^|[;&|({]|\b(?:then|do|else)\b)\s*ulimit\s+(?:-[SH]+\s+)*-[SH]*c[SH]*\s*(?P<size>[0-9]+)\b"
)


class Lowering(Record):
    """A line that sets the limit of login shells."""

    file: str
    line: int
    text: str

    def place(self) -> str:
        """The file and line, for messages."""
        return f"{self.file}:{self.line}"


def lowerings(tree: Tree, kilobytes: int) -> list[Lowering]:
    """The lines that set a core limit below this many KB (bash counts 1024 bytes, and so do we for dash's 512)."""
    paths = [*FILES, *(f"{DIRECTORY}/{name}" for name in tree.files(DIRECTORY, ".sh"))]
    return [
        Lowering(file=path, line=number, text=line.strip())
        for path in paths
        if tree.is_file(path)
        for number, line in enumerate(lines.split(tree.read(path) or ""), start=1)
        if (match := ULIMIT.search(line.partition("#")[0])) and (natural(match["size"]) or 0) < kilobytes
    ]


def inspect(tree: Tree, limit: int) -> list[Item]:
    """One item for each such line; none if there is none. `limit`: the wanted limit in bytes."""
    return [
        Item(
            name="shell profile",
            state=NOTE,
            found=one.text,
            wanted="no lower limit",
            effective="in login shells that run this line",
            file=one.file,
            line=one.line,
            hint="remove this line",
        )
        for one in lowerings(tree, limit // 1024)
    ]
