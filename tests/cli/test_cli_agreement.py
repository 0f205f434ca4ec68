"""The same journal through the real coredumpctl and through pycoredumpctl."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from cli_system import System, clean_environment, core, fields

from pycoredump.cli.incident import BACKTRACE_ID

T = 1_795_400_000
COMMON = ("time", "pid", "uid", "gid", "sig", "corefile", "exe", "size")

needs_coredumpctl = pytest.mark.skipif(
    shutil.which("coredumpctl") is None, reason="needs coredumpctl to compare with"
)
pytestmark = needs_coredumpctl


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Every kind of entry, the files under their true paths: coredumpctl -D reads a journal, no root."""
    made = System(tmp_path_factory.mktemp("agreement"))
    inside = os.fspath(made.root)

    def entry(pid: int, *, archive: bool = False, **more: str | bytes) -> None:
        one = fields(pid, time=T + pid, **more)
        if archive:
            one["COREDUMP_FILENAME"] = f"{inside}{made.archive(one)}".encode()
        made.entry(one)

    entry(1, archive=True)
    entry(2, filename=f"{inside}/var/core/gone.zst")
    entry(3)
    entry(4, archive=True, truncated="1")
    entry(5, COREDUMP=core())
    entry(6, filename=f"{inside}/var")
    entry(
        7,
        archive=True,
        signal="6",
        comm="other",
        exe="/opt/other",
        uid="1234",
        gid="4321",
        unit="other.service",
    )
    entry(8, exe="", signal="SIGQUIT", signal_name="")
    entry(
        9, archive=True, signal="35", session="3", owner_uid="0", user_unit="app.service", slice="user.slice"
    )
    entry(10, archive=True, package_name="prog", package_version="1.2", hostname="hörst", cgroup="/system.slice/x",
          package_json='{"prog":{"buildId":"abcd"}}', boot_id="ffff", threads="2", code_name="SEGV_MAPERR")  # fmt: skip
    entry(11, archive=True, MESSAGE="Process 11 dumped core.\n\nStack trace of thread 11:\n#0 main")
    made.entry(fields(12, time=T + 12, signal="ZeroDivisionError", signal_name=""), kind=BACKTRACE_ID)
    made.commit()
    return made


def both(
    system: System, *arguments: str
) -> tuple[subprocess.CompletedProcess[bytes], subprocess.CompletedProcess[bytes]]:
    """Theirs, ours."""
    place = ["-D", os.fspath(system.journal)]
    theirs = subprocess.run(
        ["coredumpctl", *place, *arguments], capture_output=True, check=False, env=clean_environment()
    )
    return theirs, system.run(*place, *arguments, root=False)


def stable(text: bytes) -> list[str]:
    """Lines without what depends on the second of the run."""
    return [re.sub(r" \([^()]* (ago|left)\)$", "", line.rstrip()) for line in text.decode().splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("-1",), ("-n", "3"), ("-n3", "-r"), ("-r",), ("list", "prog"), ("list", "7"), ("list", "/opt/other"),
        ("list", "COREDUMP_UID=1234"), ("list", "1", "2"), ("list", "1", "other"), ("list", "COREDUMP_COMM=prog", "3"),
        ("list", "--since", f"@{T + 5}"), ("list", "--until", f"@{T + 5}"),
        ("list", "-S", f"@{T + 3}", "-U", f"@{T + 8}", "prog"),
    ],
    ids=lambda words: " ".join(words) or "all",
)  # fmt: skip
def test_every_common_column_agrees(system: System, arguments: tuple[str, ...]) -> None:
    theirs, ours = both(system, *arguments, "--json=short")
    if not theirs.stdout.strip():  # before release 253, no match prints nothing
        assert (theirs.returncode, ours.returncode) == (1, 1)
        return
    expected = [{key: row.get(key) for key in COMMON} for row in json.loads(theirs.stdout)]
    assert [{key: row[key] for key in COMMON} for row in json.loads(ours.stdout)] == expected
    assert ours.returncode == theirs.returncode


def test_the_table_is_laid_out_alike(system: System) -> None:
    theirs, ours = both(system, "list", "--no-pager", "--no-legend")
    assert stable(ours.stdout) == stable(theirs.stdout)


@pytest.mark.parametrize("pid", range(1, 13))
def test_info_has_every_line_of_coredumpctl_in_its_order(system: System, pid: int) -> None:
    theirs, ours = both(system, "info", "--no-pager", str(pid))
    lines = iter(stable(ours.stdout))
    missing = [line for line in stable(theirs.stdout) if line not in lines]
    assert not missing


@pytest.mark.parametrize("pid", [1, 4, 5, 7])
def test_dump_writes_the_same_bytes(system: System, pid: int, tmp_path: pathlib.Path) -> None:
    theirs, ours = both(system, "dump", str(pid))
    assert ours.stdout == theirs.stdout
    assert len(ours.stdout) == len(core())
    both(system, "dump", str(pid), "-o", os.fspath(tmp_path / "core"))
    assert (tmp_path / "core").read_bytes() == core()


@pytest.mark.parametrize(
    "field", ["COREDUMP_EXE", "COREDUMP_FILENAME", "COREDUMP_PID", "COREDUMP_UNIT", "NOT_THERE"]
)
def test_field_prints_the_same_values(system: System, field: str) -> None:
    theirs, ours = both(system, "list", "-F", field)
    assert (ours.stdout, ours.returncode) == (theirs.stdout, theirs.returncode)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--unknown",), ("list", "-n", "0"), ("list", "-n", "-1"), ("list", "-n", "x"), ("list", "nobody"),
        ("info", "nobody"), ("dump", "nobody"), ("debug", "nobody"), ("nonsense",), ("dump", "2"), ("dump", "3"),
        ("dump", "6"), ("list", "--json=xml"), ("list", "-F", "A", "-F", "B"), ("dump", "1", "-o", "a", "-o", "b"),
        ("list", "--since=nonsense"), ("list", "--since=@20", "--until=@10"),
        ("list", "--root=/", "--directory=/"), ("debug", "2"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_fails_there_fails_here_in_one_line(system: System, arguments: tuple[str, ...]) -> None:
    theirs, ours = both(system, *arguments)
    assert theirs.returncode != 0
    assert ours.returncode == 1
    assert ours.stderr.count(b"\n") == 1
    assert ours.stderr.startswith(b"pycoredumpctl: ")
