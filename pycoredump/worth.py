"""What of a process's memory is worth most to whoever opens the core, in that order. Pure, but for `read`.

Runs before the release: tests/test_hot_path.py lists what this module may import. The order follows what was
measured: gdb needs stacks and the link map, eu-stack the ELF headers, globals need the modules' writable pages,
interpreters need the small segments. See the design's "The plan".
"""

from __future__ import annotations

import _bisect
import struct
from itertools import chain

from pycoredump import elfnote, linkmap, plan
from pycoredump.corefile import PAGE, PF_W

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pycoredump.corefile import Layout, Segment
    from pycoredump.elfnote import Thread

    Read = Callable[[int, int], bytes]
    Range = tuple[int, int]

RED_ZONE = 128  # bytes below the stack pointer that a leaf function uses (x86-64 psABI)
FIRST_STACK = 64 << 10  # of the crashing thread, before anything else
EACH_STACK = 8 << 10  # of every other thread, next
MORE_STACK = 64 << 10
DEEP_STACK = 16 << 20  # twice the usual RLIMIT_STACK
SIGNAL_STACK = 16 << 10  # how far an alternate signal stack is searched for the interrupted one
TLS_BELOW, TLS_ABOVE = (
    8 << 10,
    4 << 10,
)  # static TLS blocks stand below the thread pointer, struct pthread above
TLS_MODULES = 64
AROUND_REGISTER = 512
LITTLE_DATA = 64 << 10  # most libraries' data, among them what libthread_db reads of libc
SMALL_DATA = 4 << 20  # a module's writable segment above this waits its turn with the heap


