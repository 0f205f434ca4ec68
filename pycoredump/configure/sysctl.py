"""The kernel's core dump settings in sysctl.d(5): which file wins, and files of ours where ours does not.

systemd-sysctl and procps' "sysctl --system" read the same directories, but procps reads /etc/sysctl.conf
last and systemd-sysctl only through a link named 99-sysctl.conf. A setting holds only if it wins for both.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re

from pycoredump import crash
from pycoredump.configure import lines
from pycoredump.configure.number import natural
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

NAME = "60-pycoredump.conf"
DIRECTORIES = (  # the first that has a name masks the same name in the others
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
)
CONF = "/etc/sysctl.conf"

CORE_PATTERN = "kernel.core_pattern"
CORE_PIPE_LIMIT = "kernel.core_pipe_limit"
SUID_DUMPABLE = "fs.suid_dumpable"
CORE_USES_PID = "kernel.core_uses_pid"

DIRECTORY = "/var/core"
FILE_PATTERN = f"{DIRECTORY}/core-%e-%p-%s-%t"  # the seed document's
PIPE_PATTERN = f"|{crash.HANDLER} " + " ".join(specifier for specifier, _ in crash.SPECIFIERS)
PIPE_LIMIT = "1024"  # the shipped file's; written only where that is missing, any value above 0 is accepted

# In the order of setting: the safe core_pattern before suid_dumpable=2, and back in the reverse order.
# suid_dumpable=2 with a relative core_pattern would let a set-uid program's core be planted anywhere.
ORDER = (CORE_PATTERN, CORE_PIPE_LIMIT, CORE_USES_PID, SUID_DUMPABLE)
OURS = re.compile(rf"({'|'.join(re.escape(key) for key in ORDER)}) = .*")

REASONS = {
    CORE_PATTERN: "The kernel hands each core to this program, or writes it to this file (core(5)).",
    CORE_PIPE_LIMIT: "So many crashes are handled at once; above 0 the kernel keeps /proc/PID until the handler is done.",
    CORE_USES_PID: "A plain core file carries its process's number.",
    SUID_DUMPABLE: "Set-uid programs dump core too, readable by root alone; safe only with the core_pattern above.",
}


class Setting(Record):
    """A line of a sysctl file. The key is in dotted form; in systemd's files it may be a pattern."""

    file: str
    line: int
    key: str
    value: str


@functools.lru_cache(maxsize=64)  # each key is looked up in every file
def parse(text: str, file: str) -> tuple[Setting, ...]:
    """The settings of a file; what is not one is skipped, as sysctl does."""
    found = []
    for number, line in enumerate(lines.split(text), start=1):
        stripped = line.strip()
        key, equals, value = stripped.partition("=")
        if stripped.startswith(("#", ";")) or not equals:
            continue

        name = dotted(key.strip().removeprefix("-").strip())
        found.append(Setting(file=file, line=number, key=name, value=value.strip()))
    return tuple(found)


def dotted(key: str) -> str:
    """kernel/core_pattern and kernel.core_pattern are the same key (sysctl.d(5))."""
    first = re.search(r"[./]", key)
    return key.replace("/", ".") if first and first[0] == "/" else key


def files(tree: Tree) -> list[str]:
    """The files in the order they are applied; later ones win."""
    places: dict[str, str] = {}
    for directory in DIRECTORIES:
        for name in tree.files(directory, ".conf"):
            places.setdefault(name, f"{directory}/{name}")
    return [places[name] for name in sorted(places, key=os.fsencode)]


def resolve(tree: Tree, key: str) -> list[Setting]:
    """The settings that win for the key: one for systemd-sysctl and, if another, one for procps."""
    ordered = files(tree)
    winners = []
    for order in (ordered, [*ordered, CONF]):
        settings = [setting for path in order for setting in parse(tree.read(path) or "", path)]
        # systemd-sysctl: a plain key beats any pattern that matches it too.
        named = [s for s in settings if s.key == key] or [s for s in settings if _globbed(s.key, key)]
        winners += [setting for setting in named[-1:] if setting not in winners]
    return winners


def _globbed(pattern: str, key: str) -> bool:
    return any(c in pattern for c in "*?[") and fnmatch.fnmatchcase(key, pattern)


def vendor(tree: Tree) -> dict[str, str]:
    """What our shipped file sets where `make install` put it; {} if it is missing."""
    for directory in DIRECTORIES[1:]:
        text = tree.read(f"{directory}/{NAME}")
        if text is not None:
            return {setting.key: setting.value for setting in parse(text, directory)}
    return {}


def wanted(tree: Tree, mode: str) -> dict[str, str]:
    """The settings of the mode, in the order of setting. The shipped file is right about the handler's path."""
    if mode == "file":
        return {CORE_PATTERN: FILE_PATTERN, CORE_USES_PID: "1"}

    shipped = vendor(tree)
    pattern, limit = shipped.get(CORE_PATTERN, ""), shipped.get(CORE_PIPE_LIMIT, "")
    return {
        CORE_PATTERN: pattern if pattern.startswith("|/") else PIPE_PATTERN,
        CORE_PIPE_LIMIT: limit if accepts(CORE_PIPE_LIMIT, limit, PIPE_LIMIT) else PIPE_LIMIT,
        CORE_USES_PID: "1",
        SUID_DUMPABLE: "2",
    }


def handler(pattern: str) -> str:
    """The program of a pipe pattern, "" for a file pattern."""
    return pattern[1:].split(" ")[0] if pattern.startswith("|") else ""


def accepts(key: str, value: str, right: str) -> bool:
    """Whether a value will do: any core_pipe_limit above 0 keeps /proc/PID until the handler is done."""
    if key == CORE_PIPE_LIMIT:
        return (natural(value) or 0) > 0

    return value.split() == right.split()


def undo(text: str) -> str:
    """The text without our lines."""
    return lines.remove(text, OURS)


def edit(text: str, settings: dict[str, str]) -> str:
    """A sysctl.conf with the settings at its end, where they win."""
    clean = undo(text)
    return lines.insert(clean, len(lines.split(clean)), [f"{key} = {settings[key]}" for key in settings])


def own(settings: dict[str, str]) -> str:
    """A drop-in of ours: each setting with its reason."""
    body = []
    for key, value in settings.items():
        body += [f"# {REASONS[key]}", f"{key} = {value}"]
    return lines.whole(body)
