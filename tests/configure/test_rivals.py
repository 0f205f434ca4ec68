"""Programs that take core_pattern away."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

import pytest

from pycoredump.configure import rivals
from pycoredump.configure.tree import Tree


def host(root: pathlib.Path, unit: str) -> Tree:
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")
    return Tree(os.fspath(root))


@pytest.mark.parametrize(
    ("unit", "name", "command"),
    [
        ("apport.service", "rival apport", "systemctl disable --now apport"),
        ("abrt-ccpp.service", "rival abrt", "systemctl disable --now abrt-ccpp"),
        (
            "systemd-coredumpd.service",
            "rival systemd-coredump",
            "systemctl disable --now systemd-coredumpd.service",
        ),
    ],
)
def test_one_that_starts_after_the_sysctl_files_is_wrong(
    tmp_path: pathlib.Path, unit: str, name: str, command: str
) -> None:
    tree = host(tmp_path, unit)
    found = rivals.inspect(tree, live=False)
    assert [(item.name, item.state, item.hint) for item in found] == [(name, "wrong", command)]
    (tmp_path / "etc/systemd/system" / unit).symlink_to("/dev/null")
    assert [item.state for item in rivals.inspect(tree, live=False)] == ["ok"]


def test_one_that_the_distribution_starts_is_found_too(tmp_path: pathlib.Path) -> None:
    wants = tmp_path / "usr/lib/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    (wants / "systemd-coredumpd.service").touch()
    assert rivals.enabled(Tree(os.fspath(tmp_path)), "systemd-coredumpd.service")


def test_a_running_one_is_found_by_its_name() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            while pathlib.Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
                time.sleep(0.01)  # its parent goes on while it is being started
            assert process.pid in rivals.running("sleep")
            assert process.pid not in rivals.running("slee")
        finally:
            process.kill()


def test_a_chroot_without_proc_has_no_processes(tmp_path: pathlib.Path) -> None:
    assert rivals.running("sleep", proc=os.fspath(tmp_path / "proc")) == []
