"""Other programs that take core_pattern for themselves, some after the sysctl files have been applied."""

from __future__ import annotations

import os

from pycoredump.configure.item import NOTE, OK, WRONG, Item
from pycoredump.configure.tree import Tree

UNITS = "/etc/systemd/system"
# (program, its unit, the process's name, whether it sets core_pattern when it starts, how to switch it off)
RIVALS = (
    ("apport", "apport.service", "apport", True, "systemctl disable --now apport"),
    ("abrt", "abrt-ccpp.service", "abrtd", True, "systemctl disable --now abrt-ccpp"),
    (
        "systemd-coredump",
        "systemd-coredumpd.service",  # since version 262; before, only a sysctl.d file that we sort after
        "systemd-coredum",
        True,
        "systemctl disable --now systemd-coredumpd.service",
    ),
)


def enabled(tree: Tree, unit: str) -> bool:
    """Whether systemd starts the unit: some .wants or .requires directory has it, and it is not masked."""
    if tree.resolve(f"{UNITS}/{unit}") == "/dev/null":
        return False

    places = [
        f"{base}/{name}"
        for base in (UNITS, "/usr/lib/systemd/system", "/lib/systemd/system")
        for name in tree.names(base)
        if name.endswith((".wants", ".requires"))
    ]
    return any(unit in tree.names(place) for place in places)


def running(comm: str, *, proc: str = "/proc") -> list[int]:
    """The processes of that name (at most 15 characters, proc_pid_comm(5)), of this host."""
    found = []
    for entry in os.listdir(proc) if os.path.isdir(proc) else []:
        try:
            with open(f"{proc}/{entry}/comm", encoding="utf-8", errors="replace") as file:
                if entry.isdecimal() and file.read().rstrip("\n") == comm:
                    found.append(int(entry))
        except OSError:
            continue  # no process, or one that has just ended
    return sorted(found)


def inspect(tree: Tree, *, live: bool) -> list[Item]:
    """One item for each rival that is there; one that says so if there is none."""
    found = []
    for program, unit, comm, takes, command in RIVALS:
        starts = enabled(tree, unit)
        pids = running(comm) if live else []
        if not starts and not pids:
            continue

        bad = starts and takes
        found.append(
            Item(
                name=f"rival {program}",
                state=WRONG if bad else NOTE,
                wanted="not started",
                found=f"{unit} is enabled" if starts else f"running as process {pids[0]}",
                effective="sets core_pattern when it starts" if bad else "",
                hint=command if bad else "it gets no crash while core_pattern is ours",
            )
        )
    return found or [Item(name="rivals", state=OK, wanted="none", found="none")]
