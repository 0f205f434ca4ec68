"""What sshd says, and which sshd is told to reload."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from pycoredump.configure import sshd, sshd_program
from pycoredump.configure.tree import Tree


@pytest.mark.parametrize("text", ["port 22\nusepam yes\n", "Port 22\nUsePAM yes\n"], ids=["9.2", "10.6"])
def test_the_keywords_of_sshd_are_known_in_any_case(text: str) -> None:
    assert sshd_program.keywords(text) == {"port": "22", "usepam": "yes"}


def test_an_image_without_sshd_has_no_verdict(tmp_path: pathlib.Path) -> None:
    tree = Tree(os.fspath(tmp_path))
    assert sshd_program.judge(tree, "Port 22\n").good is None
    assert sshd_program.settings(tree) == {}


@pytest.mark.root
@pytest.mark.parametrize(
    ("text", "good", "complaint"),
    [
        ("Port 22\n", True, ""),
        ("Port 22\nPermitRootLogins yes\n", False, "/etc/ssh/sshd_config:2: sshd refuses it: Bad configuration option"),
        ("Port 22\nMatch User x\nUsePAM yes\n", False, "/etc/ssh/sshd_config:3: sshd refuses it: Directive 'UsePAM'"),
        ("Port 70000\n", False, "/etc/ssh/sshd_config:1: sshd refuses it: Badly formatted port"),
        ("UsePAM \udcff\x00\n", False, "/etc/ssh/sshd_config:1: sshd refuses it"),
    ],
)  # fmt: skip
def test_sshd_names_the_line_that_it_refuses(text: str, good: bool, complaint: str) -> None:
    tree = Tree("/")
    if os.geteuid() != 0 or not any(tree.is_executable(path) for path in sshd_program.BINARIES):
        pytest.skip("needs root and sshd")

    tree.write(sshd.MAINS[0], text)
    verdict = sshd_program.judge(tree, text)
    if verdict.complaint.endswith("no hostkeys available -- exiting."):
        pytest.skip("this sshd has no host keys")

    assert verdict.good is good
    assert verdict.complaint.startswith(complaint)


def fake_proc(directory: pathlib.Path, pid: int, exe: str, root: str) -> str:
    (directory / str(pid)).mkdir(parents=True)
    (directory / str(pid) / "exe").symlink_to(exe)
    (directory / str(pid) / "root").symlink_to(root)
    return os.fspath(directory)


@pytest.mark.parametrize(
    ("exe", "root", "told"),
    [
        ("/usr/sbin/sshd", "/", True),
        ("/usr/sbin/sshd (deleted)", "/", True),
        ("/usr/bin/sleep", "/", False),
        ("/usr/sbin/sshd", "/usr", False),
    ],
    ids=["sshd", "an upgraded sshd", "another program with its number", "an sshd of another root"],
)
def test_only_our_own_sshd_is_told_to_reload(
    tmp_path: pathlib.Path, exe: str, root: str, told: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pidfile = tmp_path / "pid"
        pidfile.write_text(f"{process.pid}\n")
        proc = fake_proc(tmp_path / "proc", process.pid, exe, root)
        said = sshd_program.reload({"pidfile": os.fspath(pidfile)}, proc=proc)
        assert (f"process {process.pid}" in said) is told
        if not told:
            process.kill()
    assert process.returncode == (-signal.SIGHUP if told else -signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "none", "-1", "0x1", "9" * 5000, "1 2"])
def test_a_pidfile_without_a_process_reloads_nothing(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    settings = {"pidfile": os.fspath(tmp_path / "pid")}
    assert sshd_program.reload(settings, proc=os.fspath(tmp_path)).startswith("no running sshd")
    assert sshd_program.reload({}).startswith("no running sshd")
