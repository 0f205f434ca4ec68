"""What of a core is kept, from a stream or from memory that elfcore makes, into a directory of the test's own."""

from __future__ import annotations

import os
import pathlib

import elfcore
import pytest

from pycoredump import corefile, keep
from pycoredump.config import Config
from pycoredump.corefile import Layout
from pycoredump.crash import Crash
from pycoredump.heldcore import HeldCore
from pycoredump.kept import Kept
from pycoredump.reader import Archive

PAGE = 4096
KIB = 1 << 10
MIB = 1 << 20
CRASH = Crash(pid=4711, signal=11, timestamp=1, comm="prog")


def config(directory: pathlib.Path, **options: object) -> Config:
    settings: dict[str, object] = {"keep_free": 0, "max_use": 0, "rate_limit_burst": 0} | options
    return Config(directory=os.fspath(directory / "core"), **settings)  # type: ignore[arg-type]  # named by each test


def stream(core: bytes) -> int:
    """A descriptor that gives these bytes and then the end, as the kernel's pipe does."""
    fd = os.memfd_create("stream", os.MFD_CLOEXEC)
    os.pwrite(fd, core, 0)
    return fd


def stored(kept: Kept) -> tuple[Layout, bytes, dict[str, str]]:
    """The core in the archive, and what that tells."""
    archive = Archive(kept.fd)
    core = b"".join(bytes(part) if isinstance(part, int) else part for part in archive.stream())
    return corefile.parse(core), core, archive.fields


def note_of(layout: Layout, core: bytes) -> bytes:
    """What the last PT_NOTE holds, which is ours."""
    rows = [row for row in corefile.segments_of(layout.abi, core[64 : layout.notes_at]) if row[0] == 4]
    assert len(rows) == 2
    return core[rows[1].offset : rows[1].offset + rows[1].filesz]


@pytest.mark.parametrize("compress", [True, False], ids=["frames", "plain"])
@pytest.mark.parametrize("budget", [64 * KIB, 256 * KIB, 512 * KIB])
def test_a_core_that_ends_in_zeros_is_described_to_its_last_byte(
    compress: bool, budget: int, tmp_path: pathlib.Path
) -> None:
    process = elfcore.linux_process(heap=MIB)
    process.segments[-1] = elfcore.Segment(elfcore.STACK + 0x100000, bytes(200 * KIB))
    settings = config(tmp_path, content=(("*", "budget"),), budget=budget, compress=compress)
    kept = keep.store_core(HeldCore(stream(process.core()), None), CRASH, settings, "/prog", {})
    layout, core, _ = stored(kept)
    assert note_of(layout, core)[12:22] == b"pycoredump"
    for segment in layout.segments:
        assert core[segment.offset : segment.offset + segment.filesz] == process.at(
            segment.vaddr, segment.filesz
        )
