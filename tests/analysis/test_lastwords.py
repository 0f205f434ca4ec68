"""What a program said about its own end, out of cores that gdb takes of it where it dies."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import crashes
import pytest

from pycoredump.analysis import debugfiles, report, stored
from pycoredump.analysis.model import Facts, Report

sys.path.append(os.fspath(pathlib.Path(__file__).parents[1] / "kernel"))

import crashers

PROGRAMS = pathlib.Path(__file__).parent / "programs"

pytestmark = pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")


def dead(argv: list[str], directory: pathlib.Path) -> Report:
    problem = crashes.run_in_gdb(argv, directory)
    if problem:
        pytest.skip(problem)
    fd = os.open(directory / "core", os.O_RDONLY)
    modules = debugfiles.open_modules(stored.layout(stored.source(fd)))
    try:
        return report.analyse(fd, list(modules.items()), Facts(exe=argv[0], arguments=tuple(argv)))
    finally:
        for one in (fd, *modules.values()):
            os.close(one)


GLIBC = {
    "double-free": (
        "Its last words: free(): double free detected in tcache 2",
        "free, called by by_double_free",
    ),
    "assertion": ("by_assertion: Assertion `months <= 12' failed.", "by_assertion"),
    "smashing": ("Its last words: *** stack smashing detected ***: terminated", "by_smashing"),
}


@pytest.mark.parametrize("way", GLIBC)
def test_glibcs_message_is_told(way: str, tmp_path: pathlib.Path) -> None:
    try:
        exe = crashers.program("messages")
    except crashers.CannotBuild as e:
        pytest.skip(str(e))
    found = dead([os.fspath(exe), way], tmp_path)
    words, place = GLIBC[way]
    if not found.words[0].startswith("Its last words"):
        pytest.skip("not glibc")
    assert words in found.words[0]
    assert found.title == f"SIGABRT in {place} (messages)"


def built(compiler: list[str], source: str, directory: pathlib.Path) -> str:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    exe = directory / "exe"
    subprocess.run([*compiler, PROGRAMS / source, "-o", exe], check=True, capture_output=True)
    return os.fspath(exe)


@pytest.mark.parametrize("flags", [["-O0"], ["-O2"], ["-O2", "-static"], ["-O2", "-s"]], ids=" ".join)
def test_an_exception_that_nobody_caught_is_told(flags: list[str], tmp_path: pathlib.Path) -> None:
    exe = built(["g++", "-w", "-pthread", *flags], "throw.cpp", tmp_path)
    assert dead([exe], tmp_path).words[0] == "Uncaught C++ exception std::out_of_range: no milk"


@pytest.mark.parametrize("flags", [["-g"], ["-O"], ["-O", "-Csymbol-mangling-version=v0"]], ids=" ".join)
def test_a_panic_is_told_with_place_and_text(flags: list[str], tmp_path: pathlib.Path) -> None:
    exe = built(["rustc", "-Cpanic=abort", *flags], "panic.rs", tmp_path)
    assert dead([exe], tmp_path).words[0] == f"Rust panic at {PROGRAMS}/panic.rs:18:30: no such thing"
