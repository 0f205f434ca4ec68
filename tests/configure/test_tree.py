from __future__ import annotations

import os
import pathlib

import distributions
import pytest
from distributions import Quick

from pycoredump.configure import change
from pycoredump.configure.request import Request
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError


def test_no_link_leads_out_of_the_root(tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "secret").write_text("of the image")
    (root / "etc/absolute").symlink_to("/secret")
    (root / "etc/up").symlink_to("../../../../secret")
    (root / "etc/dir").symlink_to("../../..")
    tree = Tree(os.fspath(root))
    for path in ("/etc/absolute", "/etc/up", "/etc/dir/secret", "/../secret", "/etc/../../secret"):
        assert tree.read(path) == "of the image"


def test_a_loop_of_links_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match="too many symbolic links"):
        Tree(os.fspath(tmp_path)).read("/a")


def test_what_is_no_file_is_an_error_and_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for path in ("/fifo", "/directory"):
        with pytest.raises(ConfigError, match="is not a configuration file"):
            Tree(os.fspath(tmp_path)).read(path)


def test_bytes_that_are_no_text_survive(tmp_path: pathlib.Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)))
    text = Tree(os.fspath(tmp_path)).read("/f")
    assert text is not None
    assert text.encode("utf-8", "surrogateescape") == bytes(range(256))


def test_a_plan_is_read_back_and_leaves_the_disk_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/old").write_text("x")
    tree = Tree(os.fspath(tmp_path))
    tree.write("/etc/new", "n")
    tree.write("/etc/old", None)
    assert (tree.read("/etc/new"), tree.read("/etc/old"), tree.names("/etc")) == ("n", None, ["new"])
    assert [(c.path, c.before, c.after) for c in tree.changes()] == [
        ("/etc/new", None, "n"),
        ("/etc/old", "x", None),
    ]
    assert os.listdir(tmp_path / "etc") == ["old"]


def test_a_masked_file_is_empty_and_is_not_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "masked").symlink_to("/dev/null")
    (tmp_path / "twice").symlink_to("masked")
    tree = Tree(os.fspath(tmp_path))
    for path in ("/masked", "/twice"):
        assert (tree.read(path), tree.masked(path)) == ("", True)
        with pytest.raises(ConfigError, match="is a link to /dev/null"):
            tree.write(path, "x")


@pytest.mark.parametrize(
    "link", ["var", "var/lib", "var/core", "etc/security", "etc/pam.d", "etc/sysctl.d", "etc"]
)
def test_an_image_with_absolute_links_is_changed_inside_alone(tmp_path: pathlib.Path, link: str) -> None:
    outside = tmp_path / "srv"
    (outside / "lib").mkdir(parents=True)
    (outside / "lib/x").write_text("of the host")
    root = distributions.lay(tmp_path / "root", distributions.NO_PAM)
    inside = root / os.fspath(outside).lstrip("/")
    inside.parent.mkdir(parents=True)
    (root / link).mkdir(parents=True, exist_ok=True)
    (root / link).rename(inside)
    (root / link).symlink_to(outside)
    before = distributions.snapshot(tmp_path)
    for mode in ("file", "pipe"):
        change.apply(os.fspath(root), Request(mode=mode), None, disk=Quick())
        changed = distributions.snapshot(tmp_path)
        assert all(changed[name] == before[name] for name in before if name.startswith("srv"))
        assert not [name for name in changed.keys() - before.keys() if name.startswith("srv")]
    change.revert(os.fspath(root), None, disk=Quick())
    assert distributions.snapshot(tmp_path) == before


def test_what_is_no_file_in_a_directory_of_snippets_is_nobodys_file(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "d"
    (directory / "old.conf").mkdir(parents=True)
    os.mkfifo(directory / "fifo.conf")
    (directory / "dangling.conf").symlink_to("nowhere")
    (directory / "masked.conf").symlink_to("/dev/null")
    (directory / ".hidden.conf").touch()
    (directory / "b.conf").touch()
    (directory / "a.txt").touch()
    tree = Tree(os.fspath(tmp_path))
    tree.write("/d/planned.conf", "x")
    assert tree.files("/d", ".conf") == ["b.conf", "masked.conf", "planned.conf"]
