"""watch: new crashes, and a command with their facts."""

from __future__ import annotations

import json
import os
import pathlib
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cli_system import PROGRAM, System, clean_environment, fields

T = 1_795_400_000


@contextmanager
def watching(system: System, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The tool, when it has begun to follow: it shows a first crash that is there already."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--root", system.root, "watch", "-1", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline()
        yield child
    finally:
        child.terminate()
        child.communicate()


@pytest.fixture
def system(tmp_path: pathlib.Path) -> System:
    made = System(tmp_path / "root")
    made.crash(1, time=T, entry=False)
    return made


def script(tmp_path: pathlib.Path, text: str) -> str:
    path = tmp_path / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return os.fspath(path)


def wait_for(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    return child.stdout.readline()


def until_following(system: System, child: subprocess.Popen[bytes], first: int) -> bytes:
    """The line of one of some crashes made after the start: the first may come before the tool looks."""
    for pid in range(first, first + 20):
        system.crash(pid, time=T + pid, entry=False, comm="new", unit="a.service")
        assert child.stdout is not None
        if select.select([child.stdout], [], [], 1.5)[0]:
            return wait_for(child)
    raise AssertionError("nothing was shown")


def test_a_new_crash_is_one_line(system: System) -> None:
    with watching(system, "-q") as child:
        line = until_following(system, child, 100)
    assert b"new[1" in line
    assert b"SIGSEGV" in line
    assert b"user 0 (root) unit a.service core present" in line


def test_json_is_one_object_in_a_line(system: System) -> None:
    with watching(system, "-q", "--json=pretty") as child:
        row = json.loads(until_following(system, child, 100))
    assert (row["comm"], row["corefile"]) == ("new", "present")


def test_the_command_gets_the_facts_and_no_shell(system: System, tmp_path: pathlib.Path) -> None:
    seen = tmp_path / "seen"
    command = script(
        tmp_path, f'echo "$COREDUMP_COMM $COREDUMP_PID $PYCOREDUMP_STATE $#:$1" >>{seen}; exit 4'
    )
    with watching(system, "-q", "--exec", f"{command} '$(touch {tmp_path}/pwned) a'") as child:
        until_following(system, child, 200)
        assert child.stderr is not None
        assert child.stderr.readline() == f"{command}: exit status 4\n".encode()
    first = seen.read_text().splitlines()[0]
    assert first.startswith("new 2")
    assert first.endswith(f" present 1:$(touch {tmp_path}/pwned) a")
    assert not (tmp_path / "pwned").exists()


def test_a_crash_that_does_not_match_is_not_shown(system: System) -> None:
    with watching(system, "-q", "prog") as child:
        for pid in range(300, 303):
            system.crash(pid, time=T + pid, entry=False, comm="other")
        time.sleep(2.5)
        system.crash(400, time=T + 400, entry=False)
        assert b"prog[400]" in wait_for(child)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--exec", "/no/such/program"), b"there is no such program"), (("--exec", "'"), b"cannot be split")],
)
def test_a_command_that_cannot_be_is_told_at_the_start(
    system: System, arguments: tuple[str, ...], message: bytes
) -> None:
    done = system.run("watch", "-q", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_large_and_binary_facts_stay_out_of_the_environment(system: System, tmp_path: pathlib.Path) -> None:
    from pycoredump.cli import watch
    from pycoredump.cli.incidents import Incidents, Place
    from pycoredump.cli.matches import Matches

    one = fields(5, time=T, environ="X" * 200_000, open_fds="Y" * 3_000_000, proc_auxv=b"\0\1")
    system.archive(one)
    found = Incidents(
        Place(root=os.fspath(system.root), cores=os.fspath(system.cores)),
        Matches(terms=(("COREDUMP_PID", "5"),)),
    )
    (incident,) = found.newest(5)
    values = watch.environment(incident, found)
    assert len(values["COREDUMP_ENVIRON"]) == watch.VALUE_MAX
    assert "COREDUMP_PROC_AUXV" not in values
    assert sum(map(len, values.values())) < 1 << 20
