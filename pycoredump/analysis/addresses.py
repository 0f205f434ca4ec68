"""What an address says about the bug behind it: NULL, text, poison, a full stack, the end of a file."""

from __future__ import annotations

from pycoredump.analysis.fault import Fault, Region
from pycoredump.analysis.instruction import JUMP, READ, UPDATE, WRITE, Access
from pycoredump.corefile import PF_W, PF_X

PAGE = 4096
NULL_MAX = 64 << 10  # the first mapping stands above vm.mmap_min_addr; objects are mostly smaller than this
STACK_NEAR = 64 << 10  # from the stack pointer: how far a function's frame, or a probe of it, reaches
GUARD_MAX = 1 << 20  # bytes of a guard below a stack
NEAR = PAGE  # bytes from a mapping that count as an overrun of it
PATTERNS = {
    0xDEADBEEF: "a mark of freed or unset memory",
    0xFEEEFEEE: "a mark of freed memory",
    0xBAADF00D: "a mark of unset memory",
    0x6B6B6B6B: "a mark of freed memory",
    0x5A5A5A5A: "a mark of freed or unset memory",
    0xA5A5A5A5: "a mark of unset memory",
    0xCDCDCDCD: "a mark of unset memory",
    0xDDDDDDDD: "a mark of freed memory",
    0xAAAAAAAA: "a mark of unset memory",
    0xFDFDFDFD: "a mark of memory around a block",
}
KINDS = {READ: "Read", WRITE: "Write", UPDATE: "Write", JUMP: "Read"}
_PRINTABLE = frozenset(range(0x20, 0x7F))


def amount(size: int) -> str:
    return "some bytes" if size == 0 else "1 byte" if size == 1 else f"{size} bytes"


def access_words(used: Access | None) -> str:
    """Write of 4 bytes"""
    if used is None:
        return "Use"
    return f"{KINDS[used.kind]} of {amount(used.size)}"


def through(used: Access | None) -> str:
    """through rax+0x18"""
    return f" through {used.text}" if used is not None and used.terms else ""


def null(address: int, used: Access | None) -> str:
    """The address is that of a field of an object that is not there."""
    empty = [name for name, value, _ in used.terms if value == 0] if used else []
    who = f"{empty[0]} is NULL" if len(empty) == 1 else "a pointer is NULL"
    if address == 0:
        return f"{access_words(used)} at NULL: {who}{_in(used)}."
    return f"{access_words(used)} at NULL + {address:#x}: {who}{_in(used)}; {address:#x} is the place of a field or an element behind it."


def _in(used: Access | None) -> str:
    return f" (address {used.text})" if used is not None and len(used.text) > 3 else ""


def jump(fault: Fault, address: int) -> str:
    """The program counter itself is wrong."""
    if address < NULL_MAX:
        what = "NULL" if address == 0 else f"NULL + {address:#x}"
        return f"Jump to {what}: a function was called through a pointer that is not set."
    region = fault.region(address)
    if region is not None and region.known and not region.flags & PF_X:
        return f"Jump to {address:#x}, which is data ({described(region)}), not code{hint(address)}: a function pointer or a return address was overwritten."
    return f"Jump to {address:#x}, where no code is{hint(address)}: a function pointer or a return address was overwritten, or its library was unloaded."


def forbidden(fault: Fault, address: int, used: Access | None) -> str:
    """The mapping is there, but not for this."""
    region = fault.region(address)
    where = f" ({described(region)})" if region else ""
    writes = used is not None and used.kind in (WRITE, UPDATE)
    if writes and (region is None or not region.known or not region.flags & PF_W):
        closed = region is not None and region.known and region.flags == 0
        kind = "memory that nobody may use" if closed else "read-only memory"
        return f"{access_words(used)} to {kind} at {address:#x}{where}{through(used)}."
    if region is not None and region.known and region.flags == 0:
        return f"{access_words(used)} at {address:#x}, memory that nobody may use{where}{through(used)}: a guard page, or memory that was given back."
    return f"{access_words(used)} at {address:#x}, which its mapping does not allow{where}{through(used)}."


def unmapped(fault: Fault, address: int, used: Access | None) -> str:
    text = f"{access_words(used)} at {address:#x}, where nothing is mapped{hint(address)}{through(used)}"
    below, above = fault.neighbours(address)
    if below is not None and address - below.end < NEAR:
        return f"{text}: {address - below.end:#x} bytes behind the end of {described(below)}."
    if above is not None and above.start - address <= NEAR:
        return f"{text}: {above.start - address:#x} bytes before the begin of {described(above)}."
    return f"{text}."


def noncanonical(used: Access) -> str:
    return f"{access_words(used)} at {used.address:#x}, which is not an address at all (not canonical){_term_hint(used)}{through(used)}: the pointer was overwritten or never set."


def _term_hint(used: Access) -> str:
    for _, value, _ in used.terms:
        if hint(value):
            return hint(value)
    return hint(used.address)


def stack_overflow(fault: Fault, address: int) -> str:
    """A sentence if the stack was full, else ""."""
    sp = fault.sp
    near = sp - STACK_NEAR <= address < sp + STACK_NEAR
    if not near or not sp:
        return ""
    at = fault.region(address)
    if at is not None and at.known and at.flags & PF_W:
        return ""
    stack = _stack_above(fault, max(address, at.end if at else 0))
    if stack is None:
        return ""
    size = _size(stack.end - stack.start)
    return f"Stack overflow: the stack of {size} is full. Endless recursion, or variables too large for the stack (limit: ulimit -s, or the thread's own size)."


def _stack_above(fault: Fault, address: int) -> Region | None:
    _, above = fault.neighbours(address)
    region = fault.region(address) or above
    if region is None or not region.flags & PF_W or not region.known:
        return None
    return region if region.start - address <= GUARD_MAX and not region.name.startswith("/") else None


def beyond_file(fault: Fault, address: int) -> str:
    """The page is mapped from a file that has no such page."""
    region = fault.region(address)
    if region is None or not region.name.startswith("/"):
        where = f" ({described(region)})" if region else ""
        return f"Use of {address:#x}{where}, memory that could not be had: a huge page or shared memory without room."
    offset = region.offset + address - region.start
    size = fault.sizes.get(region.name)
    known = f", which has only {size} bytes" if size is not None and size <= offset else ""
    full = "" if known else ", or its disk was full, or could not be read"
    return f"Use of offset {offset} of the mapped file {region.name}{known}: the file was cut short while it was mapped{full}."


def is_canonical(address: int) -> bool:
    """User space ends at 47 bits; 5-level paging has 56, but gives more only to who asks (x86/x86_64/5level-paging)."""
    return address < 1 << 47 or address >= (1 << 64) - (1 << 47)


def described(region: Region) -> str:
    if not region.name:
        return "anonymous memory"
    return {"[heap]": "the heap", "[stack]": "the stack"}.get(region.name, region.name)


def hint(address: int) -> str:
    """What the number looks like, if not like a pointer: text, a mark of freed memory."""
    data = address.to_bytes(8, "little").rstrip(b"\0")
    if len(data) >= 5 and _PRINTABLE.issuperset(data):
        return f' (its bytes are the text "{data.decode("ascii")}")'
    low, high = address & 0xFFFFFFFF, address >> 32
    for half in (low, high):
        for pattern, meaning in PATTERNS.items():
            if half & 0xFFFFF000 == pattern & 0xFFFFF000 and (half == low or low >> 16 == pattern >> 16):
                return f" (it looks like {pattern:#x}, {meaning})"
    return ""


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
