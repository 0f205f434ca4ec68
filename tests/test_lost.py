from __future__ import annotations

import os
import pathlib

import elfcore
import pytest

from pycoredump import keep, lost
from pycoredump.config import Config
from pycoredump.crash import Crash
from pycoredump.errors import ArchiveError
from pycoredump.heldcore import HeldCore
from pycoredump.way import Way

CRASH = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog", uid=0)


@pytest.fixture
def way(tmp_path: pathlib.Path) -> Way:
    found = Way(CRASH)
    found.config = Config(directory=os.fspath(tmp_path / "core"), keep_free=0, max_use=0, rate_limit_burst=0)
    return found


def store(way: Way) -> str:
    """What the handler had stored before it was killed."""
    core = os.memfd_create("stream")
    os.write(core, elfcore.linux_process().core())
    os.lseek(core, 0, os.SEEK_SET)
    facts = {"COREDUMP_EXE": b"/usr/bin/prog", "COREDUMP_PROBLEMS": b"one", "MESSAGE": b"why"}
    return keep.store_core(HeldCore(core, None), CRASH, way.config, "/usr/bin/prog", facts).file


def test_what_was_stored_is_named_with_what_it_tells(way: Way) -> None:
    file = store(way)
    lost.recover(way)
    entry = way.entry()
    assert entry["COREDUMP_FILENAME"].decode() == file
    assert entry["COREDUMP_EXE"] == b"/usr/bin/prog"
    assert entry["MESSAGE"] == b"Process 4711 (prog) of user 0 dumped core.\n\nwhy"
    assert int(entry["COREDUMP_STORED_SIZE"]) == os.stat(file).st_size


def test_where_nothing_was_stored_there_is_nothing_to_recover(way: Way) -> None:
    with pytest.raises(FileNotFoundError):
        lost.recover(way)


def test_a_file_that_is_no_archive_is_not_named(way: Way, tmp_path: pathlib.Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core/core-prog-4711-11-1700000000.zst").write_bytes(b"something else")
    with pytest.raises(ArchiveError):
        lost.recover(way)
    assert not way.kept.file


def test_a_link_in_its_place_is_not_followed(way: Way, tmp_path: pathlib.Path) -> None:
    file = store(way)
    os.rename(file, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", file)
    with pytest.raises(OSError, match="Too many levels"):
        lost.recover(way)
