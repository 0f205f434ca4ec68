"""Cores under a budget: gdb and eu-stack judge them against the whole core of the same process."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import launchers
import pytest
from conftest import MakeHandler, Program
from machine import Machine

pytestmark = pytest.mark.kernel

Pair = Callable[..., tuple[pathlib.Path, pathlib.Path]]

PYTHON = (
    "import os, threading, time; print('ready', flush=True);"
    "[threading.Thread(target=time.sleep, args=(99,), daemon=True).start() for _ in range(3)];"
    "time.sleep(0.2); input(); os.abort()"
)


def gdb(program: str, core: pathlib.Path, *commands: str) -> list[str]:
    """What gdb says, without what names the file and the order in which it found the threads."""
    options = [word for command in ("set debuginfod enabled off", *commands) for word in ("-ex", command)]
    run = subprocess.run(
        ["gdb", "-nx", "-batch", *options, program, os.fspath(core)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    skip = ("[New LWP", "Core was generated")
    return [line for line in (run.stdout + run.stderr).splitlines() if not line.startswith(skip)]


def eu_stack(core: pathlib.Path) -> list[str]:
    run = subprocess.run(
        ["eu-stack", f"--core={core}"], capture_output=True, text=True, timeout=240, check=False
    )
    return [line for line in (run.stdout + run.stderr).splitlines() if not line.startswith("PID ")]


def decompress(archive: pathlib.Path) -> pathlib.Path:
    core = archive.with_suffix(".core")
    subprocess.run(["zstd", "-dqf", os.fspath(archive), "-o", os.fspath(core)], check=True, timeout=240)
    return core


@pytest.fixture
def pair(kernel: Machine, handler: MakeHandler, tmp_path: pathlib.Path) -> Pair:
    """Crashes a program; the kernel's whole stream and the core that was kept of it."""

    def crash(argv: list[str], **options: str) -> tuple[pathlib.Path, pathlib.Path]:
        small = handler(options)
        kernel.register(launchers.recorder(kernel.directory, small.path))
        death = kernel.crash(argv)
        (archive,) = small.stored(death.pid)
        whole = kernel.directory / f"stream-{death.pid}"
        kept = decompress(archive)
        moved = tmp_path / "whole"
        shutil.move(whole, moved)
        return moved, kept

    return crash


def argv_of(name: str, program: Program) -> list[str]:
    if name == "python":
        return ["/usr/bin/python3", "-c", PYTHON]
    if name == "static":
        return [os.fspath(program("threads", flags=("-static",))), "5", "4", "mixed"]
    count = name.removesuffix(" threads")
    return [os.fspath(program("threads")), count, "64" if count == "5" else "4", "random"]


@pytest.mark.parametrize("budget", ["256K", "1M", "16M"])
@pytest.mark.parametrize("name", ["5 threads", "100 threads", "static", "python"])
def test_every_backtrace_equals_that_of_the_whole_core(
    name: str, budget: str, program: Program, pair: Pair
) -> None:
    argv = argv_of(name, program)
    whole, kept = pair(argv, Content="budget", Budget=budget)

    assert gdb(argv[0], kept, "thread apply all bt") == gdb(argv[0], whole, "thread apply all bt")
    assert eu_stack(kept) == eu_stack(whole)


def test_globals_and_thread_locals_are_right_and_missing_memory_says_so(
    program: Program, pair: Pair
) -> None:
    argv = argv_of("5 threads", program)
    whole, kept = pair(argv, Content="budget", Budget="1M")
    values = ("p/x known_global", "thread apply all p known_local")

    assert gdb(argv[0], kept, *values) == gdb(argv[0], whole, *values)
    assert "= 0x1122334455667788" in "".join(gdb(argv[0], kept, *values))
    last = gdb(argv[0], kept, "x/8bx known_memory + known_size - 4096")
    assert any("Cannot access memory" in line for line in last)
    assert not any("0x00\t0x00" in line for line in last)


def test_the_core_says_what_it_lacks(program: Program, pair: Pair) -> None:
    argv = argv_of("5 threads", program)
    _, kept = pair(argv, Content="budget", Budget="1M")

    notes = subprocess.run(
        ["eu-readelf", "-n", os.fspath(kept)], capture_output=True, text=True, check=False
    ).stdout
    assert "pycoredump" in notes


def test_stacks_alone_are_enough_for_all_backtraces(program: Program, pair: Pair) -> None:
    argv = argv_of("100 threads", program)
    whole, kept = pair(argv, Content="stacks")

    assert gdb(argv[0], kept, "thread apply all bt") == gdb(argv[0], whole, "thread apply all bt")
    assert kept.stat().st_size < whole.stat().st_size // 2
