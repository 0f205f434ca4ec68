"""remove and vacuum: only what is meant, only by whom it is allowed, never by a forged entry."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from cli_system import PROGRAM, System, clean_environment, fields

T = 1_795_400_000


@pytest.fixture
def system(tmp_path: pathlib.Path) -> System:
    made = System(tmp_path / "root")
    for pid, comm in ((1, "a"), (2, "a"), (3, "b")):
        made.crash(pid, time=T + pid, entry=False, comm=comm, exe=f"/usr/bin/{comm}", uid=str(pid))
    return made


def left(system: System) -> list[str]:
    return sorted(name.split("-")[2] for name in os.listdir(system.cores))


def test_one_archive_goes_without_a_question(system: System) -> None:
    done = system.run("remove", "3", "-q")
    assert done.returncode == 0
    assert left(system) == ["1", "2"]


def test_several_go_only_with_consent(system: System) -> None:
    done = system.run("remove", "a", "-q", input=b"y\n")  # not a terminal: nobody to ask
    assert done.returncode == 1
    assert b"Give --yes." in done.stderr
    assert left(system) == ["1", "2", "3"]
    assert system.run("remove", "a", "--dry-run").stdout.count(b"core-a-") == 2
    assert left(system) == ["1", "2", "3"]
    assert system.run("remove", "a", "--yes").returncode == 0
    assert left(system) == ["3"]


def test_nothing_named_removes_nothing(system: System) -> None:
    for arguments in (("remove",), ("remove", "nobody"), ("remove", "-y", "--since=@2000000000")):
        assert system.run(*arguments).returncode == 1
    assert left(system) == ["1", "2", "3"]


def test_a_time_is_a_match(system: System) -> None:
    assert system.run("remove", "-y", f"--until=@{T + 2}").returncode == 0
    assert left(system) == ["3"]


def test_an_archive_is_removed_by_its_path(system: System) -> None:
    (path,) = system.cores.glob("core-b-*")
    assert system.run("remove", os.fspath(path), root=False).returncode == 0
    assert left(system) == ["1", "2"]


def test_a_forged_entry_leads_to_no_archive_of_another(system: System) -> None:
    (victim,) = system.cores.glob("core-b-*")
    system.entry(
        fields(9, time=T, comm="mine", uid="1000", filename=f"/var/core/{victim.name}"), sender="1000"
    )
    system.entry(fields(9, time=T, comm="mine", uid="1000", filename="/etc/passwd"), sender="1000")
    system.commit()
    done = system.run("remove", "mine", "-y")
    assert done.returncode == 1
    assert left(system) == ["1", "2", "3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_users_are_told_that_only_root_may(system: System) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("from", "import pycoredump.cli.removal, pycoredump.cli.remove, "
                                               "pycoredump.cli.vacuum, pycoredump.cli.archives, pycoredump.reader\n"
                                               "import os; os.setresuid(65534, 65534, 65534)\nfrom", 1),
         "remove", "a", "-y", "--root", system.root],
        capture_output=True, check=False, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert b"Only root may remove archives" in done.stderr or b"There is no directory" in done.stderr
    assert left(system) == ["1", "2", "3"]


def test_vacuum_keeps_so_many_of_each_program(system: System) -> None:
    for name in os.listdir(system.cores):
        at = T + int(name.split("-")[2])
        os.utime(system.cores / name, (at, at))
    assert system.run("vacuum", "--keep-per-program", "1", "-y").returncode == 0
    assert left(system) == ["2", "3"]


def test_vacuum_goes_by_age(system: System) -> None:
    (old,) = system.cores.glob("core-a-1-*")
    os.utime(old, (T, T - 10**6))
    assert system.run("vacuum", "--older-than", "1w", "-y", "--dry-run").stdout.count(b"core-a-1-") == 1
    assert system.run("vacuum", "--older-than=1w").returncode == 0
    assert "1" not in left(system)


def test_vacuum_without_options_goes_by_the_configuration(system: System) -> None:
    (system.root / "etc").mkdir()
    (system.root / "etc/pycoredump.conf").write_text(
        "[Coredump]\nKeepPerProgram=1\nMaxAgeSec=infinity\nKeepFree=0\n"
    )
    assert system.run("vacuum", "-y").returncode == 0
    assert len(left(system)) == 2
    assert b"nothing to remove" in system.run("vacuum").stdout


@pytest.mark.parametrize(
    "option", ["--max-use=0", "--keep-free=0", "--older-than=0", "--keep-per-program=0", "--max-use=x"]
)
def test_vacuum_takes_no_limit_that_is_none(system: System, option: str) -> None:
    done = system.run("vacuum", "-y", option)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert left(system) == ["1", "2", "3"]


def test_vacuum_before_the_first_crash_is_no_failure(tmp_path: pathlib.Path) -> None:
    system = System(tmp_path / "root")
    system.cores.rmdir()
    assert system.run("vacuum", "--yes").returncode == 0
