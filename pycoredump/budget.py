"""A smaller core: the ranges worth most under a limit, as an ELF core of its own in which nothing lies.

Runs before the release: tests/test_hot_path.py lists what this module may import. What is kept is a PT_LOAD
with p_filesz == p_memsz; what is not is in none, so that a debugger says "Cannot access memory" instead of 0.
"""

from __future__ import annotations

import struct

from pycoredump import corefile, elfnote, pagemap, plan
from pycoredump.corefile import PAGE, PT_LOAD, PT_NOTE
from pycoredump.intervals import Intervals
from pycoredump.values import INFINITY
from pycoredump.worth import Worth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pycoredump.corefile import Layout, Segment
    from pycoredump.pagemap import Pages
    from pycoredump.plan import Plan, Run

    Range = tuple[int, int]

RANGES_MAX = 65000  # with the two notes still below PN_XNUM
RANGES_MIN = 64  # less than a program of one thread needs for its backtrace
GAP = 1 << 20  # untouched memory below this between two touched stretches stays with them, as zeros
NT_DROPPED = 0x50594344  # our note; no type that readers know, as some go by the type alone: pairs (start, end) of what was left out
NOTE_NAME = b"pycoredump"
DROPPED_MIN, DROPPED_MAX = 64, 65536  # pairs in the note


class Selection:
    """What of a core is kept, in order of worth."""

    def __init__(
        self, layout: Layout, pages: Pages | None, *, without: Iterable[Range] = (), most: int = RANGES_MAX
    ) -> None:
        """`without`: ranges that are not to be kept; `most`: how many are."""
        self.layout = layout
        self.pages = pages
        self.ranges: list[Range] = []
        self.size = 0
        self._most = min(most, RANGES_MAX)
        self._kept = Intervals()
        for start, end in without:
            self._kept.add(start, end)

    def fill(self, worth: Worth, limit: int, *, rest: bool = True) -> None:
        """Take ranges until `limit` bytes; without `rest`, only what backtraces and globals need."""
        for tier in worth.tiers():
            if not self._take(self._merged(tier, worth), limit):
                return
        for segment in worth.rest() if rest else ():
            if not self._take(self.touched(segment), limit):
                return

    def _merged(self, tier: Iterator[Range], worth: Worth) -> list[Range]:
        """What a tier adds, in order of address, neighbours in one segment joined."""
        new = Intervals()
        for start, end in tier:
            for low, high in self._kept.missing(start, end):
                new.add(low, high)
        return [piece for low, high in new for piece in worth.pages(low, high)]

    def _take(self, ranges: Iterable[Range], limit: int) -> bool:
        for start, end in ranges:
            for low, high in self._kept.missing(start, end):
                room = (limit - self.size) & -PAGE
                if room <= 0 or len(self.ranges) >= self._most:
                    return False
                high = min(high, low + room)
                self._kept.add(low, high)
                self.ranges.append((low, high))
                self.size += high - low
        return True

    def touched(self, segment: Segment) -> Iterator[Range]:
        """The stretches of a segment that hold something."""
        pages = plan.known(self.layout, segment, self.pages)
        last: Range | None = None
        for start, size, zero in pagemap.runs(segment, pages):
            if zero:
                continue
            if last is not None and start - last[1] < GAP:
                last = (last[0], start + size)
                continue
            if last is not None:
                yield last
            last = (start, start + size)
        if last is not None:
            yield last


def touched_size(layout: Layout, pages: Pages | None, *, enough: int) -> int:
    """Bytes of memory that would have to be read for everything; counting stops at `enough`."""
    total = 0
    for segment in layout.segments:
        touched = pagemap.runs(segment, plan.known(layout, segment, pages))
        total += sum(size for _, size, zero in touched if not zero)
        if total > enough:
            break
    return total


def shrink(layout: Layout, selection: Selection, worth: Worth, *, from_stream: bool = False) -> Plan:
    """The plan for a selection. From the stream the ranges come in its order, else in order of worth."""
    ranges = selection.ranges
    if from_stream:
        ranges = sorted(ranges, key=lambda r: _offset(worth, r[0]))
    head, start = _head(layout, ranges)
    notes = layout.notes
    padding = start - len(head) - len(notes)

    def runs() -> Iterator[Run]:
        yield plan.literal(notes)
        yield plan.literal(bytes(padding))
        for low, high in ranges:
            yield plan.data(_offset(worth, low) if from_stream else low, high - low)

    size = start + sum(high - low for low, high in ranges)
    return plan.Plan(head=head, runs=runs, size=size, shrunk=True)


