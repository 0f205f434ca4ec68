"""DefaultLimitCORE: which line decides, and what services get without one."""

from __future__ import annotations

import os
import pathlib

import pytest

from pycoredump.configure import systemd_manager
from pycoredump.configure.tree import Tree


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", False),
        ("", True),
        ("infinity", True),
        ("1G", True),
        ("1", False),
        ("0:infinity", False),
        ("4096", True),
    ],
)
def test_services_dump_core_unless_the_manager_says_no(
    tmp_path: pathlib.Path, value: str, expected: bool
) -> None:
    tree = Tree(os.fspath(systemd(tmp_path)))
    tree.write("/etc/systemd/system.conf.d/zz-site.conf", f"[Manager]\nDefaultLimitCORE={value}\n")
    tree.write(
        "/usr/lib/systemd/system.conf", "[Manager]\n#DefaultLimitCORE=\n[Other]\nDefaultLimitCORE=0\n"
    )
    assert systemd_manager.enough(systemd_manager.soft_limit(tree)) is expected
    systemd_manager.plan(tree)
    assert systemd_manager.enough(systemd_manager.soft_limit(tree))


def systemd(root: pathlib.Path) -> pathlib.Path:
    program = root / "usr/lib/systemd/systemd"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    return root


@pytest.mark.parametrize(("release", "state"), [("ID=debian\n", "wrong"), ("ID=fedora\n", "ok")])
def test_without_a_line_only_upstreams_systemd_lets_services_dump_core(
    tmp_path: pathlib.Path, release: str, state: str
) -> None:
    tree = Tree(os.fspath(systemd(tmp_path)))
    tree.write("/etc/os-release", release)
    assert systemd_manager.inspect(tree, requested=True).state == state
    assert systemd_manager.inspect(tree, "0", requested=True).state == "wrong"
    assert systemd_manager.inspect(tree, "infinity", requested=True).state == "ok"


def test_a_host_without_systemd_needs_no_limit_for_services(tmp_path: pathlib.Path) -> None:
    assert systemd_manager.inspect(Tree(os.fspath(tmp_path)), requested=True).state == "absent"


def test_without_a_request_it_is_told_but_does_not_decide(tmp_path: pathlib.Path) -> None:
    tree = Tree(os.fspath(systemd(tmp_path)))
    tree.write("/etc/os-release", "ID=debian\n")
    item = systemd_manager.inspect(tree, requested=False)
    assert (item.state, item.holds()) == ("note", True)
    assert "apply --services" in item.hint


def test_debian_13_says_it_in_a_drop_in_and_not_by_a_patch(tmp_path: pathlib.Path) -> None:
    tree = Tree(os.fspath(systemd(tmp_path)))
    tree.write("/etc/os-release", "ID=debian\n")
    tree.write(systemd_manager.DEBIAN_DROP_IN, "[Manager]\nDefaultLimitCORE=0:infinity\n")
    assert systemd_manager.soft_limit(tree) == "0"
    item = systemd_manager.inspect(tree, requested=True)
    assert (item.file, item.line, item.found) == (
        systemd_manager.DEBIAN_DROP_IN,
        2,
        "DefaultLimitCORE=0:infinity",
    )
    tree.write("/etc/systemd/system.conf.d/10-coredump-debian.conf", "")  # masked by the administrator
    assert systemd_manager.soft_limit(tree) == "infinity"


def test_files_that_are_right_but_not_read_yet_need_a_reload(tmp_path: pathlib.Path) -> None:
    tree = Tree(os.fspath(systemd(tmp_path)))
    tree.write("/etc/systemd/system.conf.d/a.conf", "[Manager]\nDefaultLimitCORE=infinity\n")
    item = systemd_manager.inspect(tree, "0", requested=True)
    assert (item.state, item.effective) == ("wrong", "running: 0")
    assert "systemctl daemon-reload" in item.hint
