"""A smaller core out of a stored one: for the analysis, and to attach to a bug report. The same plan as in the handler.

Used after the release and by the tools.
"""

from __future__ import annotations

import _bisect
import os

from pycoredump import budget, choice, corefile, elfnote, entry, metadata, pipeline, plan
from pycoredump.archive import PlainWriter, Writer
from pycoredump.corefile import Layout
from pycoredump.errors import CoreError
from pycoredump.kept import Kept, fields_of
from pycoredump.reader import Archive
from pycoredump.values import KIB, MIB
from pycoredump.worth import Worth

MINICORE = 16 * MIB  # bytes: enough for the stacks of some hundred threads
STACK_SIZE = 256 * KIB
INFINITE = 1 << 62
NOTE_MAX = 4 * MIB  # bytes read of our note; it has at most a quarter of that
TAIL = 8 * KIB  # bytes of a small archive for its seek table, and for what its metadata says anew
OWN = ("COREDUMP_FILENAME", "COREDUMP_STORED_SIZE")  # these tell of the archive that it is made from


class StoredCore:
    """The memory of the dead process as an archive still has it."""

    sequential = False

    def __init__(self, archive: Archive) -> None:
        """CoreError if the archive holds no core that we understand; ArchiveError if it is damaged."""
        self.archive = archive
        self.failed: list[tuple[int, int]] = []
        at = 0

        def read(size: int) -> bytes:
            nonlocal at
            part = archive.read(at, size)
            at += len(part)
            return part

        self.layout: Layout = corefile.scan(read)
        self.dropped = self._dropped()
        self._segments = sorted((s for s in self.layout.segments if s.filesz), key=lambda s: s.vaddr)
        self._starts = [s.vaddr for s in self._segments]

    def _dropped(self) -> list[tuple[int, int]]:
        """What was left out of it already, by its own note."""
        abi, head = self.layout.abi, self.layout.head
        rows = corefile.segments_of(abi, head[64 if abi.word == 8 else 52 : self.layout.notes_at])
        for row in [row for row in rows if row[0] == corefile.PT_NOTE][1:]:
            for note in elfnote.notes(self.archive.read(row.offset, min(row.filesz, NOTE_MAX)), abi):
                if (note.name, note.type) == (budget.NOTE_NAME, budget.NT_DROPPED):
                    return budget.pairs(note.data, abi)
        return []

    def read(self, address: int, size: int) -> bytes:
        """At most `size` bytes; fewer where the core ends or has a gap."""
        parts = []
        while size > 0:
            at = _bisect.bisect_right(self._starts, address) - 1
            if at < 0:
                break
            segment = self._segments[at]
            inside = address - segment.vaddr
            if inside >= segment.filesz:
                break
            part = self.archive.read(segment.offset + inside, min(size, segment.filesz - inside))
            if not part:
                break
            parts.append(part)
            address, size = address + len(part), size - len(part)
        return b"".join(parts)

    def fill(self, buffer: memoryview, where: int) -> int:
        """As the other sources of the pipeline: bytes that came."""
        part = self.read(where, len(buffer))
        buffer[: len(part)] = part
        return len(part)


def small_core(
    core: StoredCore, fd: int, *, limit: int, rest: bool = True, stack_size: int = STACK_SIZE
) -> int:
    """Write a plain ELF core of about `limit` bytes of memory to a seekable descriptor. Its size in bytes."""
    selection = budget.Selection(core.layout, None)
    worth = Worth(core.layout, core.read, stack_size=stack_size)
    selection.fill(worth, limit, rest=rest)
    writer = PlainWriter(fd, limit=INFINITE)
    _write(core, budget.shrink(core.layout, selection, worth), writer)
    os.ftruncate(fd, writer.core_size)
    return writer.core_size


def small_archive(core: StoredCore, fd: int, *, limit: int, stack_size: int = STACK_SIZE) -> None:
    """Write an archive of at most `limit` bytes, as the handler does with Content=budget, with the same story."""
    selection = budget.Selection(core.layout, None, most=choice.ranges(limit))
    worth = Worth(core.layout, core.read, stack_size=stack_size)
    selection.fill(worth, limit * choice.OFFERED)
    story = {name: entry.text(value) for name, value in core.archive.fields.items() if name not in OWN}
    reserve = len(metadata.frame(story)) + min(limit // 16, TAIL)
    writer = Writer(fd, limit=limit, reserve=min(reserve, limit // 4))
    missing = _write(core, budget.shrink(core.layout, selection, worth), writer)
    kept = Kept(size=writer.core_size, dropped=tuple(missing), truncated=bool(missing), content="budget")
    writer.finish(metadata.frame((story if reserve <= limit // 4 else {}) | fields_of(kept)))


def _write(core: StoredCore, planned: plan.Plan, writer: Writer) -> list[tuple[int, int]]:
    """Write the core; the stretches of memory that are missing in it."""
    limit = writer.limit
    pipeline.store(planned, core, writer, level=1, workers=1, frame=choice.frame(limit, planned))
    writer.settle()
    size = writer.core_size
    head = plan.cut(planned.head, core.layout, size)
    lost = budget.dropped(core.layout, budget.present(head, core.layout), None)
    missing = sorted({*lost, *core.dropped})
    note = budget.note(core.layout, missing, room=limit // 64)
    if writer.add_note(note):
        head = plan.cut(planned.head, core.layout, size, note=(size, len(note)))
    writer.rehead(head)
    return missing


def minicore(archive: Archive, *, limit: int = MINICORE) -> int:
    """A memfd with what the analysis needs: stacks, modules' pages, thread blocks. CoreError, ArchiveError, OSError."""
    fd = os.memfd_create("minicore", os.MFD_CLOEXEC)
    try:
        core = StoredCore(archive)
        if not core.layout.threads:
            raise CoreError("The core names no thread")
        small_core(core, fd, limit=limit, rest=False)
    except BaseException:
        os.close(fd)
        raise
    return fd
