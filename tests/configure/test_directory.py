"""/var/core in file mode."""

from __future__ import annotations

import os
import pathlib

import pytest

from pycoredump.configure import directory
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError


def core(root: pathlib.Path, mode: int = 0o711) -> pathlib.Path:
    place = root / "var/core"
    place.mkdir(parents=True)
    place.chmod(mode)
    return place


@pytest.mark.parametrize(
    ("mode", "state"), [(0o1777, "ok"), (0o777, "wrong"), (0o711, "wrong"), (0o1733, "wrong")]
)
def test_only_a_sticky_directory_that_everyone_may_write_to_is_right(
    tmp_path: pathlib.Path, mode: int, state: str
) -> None:
    core(tmp_path, mode)
    tree = Tree(os.fspath(tmp_path))
    assert directory.inspect(tree).state == state
    assert directory.plan(tree, "file") == (None if state == "ok" else 0o1777)
    assert directory.plan(tree, "pipe") is None


def test_a_missing_one_is_made(tmp_path: pathlib.Path) -> None:
    tree = Tree(os.fspath(tmp_path))
    assert (directory.inspect(tree).found, directory.plan(tree, "file")) == ("missing", 0o1777)


def test_a_link_to_a_larger_disk_is_followed_inside_the_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data/cores").mkdir(parents=True, mode=0o750)
    (tmp_path / "var").mkdir()
    (tmp_path / "var/core").symlink_to("/data/cores")
    assert directory.mode(Tree(os.fspath(tmp_path))) == 0o750


@pytest.mark.root
def test_a_directory_of_someone_else_is_refused(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")

    os.chown(core(tmp_path), 1000, 1000)
    with pytest.raises(ConfigError, match="not a directory of root's own"):
        directory.plan(Tree(os.fspath(tmp_path)), "file")


def test_systemd_tmpfiles_is_told_before_the_shipped_snippet(tmp_path: pathlib.Path) -> None:
    shipped = pathlib.Path(__file__).parents[2] / "systemd"
    names = [path.name.removesuffix(".tmpfiles.conf") for path in shipped.glob("*.tmpfiles.conf")]
    assert names
    assert all(os.path.basename(directory.TMPFILES) < f"{name}.conf" for name in names)
    (tmp_path / "usr/lib/tmpfiles.d").mkdir(parents=True)
    tree = Tree(os.fspath(tmp_path))
    directory.plan(tree, "file")
    assert "\nd /var/core 1777 root root -\n" in (tree.read(directory.TMPFILES) or "")
