"""info analyses what has no analysis: an archive or a core from anywhere, with the files that are here or are named."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from cli_system import System, core, fields

from pycoredump.analysis import sandbox
from pycoredump.errors import PycoredumpError

TESTS = pathlib.Path(__file__).parents[1]
sys.path.append(os.fspath(TESTS))
sys.path.append(os.fspath(TESTS / "analysis"))

import elfcore  # noqa: E402 - it stands beside this directory
from elfbuilder import TEXT, Function, build  # noqa: E402 - the same

BASE = 0x5555_0000_0000
STACK = 0x7FFC_0000_0000
WHEN = 1_795_488_000
FUNCTIONS = [
    Function(name="parse_header", start=TEXT, size=0x40),
    Function(name="serve", start=TEXT + 0x40, size=0x40),
]


@pytest.fixture(autouse=True)
def _sandboxed() -> None:
    try:
        sandbox.probe()
    except PycoredumpError as e:
        pytest.skip(str(e))


def crash(file: bytes) -> bytes:
    """A core of a program that is not in it, dead in its first function."""
    return elfcore.core(
        threads=[elfcore.Thread(tid=4711, signal=11, pc=BASE + TEXT + 4, sp=STACK + 0x100)],
        segments=[elfcore.Segment(BASE, file[:0x1000], 0x4000, 5), elfcore.Segment(STACK, bytes(0x1000))],
        files=[elfcore.File(BASE, BASE + 0x4000, 0, b"/srv/shop")],
        vector={3: BASE + 64, 9: BASE + TEXT},
        signal=elfcore.Siginfo(signal=11, code=1, union=bytes(8)),
    )


def shown(done: subprocess.CompletedProcess[bytes]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)["Fields"]
    return found


def test_a_plain_core_is_analysed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "some.core"
    path.write_bytes(crash(build(FUNCTIONS)))
    told = shown(System(tmp_path / "host").run("info", "--json=short", os.fspath(path)))
    assert told["COREDUMP_TITLE"].startswith("SIGSEGV in shop+0x")
    assert len(told["COREDUMP_SIGNATURE"]) == 16
    assert "Stack trace of thread 4711:" in told["MESSAGE"]


def test_an_archive_without_analysis_is_analysed_and_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    host = System(tmp_path)
    path = host.root / host.archive(fields(4711, time=WHEN))[1:]
    before = path.read_bytes()
    text = host.run("info", os.fspath(path), root=False).stdout.decode()
    assert "Signature: " in text
    assert "Stack trace of thread 4711:" in text
    assert path.read_bytes() == before


def test_an_archive_with_an_analysis_shows_that(tmp_path: pathlib.Path) -> None:
    host = System(tmp_path)
    one = fields(4711, time=WHEN, signature="0123456789abcdef", title="SIGSEGV in f (prog)")
    path = host.root / host.archive(one)[1:]
    told = shown(host.run("info", "--json=short", os.fspath(path), root=False))
    assert told["COREDUMP_SIGNATURE"] == "0123456789abcdef"
    assert "MESSAGE" not in told


def test_an_archive_of_any_zstd_is_analysed(tmp_path: pathlib.Path) -> None:
    import zstandard

    path = tmp_path / "core.zst"
    path.write_bytes(zstandard.compress(core()))
    told = shown(System(tmp_path / "host").run("info", "--json=short", os.fspath(path)))
    assert len(told["COREDUMP_SIGNATURE"]) == 16


def test_programs_come_from_the_sysroot(tmp_path: pathlib.Path) -> None:
    file = build(FUNCTIONS)
    path = tmp_path / "some.core"
    path.write_bytes(crash(file))
    (tmp_path / "tree/srv").mkdir(parents=True)
    (tmp_path / "tree/srv/shop").write_bytes(file)
    done = System(tmp_path / "host").run(
        "info", "--json=short", f"--sysroot={tmp_path}/tree", os.fspath(path), root=False
    )
    assert shown(done)["COREDUMP_TITLE"] == "SIGSEGV in parse_header (shop)"


def test_programs_of_another_build_are_not_used(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "some.core"
    path.write_bytes(crash(build(FUNCTIONS)))
    (tmp_path / "tree/srv").mkdir(parents=True)
    (tmp_path / "tree/srv/shop").write_bytes(build(FUNCTIONS, build_id=b"another one"))
    done = System(tmp_path / "host").run(
        "info", "--json=short", f"--sysroot={tmp_path}/tree", os.fspath(path), root=False
    )
    assert shown(done)["COREDUMP_TITLE"].startswith("SIGSEGV in shop+0x")


def test_names_come_from_a_debug_file(tmp_path: pathlib.Path) -> None:
    stripped, whole = build(FUNCTIONS, symbols=False), build(FUNCTIONS)
    path = tmp_path / "some.core"
    path.write_bytes(crash(stripped))
    (tmp_path / "tree/srv").mkdir(parents=True)
    (tmp_path / "tree/srv/shop").write_bytes(stripped)
    from pycoredump.analysis.elf import Elf
    from pycoredump.analysis.source import BytesSource

    build_id = Elf(BytesSource(stripped)).build_id
    debug = tmp_path / "debug/.build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    debug.write_bytes(whole)
    done = System(tmp_path / "host").run(
        "info",
        "--json=short",
        f"--sysroot={tmp_path}/tree",
        f"--debug-dir={tmp_path}/debug",
        os.fspath(path),
        root=False,
    )
    assert shown(done)["COREDUMP_TITLE"] == "SIGSEGV in parse_header (shop)"


def test_a_damaged_core_is_shown_without_analysis(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "some.core"
    path.write_bytes(core()[:3000])
    done = System(tmp_path / "host").run("info", os.fspath(path), root=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"Storage: " in done.stdout


@pytest.mark.parametrize("option", ["--debug-dir=/no/such", "--sysroot=/no/such"])
def test_a_directory_that_is_not_there_is_named(option: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "some.core"
    path.write_bytes(core())
    done = System(tmp_path / "host").run("info", option, os.fspath(path), root=False)
    assert (done.returncode, done.stderr.decode()) == (1, f"pycoredumpctl: {option} is no directory\n")


def test_debuginfod_is_asked_only_when_told_and_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "some.core"
    path.write_bytes(crash(build(FUNCTIONS)))
    host = System(tmp_path / "host")
    done = host.run("info", "--debuginfod", os.fspath(path), root=False)
    assert done.stderr.startswith(b"pycoredumpctl: --debuginfod needs a server")

    asked = tmp_path / "asked"
    client = tmp_path / "bin/debuginfod-find"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\necho "$@" >>{asked}\nexit 1\n')
    client.chmod(0o755)
    (tmp_path / "tree/srv").mkdir(parents=True)
    (tmp_path / "tree/srv/shop").write_bytes(build(FUNCTIONS))
    search = f"{client.parent}:{os.environ['PATH']}"
    sysroot = f"--sysroot={tmp_path}/tree"
    host.run("info", sysroot, os.fspath(path), root=False, PATH=search, DEBUGINFOD_URLS="http://127.0.0.1:9")
    assert not asked.exists()
    host.run(
        "info",
        "--debuginfod",
        sysroot,
        os.fspath(path),
        root=False,
        PATH=search,
        DEBUGINFOD_URLS="http://127.0.0.1:9",
    )
    assert asked.read_text().startswith("debuginfo ")
