"""The core that is analysed: the same out of an archive, a plain file, a journal's file, and with its notes at the end."""

from __future__ import annotations

import os
import pathlib
import struct
import sys
from collections.abc import Iterator

import pytest

from pycoredump import corefile, journal, metadata, zstd
from pycoredump.analysis import report, stored
from pycoredump.analysis.model import Facts
from pycoredump.archive import PlainWriter, Writer
from pycoredump.errors import PycoredumpError

sys.path.append(os.fspath(pathlib.Path(__file__).parents[1]))

import elfcore

CORE = elfcore.linux_process(hole=8 << 20).core()
HEAD = 64 + 56 * 13
FACTS = Facts(exe="/usr/bin/prog")


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    found = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield found
    os.close(found)


def store(writer: Writer) -> None:
    writer.head(CORE[:HEAD])
    for at in range(HEAD, len(CORE), 1 << 20):
        part = CORE[at : at + (1 << 20)]
        if any(part):
            writer.append(zstd.raw(part) if writer.compressed else part, len(part))
        else:
            writer.zeros(len(part))
    writer.finish(metadata.frame({"COREDUMP_PID": b"4711"}))


@pytest.mark.parametrize("kind", [Writer, PlainWriter])
def test_an_archive_reads_as_the_core_in_it(fd: int, kind: type[Writer]) -> None:
    store(kind(fd, limit=64 << 20))
    found = stored.source(fd)
    assert stored.layout(found) == corefile.parse(CORE)
    for offset, size in ((0, 100), (HEAD - 3, 9), (len(CORE) // 2, 70_000), (len(CORE) - 5, 5)):
        assert found.read(offset, size) == CORE[offset : offset + size]


def test_the_analysis_of_an_archive_is_that_of_the_core(fd: int, tmp_path: pathlib.Path) -> None:
    store(Writer(fd, limit=64 << 20))
    plain = tmp_path / "core"
    plain.write_bytes(CORE)
    with plain.open("rb") as file:
        assert report.analyse(fd, facts=FACTS) == report.analyse(file.fileno(), facts=FACTS)


def test_a_core_may_begin_further_inside_its_file(fd: int) -> None:
    os.pwrite(fd, b"COREDUMP\n" + struct.pack("<Q", len(CORE)) + CORE, 0)
    found = stored.source(fd, journal.CORE_AT)
    assert stored.layout(found) == corefile.parse(CORE)
    assert report.analyse(fd, facts=FACTS, base=journal.CORE_AT).title == "SIGSEGV in prog+0x1234 (prog)"


def test_notes_behind_the_memory_are_found(fd: int) -> None:
    known = corefile.parse(CORE)
    moved = bytearray(CORE)
    struct.pack_into("<Q", moved, 64 + 8, len(CORE))
    moved[known.notes_at : known.notes_at + len(known.notes)] = bytes(len(known.notes))
    os.pwrite(fd, bytes(moved) + bytes(known.notes), 0)
    found = stored.layout(stored.source(fd))
    assert (found.threads, found.files, found.segments) == (known.threads, known.files, known.segments)


def test_what_is_no_core_is_a_problem_of_the_report(fd: int) -> None:
    os.pwrite(fd, b"nothing", 0)
    assert report.analyse(fd).problems == ("No analysis: archive is neither an archive nor a core",)


def test_an_archive_without_a_table_is_not_read(fd: int) -> None:
    os.pwrite(fd, zstd.raw(CORE[:4096]), 0)
    with pytest.raises(PycoredumpError, match="no seek table"):
        stored.source(fd)


def test_a_damaged_archive_has_a_report_with_what_is_left(fd: int) -> None:
    store(Writer(fd, limit=64 << 20))
    os.pwrite(fd, b"\xff" * 1000, 1 << 20)
    found = report.analyse(fd, facts=FACTS)
    assert found.signature
    assert not any("Traceback" in problem for problem in found.problems)
