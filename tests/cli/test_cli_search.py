"""What the verbs say beside their result: what may be missing, and that more is meant."""

from __future__ import annotations

import os
import pathlib

import pytest
from cli_system import System, fields

from pycoredump.cli import incidents, options, removal, search
from pycoredump.errors import PycoredumpError

T = 1_795_400_000


@pytest.fixture
def system(tmp_path: pathlib.Path) -> System:
    return System(tmp_path / "root")


@pytest.mark.parametrize(
    ("arguments", "running"),
    [
        ((b"/usr/bin/python3", b"-IS", b"/usr/libexec/pycoredump", b"4711"), 1),
        ((b"/usr/libexec/pycoredump", b"4711"), 1),
        ((b"vi", b"a", b"b", b"/usr/libexec/pycoredump"), 0),
        ((b"grep", b"pycoredump"), 0),
    ],
    ids=["by its interpreter", "by itself", "an editor", "a search"],
)
def test_handlers_that_run_are_counted(
    tmp_path: pathlib.Path, arguments: tuple[bytes, ...], running: int
) -> None:
    for name in ("12", "self", "13"):
        (tmp_path / name).mkdir()
    (tmp_path / "12/cmdline").write_bytes(b"\0".join(arguments) + b"\0")  # 13 has just ended
    assert incidents.in_progress(proc=os.fspath(tmp_path)) == running


def test_the_newest_of_several_is_taken_and_that_is_said(system: System) -> None:
    for pid in (1, 2):
        system.archive(fields(pid, time=T + pid))
    done = system.run("dump", "prog", "-o", "/dev/null")
    assert b"PID: 2 " in done.stdout
    assert b"More than one entry matches, taking the newest." in done.stderr
    assert b"More than one" not in system.run("dump", "prog", "-q").stderr
    assert b"More than one" not in system.run("dump", "1").stderr


def test_a_root_that_is_none_is_told() -> None:
    with pytest.raises(PycoredumpError, match="There is no directory /no/such"):
        search.place(options.parse(["list", "--root=/no/such"]))


def test_a_root_has_its_own_configuration(system: System) -> None:
    (system.root / "etc").mkdir()
    (system.root / "etc/pycoredump.conf").write_text("[Coredump]\nDirectory=/srv/core\n")
    place = search.place(options.parse(["list", f"--root={system.root}/"]))
    assert place.cores == f"{system.root}/srv/core"


def test_the_right_to_remove_is_asked_first(tmp_path: pathlib.Path) -> None:
    with pytest.raises(PycoredumpError, match="There is no directory"):
        removal.need_right(os.fspath(tmp_path / "none"))
    removal.need_right(os.fspath(tmp_path))


def test_what_went_away_meanwhile_is_told_and_the_rest_removed(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").write_bytes(b"x")
    command = options.parse(["vacuum", "--yes"])
    assert removal.remove(command, os.fspath(tmp_path), ["a\x1b", "b"]) == 1
    said = capsys.readouterr()
    assert said.err == f"{tmp_path}/a\\x1b: No such file or directory\n"
    assert said.out.startswith("1 of 2 archives (")
    assert not (tmp_path / "b").exists()