def _head(layout: Layout, ranges: list[Range]) -> tuple[bytes, int]:
    """ELF header and program headers for the ranges, and where the first one stands in the core."""
    abi = layout.abi
    entry, ehdr = (56, 64) if abi.word == 8 else (32, 52)
    # What the kernel itself left out (mapped files) gets no header either: debuggers know it by NT_FILE, and
    # elfutils takes a header without contents behind one with contents for the end of the module.
    count = len(ranges) + 2
    notes_at = ehdr + count * entry
    first = -(-(notes_at + len(layout.notes)) // PAGE) * PAGE
    flags = _flags(layout, ranges)
    rows = []
    at = first
    for low, high in ranges:
        rows.append((low, _header(abi, PT_LOAD, flags[low], at, low, high - low, high - low)))
        at += high - low
    headers = [
        _header(abi, PT_NOTE, 0, notes_at, 0, len(layout.notes), 0, align=4),
        *(row for _, row in sorted(rows)),
        bytes(entry),  # for the note that says what was dropped, see plan.cut()
    ]
    return _elf_header(layout, count) + b"".join(headers), first


def _elf_header(layout: Layout, count: int) -> bytes:
    # e_shoff, e_shnum and e_shentsize are set only with PN_XNUM, which we stay below.
    abi = layout.abi
    head = bytearray(layout.head[: 64 if abi.word == 8 else 52])
    shoff, tail = (40, 56) if abi.word == 8 else (32, 44)
    struct.pack_into(abi.order + abi.long, head, shoff, 0)
    struct.pack_into(f"{abi.order}4H", head, tail, count, 0, 0, 0)
    return bytes(head)


def _header(
    abi: elfnote.Abi,
    kind: int,
    flags: int,
    offset: int,
    vaddr: int,
    filesz: int,
    memsz: int,
    *,
    align: int = PAGE,
) -> bytes:
    if abi.word == 8:
        return struct.pack(f"{abi.order}IIQQQQQQ", kind, flags, offset, vaddr, 0, filesz, memsz, align)
    return struct.pack(f"{abi.order}8I", kind, offset, vaddr, 0, filesz, memsz, flags, align)


def _flags(layout: Layout, ranges: list[Range]) -> dict[int, int]:
    segments = sorted((s for s in layout.segments if s.filesz), key=lambda s: s.vaddr)
    flags, at = {}, 0
    for low, _ in sorted(ranges):
        while at < len(segments) and segments[at].vaddr + segments[at].filesz <= low:
            at += 1
        flags[low] = segments[at].flags if at < len(segments) else corefile.PF_R
    return flags


def _offset(worth: Worth, address: int) -> int:
    segment = worth.segment_at(address)
    if segment is None:
        raise ValueError(f"{address:#x} is in no segment")
    return segment.offset + address - segment.vaddr


def present(head: bytes, layout: Layout) -> Intervals:
    """The memory that a core with this head (see plan.cut) holds."""
    abi = layout.abi
    kept = Intervals()
    rows = corefile.segments_of(abi, head[64 if abi.word == 8 else 52 :])
    for row in rows:
        if row[0] == PT_LOAD and row.filesz:
            kept.add(row.vaddr, row.vaddr + row.filesz)
    return kept


def dropped(layout: Layout, kept: Intervals, pages: Pages | None) -> list[Range]:
    """What held something and is not kept: (start, end), in order of address."""
    selection = Selection(layout, pages)
    found: list[Range] = []
    sealed = plan.sealed(layout)
    for segment in sorted(layout.segments, key=lambda s: s.vaddr):
        if segment.vaddr in sealed:
            continue
        for low, high in kept.missing(segment.vaddr, segment.vaddr + segment.filesz):
            part = corefile.Segment((PT_LOAD, segment.flags, 0, low, 0, high - low, high - low, 0))
            found += selection.touched(part)
    return found


def note(layout: Layout, ranges: list[Range], *, room: int = INFINITY) -> bytes:
    """Our note of the core: pairs of addresses, as two words each; the largest, if all of them need more than `room`."""
    abi = layout.abi
    named = largest(ranges, min(DROPPED_MAX, max(DROPPED_MIN, room // (2 * abi.word))))
    words = [word for pair in named for word in pair]
    data = struct.pack(f"{abi.order}{len(words)}{abi.long}", *words)
    return elfnote.pack(elfnote.Note(name=NOTE_NAME, type=NT_DROPPED, data=data), abi)


def pairs(data: bytes, abi: elfnote.Abi) -> list[Range]:
    """What a note of ours names."""
    whole = len(data) // (2 * abi.word) * 2 * abi.word
    return list(struct.iter_unpack(f"{abi.order}2{abi.long}", data[:whole]))


def largest(ranges: Sequence[Range], count: int) -> Sequence[Range]:
    """The `count` largest, in order of address."""
    if len(ranges) <= count:
        return ranges
    return sorted(sorted(ranges, key=lambda pair: pair[0] - pair[1])[:count])
