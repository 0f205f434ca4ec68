"""The core while the kernel holds it: its layout, and how its memory can be reached.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import os

from pycoredump import budget, corefile, heldcopy, memory, pagemap, pipeline, plan
from pycoredump.errors import CoreError, ProcessGone
from pycoredump.heldcopy import HeldCopy
from pycoredump.intervals import Intervals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.corefile import Head, Layout
    from pycoredump.memory import Memory
    from pycoredump.pagemap import Pages
    from pycoredump.plan import Plan
    from pycoredump.procfs import ProcessDirectory


PIPE = 64 << 10  # bytes that the kernel writes without a reader: then nothing keeps the process (pipe(7))


class HeldCore:
    """The core while the kernel holds it: its layout, and how its memory can be reached."""

    def __init__(self, stdin: int, directory: ProcessDirectory | None) -> None:
        self.stdin = stdin
        self.directory = directory
        self.layout: Layout | None = None
        self.memory: Memory | None = None
        self.head: Head
        self.pages: Pages | None = None
        try:
            self.layout = corefile.scan(corefile.reader(lambda size: os.read(stdin, size)))
        except corefile.TruncatedCore as e:
            # Another format, or broken off: what came and what comes is stored as it is.
            self.head = e.head
            if not e.head:
                raise CoreError(
                    "The kernel sent nothing: the process was killed before its core was written"
                ) from None
            return
        self.head = self.layout.head
        if directory is not None and self.layout.size > PIPE and self.layout.whole:
            self.memory = memory.open_memory(directory, self.layout)
            self.pages = pagemap.open_pages(directory) if self.memory else None

    @property
    def source(self) -> pipeline.StreamSource | pipeline.MemorySource:
        return (
            pipeline.MemorySource(self.memory)
            if self.memory
            else pipeline.StreamSource(self.stdin, len(self.head))
        )

    def touched(self, *, enough: int) -> int:
        """Bytes of its memory that hold something; counting stops at `enough`. All of them if the process is gone."""
        if self.layout is None:
            return 0
        try:
            return budget.touched_size(self.layout, self.pages, enough=enough)
        except ProcessGone:
            return self.layout.size

    def missing(self, head: bytes) -> list[tuple[int, int]]:
        """(start, end) of what held something and is not in a core with this head."""
        if self.layout is None:
            return []
        kept = budget.present(head, self.layout)
        try:
            return budget.dropped(self.layout, kept, self.pages)
        except ProcessGone:
            return budget.dropped(self.layout, kept, None)  # what was touched, nobody knows any more

    def is_whole(self) -> bool:
        """Whether what was read can be trusted: the process is still there. A dying one loses memory page by page."""
        return self.memory is None or self.memory.is_there()

    @property
    def unread(self) -> int:
        """Bytes of the stream that are not read where the memory is."""
        return self.layout.size - len(self.head) if self.layout and self.memory else 0

    def copy(self, planned: Plan) -> HeldCopy | None:
        """Copy what is planned, if that is little: then the process itself is not needed any more. OSError."""
        if self.memory is None or self.layout is None or isinstance(self.memory, HeldCopy):
            return None
        try:
            copy = heldcopy.make(planned, self.memory)
            if copy is not None:
                self.memory, self.pages, self.directory = copy, self._snapshot(), None
        except ProcessGone:
            return None  # then what comes out of the stream, or has come, is what there is
        return copy

    def _snapshot(self) -> Pages | None:
        if self.pages is None or self.layout is None:
            return None
        spans = [(s.vaddr, s.vaddr + s.filesz) for s in self.layout.segments if s.vaddr < 1 << 63]
        return pagemap.Snapshot(self.pages, spans)

    def unreadable(self) -> tuple[tuple[int, int], ...]:
        """(start, end) of what is zeros in the archive because it could not be read, in order."""
        if self.memory is None or self.layout is None or not self.memory.failed:
            return ()
        own, found = Intervals(), Intervals()
        sealed = plan.sealed(self.layout)
        for segment in self.layout.segments:
            if segment.vaddr in sealed:
                own.add(segment.vaddr, segment.vaddr + segment.memsz)
        for start, size in self.memory.failed:
            for low, high in own.missing(start, start + size):
                found.add(low, high)
        return tuple(found)
