"""What pycoredumpctl costs with 10,000 crashes at hand, in CPU time and memory; coredumpctl beside it."""

from __future__ import annotations

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

sys.path.append(os.fspath(pathlib.Path(__file__).parents[1] / "cli"))

from cli_system import JOURNAL_REMOTE, PROGRAM, System, clean_environment, core

CRASHES = 10_000
ROUNDS = 3
START = 1_795_400_000  # seconds since the epoch
MAPS = "\n".join(
    f"7f{i:010x}000-7f{i + 1:010x}000 r-xp 00000000 fe:01 {i} /usr/lib/lib{i}.so" for i in range(250)
)
RUNS = (
    ("list",),
    ("list", "-n", "20"),
    ("list", "-r", "-n", "20"),
    ("list", "-1", "worker"),
    ("info",),
    ("stats",),
)
THEIRS = (("list",), ("list", "-r", "-n", "20"))
# A small process of its own: what we hold ourselves would count as the child's most memory (getrusage(2)).
METER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss << 10)
"""

Figures = dict[str, dict[str, float]]  # of a command: its CPU seconds, its most memory in bytes


def obstacle() -> str:
    """Why it cannot be measured here; "" if it can."""
    return "" if any(map(os.path.exists, JOURNAL_REMOTE)) else "needs systemd-journal-remote"


def figures() -> dict[str, Figures]:
    """Medians, with a journal and without."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as directory:
        system = made(pathlib.Path(directory) / "root")
        python = [sys.executable, "-c", PROGRAM, "--root", os.fspath(system.root)]
        found = {"with a journal": costs("pycoredumpctl", [*python, "-q"], RUNS)}
        if program := shutil.which("coredumpctl"):
            command = [program, "--root", os.fspath(system.root)]
            found["with a journal"] |= costs("coredumpctl", command, THEIRS)
        system.journal.rename(pathlib.Path(directory) / "elsewhere")
        found["without a journal"] = costs("pycoredumpctl", [*python, "-q"], RUNS)
    return found


def made(root: pathlib.Path) -> System:
    """Crashes of five programs with an archive and an entry of 25 KB each."""
    system = System(root)
    stored = core(1)
    for i in range(CRASHES):
        one = {"comm": ("nginx", "worker", "php-fpm", "postgres", "a.out")[i % 5], "signal": ("11", "6", "4")[i % 3],
               "unit": f"unit{i % 7}.service", "proc_maps": f"{MAPS}\n{i}", "environ": f"{MAPS[:3000]}{i}",
               "signature": f"{i % 97:016x}"}  # fmt: skip
        crash = system.crash(1000 + i, time=START + 7 * i, archive=False, entry=False, **one)
        crash["COREDUMP_FILENAME"] = system.archive(crash, stored=stored).encode()
        system.entry(crash)
    system.commit()
    return system


def costs(name: str, command: list[str], runs: tuple[tuple[str, ...], ...]) -> Figures:
    found = {}
    for arguments in runs:
        samples = [cost([*command, *arguments]) for _ in range(ROUNDS)]
        cpu, memory = (statistics.median(column) for column in zip(*samples, strict=True))
        found[f"{name} {' '.join(arguments)}"] = {"cpu": cpu, "memory": memory}
    return found


def cost(command: list[str]) -> tuple[float, float]:
    """CPU seconds and the most memory (bytes, the mapped journal included) of one run."""
    done = subprocess.run(
        [sys.executable, "-c", METER, *command], capture_output=True, check=True, env=clean_environment()
    )
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)


def lines(found: dict[str, Figures]) -> Iterator[str]:
    yield f"list: {CRASHES:,} archives and as many entries of 25 KB"
    for where, table in found.items():
        yield f"  {where:<32}{'CPU s':>8}{'peak MiB':>11}"
        for command, figure in table.items():
            yield f"  {command:<32}{figure['cpu']:>8.2f}{figure['memory'] / (1 << 20):>11.0f}"
