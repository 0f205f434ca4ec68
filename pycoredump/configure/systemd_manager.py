"""DefaultLimitCORE= of systemd-system.conf(5): the core limit of services, which never pass through PAM.

Unset is right for upstream's systemd: PID 1 raises its own limit to infinity and services inherit it (since
version 229). Debian and its derivatives take that back: up to Debian 12 by a patch, unset is the kernel's default
there, a soft limit of 0 (measured with systemd 252); since Debian 13 by a drop-in that can be seen.
"""

from __future__ import annotations

import os

from pycoredump.configure import limits, lines
from pycoredump.configure.item import ABSENT, NOTE, OK, WRONG, Item
from pycoredump.configure.number import natural
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

PAGE = 4096  # bytes
KEY = "DefaultLimitCORE"
DIRECTORIES = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
DEBIAN_DROP_IN = "/usr/lib/systemd/system.conf.d/10-coredump-debian.conf"
OWN = "/etc/systemd/system.conf.d/60-pycoredump.conf"
BODY = [
    "# Services do not pass through PAM: without this line they dump no core.",
    "[Manager]",
    f"{KEY}=infinity",
]


class Setting(Record):
    """A line that sets the limit."""

    file: str
    line: int
    value: str

    def soft(self) -> str:
        """The soft limit of "SOFT:HARD" or of "BOTH"."""
        return self.value.split(":")[0].strip()


def files(tree: Tree) -> list[str]:
    """The main file and the drop-ins in the order they are read; later ones win."""
    mains = [f"{d}/system.conf" for d in DIRECTORIES if tree.read(f"{d}/system.conf") is not None]
    places: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in tree.files(f"{directory}/system.conf.d", ".conf"):
            places.setdefault(name, f"{directory}/system.conf.d/{name}")
    return mains[:1] + [places[name] for name in sorted(places, key=os.fsencode)]


def resolve(tree: Tree) -> Setting | None:
    """The line that wins, None if the limit is not set; an empty value unsets what came before."""
    winner: Setting | None = None
    for path in files(tree):
        section = ""
        for number, line in enumerate(lines.split(tree.read(path) or ""), start=1):
            stripped = line.strip()
            key, equals, value = stripped.partition("=")
            if stripped.startswith("["):
                section = stripped
            elif equals and key.strip() == KEY and section == "[Manager]":
                setting = Setting(file=path, line=number, value=value.strip())
                winner = setting if setting.value else None
    return winner


def present(tree: Tree) -> bool:
    """Whether systemd can be the init program of this host."""
    return any(tree.is_executable(f"{top}/systemd/systemd") for top in ("/usr/lib", "/lib"))


def soft_limit(tree: Tree) -> str:
    """The soft limit of services as systemd.exec(5) spells it."""
    setting = resolve(tree)
    if setting is not None:
        return setting.soft()

    return "0" if limits.debian_rules(tree) and not tree.is_file(DEBIAN_DROP_IN) else "infinity"


def enough(soft: str) -> bool:
    """Whether services dump core. 0, or less than a page, is no core."""
    digits = soft.rstrip("KMGTPE")
    size = natural(digits)
    return size is None or (size > 0 and (digits != soft or size >= PAGE))


def plan(tree: Tree) -> None:
    """Write our drop-in to the tree if services dump no core; its name sorts after all others."""
    if not present(tree) or enough(soft_limit(tree)):
        return

    directory, _, name = OWN.rpartition("/")
    others = [path.rpartition("/")[2] for path in files(tree) if "/system.conf.d/" in path]
    tree.write(f"{directory}/{lines.last_name(name, others)}", lines.whole(BODY))


def inspect(tree: Tree, running: str = "", *, requested: bool) -> Item:
    """The item, which decides only if `requested`.

    `running`: the soft limit that a running systemd gives to services, "" if none was asked.
    """
    name = "core limit of services"
    if not present(tree):
        return Item(name=name, state=ABSENT, found="no systemd")

    setting = resolve(tree)
    right = enough(soft_limit(tree))
    good = enough(running) if running else right
    return Item(
        name=name,
        state=OK if good else WRONG if requested else NOTE,
        wanted=f"{KEY}=infinity",
        found=f"{KEY}={setting.value}" if setting else "unset",
        effective=f"running: {running}" if running else soft_limit(tree),
        file=setting.file if setting else "",
        line=setting.line if setting else 0,
        hint="" if good else _hint(right),
    )


def _hint(right: bool) -> str:
    if right:
        return "the files are right, but systemd has not read them: systemctl daemon-reload"

    return "services dump no core: pycoredump-configure apply --services changes that"
