"""CPU time and memory of `list` with 10,000 crashes: python tests/cli/bench_list.py [CRASHES]. Not a test."""

from __future__ import annotations

import os
import pathlib
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, os.fspath(pathlib.Path(__file__).parents[2]))

from cli_system import PROGRAM, System, clean_environment, core

T = 1_795_400_000
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


def made(root: pathlib.Path, count: int) -> System:
    """Crashes of five programs with an archive and an entry of 25 KB each."""
    system = System(root)
    stored = core(1)
    for i in range(count):
        one = {"comm": ("nginx", "worker", "php-fpm", "postgres", "a.out")[i % 5], "signal": ("11", "6", "4")[i % 3],
               "unit": f"unit{i % 7}.service", "proc_maps": f"{MAPS}\n{i}", "environ": f"{MAPS[:3000]}{i}"}  # fmt: skip
        crash = system.crash(1000 + i, time=T + 7 * i, archive=False, entry=False, **one)
        crash["COREDUMP_FILENAME"] = system.archive(crash, stored=stored).encode()
        system.entry(crash)
    system.commit()
    return system


# A small process of its own: what we hold ourselves would count as the child's most memory (getrusage(2)).
METER = """
import os, resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def cost(system: System, *arguments: str) -> tuple[float, float]:
    """CPU seconds and the most memory (KiB, the mapped journal included) of one run."""
    command = [sys.executable, "-c", PROGRAM, "--root", os.fspath(system.root), *arguments, "-q"]
    done = subprocess.run(
        [sys.executable, "-c", METER, *command], capture_output=True, check=True, env=clean_environment()
    )
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)


def main(count: int) -> None:
    """Print a table; medians of three runs."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as directory:
        system = made(pathlib.Path(directory) / "root", count)
        for journal in (True, False):
            if not journal:
                system.journal.rename(pathlib.Path(directory) / "elsewhere")
            print(f"{count} archives{' and entries' if journal else ', no journal'}")
            for arguments in RUNS:
                runs = sorted(cost(system, *arguments) for _ in range(3))
                print(f"  {' '.join(arguments):<18} {runs[1][0]:6.2f} s CPU {runs[1][1] / 1024:6.0f} MiB")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