class Worth:
    """The ranges of one process, each step of the order on its own."""

    def __init__(self, layout: Layout, read: Read, *, stack_size: int) -> None:
        self.layout = layout
        self.read = read
        self.stack_size = stack_size
        sealed = plan.sealed(layout)
        readable = (s for s in layout.segments if s.filesz and s.vaddr not in sealed)
        self.segments = sorted(readable, key=lambda s: s.vaddr)
        self._starts = [s.vaddr for s in self.segments]

    def tiers(self) -> Iterator[Iterator[Range]]:
        """Groups of (start, end), page-aligned, each inside one segment; later ones may repeat earlier ones.

        Inside a group no range is worth more than another, and they are to be written in order of address:
        elfutils reads a module's pages across segments and expects them one behind the other in the file.
        """
        threads = self.layout.threads
        first, others = threads[:1], threads[1:]
        yield self.stacks(first, min(FIRST_STACK, self.stack_size))
        yield chain(self.elf_headers(), self.link_maps(), self.vdso())
        yield chain(self.interrupted(threads), self.stacks(others, min(EACH_STACK, self.stack_size)))
        yield self.thread_blocks(threads)
        yield self.module_data(LITTLE_DATA)
        yield self.module_data(SMALL_DATA)
        yield chain(self.registers(first), self.stacks(threads, min(MORE_STACK, self.stack_size)))
        yield self.stacks(threads, self.stack_size)
        yield self.deep_stack(first)

    def rest(self) -> list[Segment]:
        """All segments, smallest first, what can be written before what cannot."""
        return sorted(self.segments, key=lambda s: (not s.flags & PF_W, s.filesz))

    def segment_at(self, address: int) -> Segment | None:
        at = _bisect.bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        segment = self.segments[at]
        return segment if address < segment.vaddr + segment.filesz else None

    def pages(self, start: int, end: int) -> Iterator[Range]:
        """The whole pages of [start, end) that the core has, one range for each segment."""
        at = max(0, _bisect.bisect_right(self._starts, start) - 1)
        while at < len(self.segments) and self._starts[at] < end:
            segment = self.segments[at]
            low = max(start & -PAGE, segment.vaddr)
            high = min(end + PAGE - 1 & -PAGE, segment.vaddr + segment.filesz)
            if low < high:
                yield low, high
            at += 1

    def stacks(self, threads: tuple[Thread, ...], size: int) -> Iterator[Range]:
        """From the red zone below each stack pointer up; never into the next segment, which is something else's."""
        for thread in threads:
            yield from self._stack(thread.sp, size)

    def deep_stack(self, threads: tuple[Thread, ...]) -> Iterator[Range]:
        """All of the stack, as after an endless recursion; but not of a heap in which some runtime has its stacks."""
        for thread in threads:
            segment = self.segment_at(thread.sp) or self._above(thread.sp)
            if segment is not None and segment.filesz <= DEEP_STACK:
                yield from self._stack(thread.sp, DEEP_STACK)

    def _stack(self, sp: int, size: int) -> Iterator[Range]:
        segment = self.segment_at(sp) or self._above(sp)
        if segment is not None:
            start = max(sp - RED_ZONE, segment.vaddr)
            yield from self.pages(start, min(start + size, segment.vaddr + segment.filesz))

    def _above(self, sp: int) -> Segment | None:
        # After a stack overflow the pointer stands in the guard below its stack.
        at = _bisect.bisect_right(self._starts, sp)
        near = at < len(self.segments) and self._starts[at] - sp < 1 << 20
        return self.segments[at] if near else None

    def interrupted(self, threads: tuple[Thread, ...]) -> Iterator[Range]:
        """The stack that a signal handler on an alternate stack (sigaltstack(2)) interrupted.

        Its pointer stands in the signal frame, somewhere above the handler's frames: any word there that
        points into the thread's own stack, the segment of its thread pointer or the process's first one.
        """
        main = self.segment_at(self.layout.auxv.get(AT_EXECFN, 0))
        for thread in threads:
            own = self.segment_at(thread.sp)
            homes = [s for s in (self.segment_at(thread.tls), main) if s is not None and s is not own]
            if own is None or not homes:
                continue
            end = min(own.vaddr + own.filesz, thread.sp + SIGNAL_STACK)
            yield from self._pointed(self.read(thread.sp, end - thread.sp), homes)

    def _pointed(self, data: bytes, homes: list[Segment]) -> Iterator[Range]:
        abi = self.layout.abi
        words = struct.unpack_from(f"{abi.order}{len(data) // abi.word}{abi.long}", data)
        done: set[int] = set()
        for word in words:
            home = next((s for s in homes if s.vaddr <= word < s.vaddr + s.filesz), None)
            if home is not None and word & -PAGE not in done and len(done) < 16:
                done.add(word & -PAGE)
                yield from self._stack(word, MORE_STACK if len(done) < 4 else PAGE)

    def elf_headers(self) -> Iterator[Range]:
        """The first page of each mapped ELF file: build ids and program headers."""
        for file in self.layout.files:
            if file.offset == 0:
                yield from self.pages(file.start, file.start + 1)

    def link_maps(self) -> Iterator[Range]:
        for start, size in linkmap.ranges(self.layout, self.read):
            yield from self.pages(start, start + size)

    def vdso(self) -> Iterator[Range]:
        segment = self.segment_at(self.layout.auxv.get(elfnote.AT_SYSINFO_EHDR, 0))
        if segment is not None:
            yield segment.vaddr, segment.vaddr + segment.filesz

    def thread_blocks(self, threads: tuple[Thread, ...]) -> Iterator[Range]:
        """Thread control block, static TLS, dtv and what the dtv points to: thread-locals and libthread_db."""
        abi = self.layout.abi
        dtv_at = abi.word if abi.machine in (elfnote.EM_X86_64, elfnote.EM_386) else 0
        for thread in threads:
            if not thread.tls or self.segment_at(thread.tls) is None:
                continue
            yield from self.pages(thread.tls - TLS_BELOW, thread.tls + TLS_ABOVE)
            pointer = self.read(thread.tls + dtv_at, abi.word)
            if len(pointer) == abi.word:
                yield from self._dtv(abi.unpack(abi.long, pointer, 0)[0])

    def _dtv(self, dtv: int) -> Iterator[Range]:
        # dtv[-1] holds the number of entries, each a pointer and what to free (glibc's dl-dtv.h).
        abi = self.layout.abi
        data = self.read(dtv - 2 * abi.word, (TLS_MODULES + 2) * 2 * abi.word)
        yield from self.pages(dtv - 2 * abi.word, dtv + max(len(data), PAGE // 4))
        if len(data) < 4 * abi.word:
            return
        values = struct.unpack_from(f"{abi.order}{len(data) // abi.word}{abi.long}", data)
        for block in values[4 : 4 + 2 * min(values[0], TLS_MODULES) : 2]:
            if self.segment_at(block) is not None:
                yield from self.pages(block, block + PAGE)

    def module_data(self, largest: int) -> Iterator[Range]:
        """Writable private pages of modules (.data, .got, relro) and the anonymous pages right behind them (.bss)."""
        ends = {file.end for file in self.layout.files}
        starts = {file.start for file in self.layout.files}
        behind = (s for s in self.segments if s.vaddr in ends and s.flags & PF_W)
        found = {s.vaddr: s for s in [*behind, *(s for s in self.segments if s.vaddr in starts)]}
        for segment in sorted(found.values(), key=lambda s: s.filesz):
            if segment.filesz <= largest:
                yield segment.vaddr, segment.vaddr + segment.filesz

    def registers(self, threads: tuple[Thread, ...]) -> Iterator[Range]:
        """What the registers and the fault address point to."""
        abi = self.layout.abi
        values = [self.layout.signal.address] if self.layout.signal else []
        for thread in threads:
            values += struct.unpack(
                f"{abi.order}{len(thread.registers) // abi.word}{abi.long}", thread.registers
            )
        for value in values:
            if self.segment_at(value) is not None:
                yield from self.pages(value - AROUND_REGISTER, value + AROUND_REGISTER)


AT_EXECFN = 31  # linux/auxvec.h: stands at the very top of the first stack
