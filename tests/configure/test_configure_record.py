"""The record of what was changed: what is not ours or not understood is refused, never obeyed."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from pycoredump.configure import record
from pycoredump.configure.record import Changed
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError


def changed(**values: object) -> Changed:
    result = Changed()
    for name, value in values.items():
        setattr(result, name, value)
    return result


def stored(root: pathlib.Path, text: str) -> Tree:
    path = root / record.PATH.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Tree(os.fspath(root))


FULL = changed(
    files={"/etc/a": "", "/etc/b\udcff": "whole\n"},
    made=["/var/lib/pycoredump"],
    modes={"/var/core": None},
    sysctl={"kernel.core_pattern": ("core", "|/x %P")},
)


def test_it_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    assert record.load(stored(tmp_path, FULL.dump())) == FULL
    assert not record.load(Tree(os.fspath(tmp_path / "none")))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100000, '{"version": 2}', '{"version": 1}',
     json.dumps({"version": 1, "files": [], "made": [], "modes": {}, "sysctl": {}}),
     json.dumps({"version": 1, "files": {}, "made": [], "modes": {"/var/core": "x"}, "sysctl": {}}),
     json.dumps({"version": 1, "files": {}, "made": [], "modes": {}, "sysctl": {"k": ["one"]}})],
)  # fmt: skip
def test_what_is_no_record_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is not our record"):
        record.load(stored(tmp_path, text))


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_record_that_others_can_write_is_refused(tmp_path: pathlib.Path, mode: int) -> None:
    tree = stored(tmp_path, FULL.dump())
    (tmp_path / record.PATH.lstrip("/")).chmod(mode)
    with pytest.raises(ConfigError, match="can be written by others"):
        record.load(tree)


@pytest.mark.root
def test_a_record_of_another_user_is_refused(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give the file away")

    tree = stored(tmp_path, FULL.dump())
    os.chown(tmp_path / record.PATH.lstrip("/"), 1000, 1000)
    with pytest.raises(ConfigError, match="can be written by others"):
        record.load(tree)


def test_what_was_known_of_the_time_before_wins_when_two_are_merged() -> None:
    later = changed(
        files={"/etc/a": "", "/etc/c": "new\n"},
        made=["/var/core"],
        modes={"/var/core": 0o711},
        sysctl={"kernel.core_pattern": ("|/x %P", "/var/core/core"), "fs.suid_dumpable": ("0", "2")},
    )
    merged = FULL.merged(later)
    assert merged.made == ["/var/lib/pycoredump", "/var/core"]
    assert merged.modes == {"/var/core": None}
    assert merged.sysctl == {
        "kernel.core_pattern": ("core", "/var/core/core"),
        "fs.suid_dumpable": ("0", "2"),
    }
    assert merged.files == {"/etc/a": "", "/etc/b\udcff": "whole\n", "/etc/c": "new\n"}
