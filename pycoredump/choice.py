"""Which plan a core is kept by: all of it where that fits, else by worth.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump import budget, memory, plan
from pycoredump.corefile import PAGE
from pycoredump.errors import ProcessGone
from pycoredump.values import GIB, INFINITY, KIB
from pycoredump.worth import Worth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.config import Config
    from pycoredump.corefile import Layout
    from pycoredump.heldcore import HeldCore

    Range = tuple[int, int]

SPARSE_MAX = 16 * GIB  # address space up to which untouched memory is kept, as the zeros that it is
# Compression decides how much fits, and it is not known yet: from memory, so many times the room is offered, in
# order of worth, until the file is full. The headers of all of that take room, too, so there is an end to it.
OFFERED = 64
HEADERS = 4  # the part of the room that headers may take, at most 1 / HEADERS
HEADER = 56  # bytes
FRAME_MIN = 64 * KIB
STEPS = 16  # frames at least: the last one is lost when the room is used up, and all processors want some


def choose(
    core: HeldCore, config: Config, content: str, *, room: int, exact: bool = False, whole: bool = True
) -> plan.Plan:
    """The plan for a file of `room` bytes. `exact`: it holds the core as it is, zeros included."""
    layout = core.layout
    if layout is None:
        return plan.foreign(bytes(core.head))
    try:
        secret = _secret(core, config)
        if content == "full" and whole and not secret and _fits(core, layout, room, exact=exact):
            return plan.whole(layout, core.pages) if core.memory else plan.stream(layout)
        return _by_worth(core, layout, config, content, secret, room=room, exact=exact)
    except ProcessGone:
        return plan.whole(layout, None)  # it ends before its first byte of memory; the notes are kept


def _secret(core: HeldCore, config: Config) -> list[Range]:
    if config.locked_memory or core.memory is None or core.directory is None:
        return []
    return memory.locked(core.directory)


def _fits(core: HeldCore, layout: Layout, room: int, *, exact: bool) -> bool:
    """Whether the core can be kept as the kernel would write it."""
    if _stored(layout.size) <= min(room, SPARSE_MAX):
        return True
    if core.memory is None or exact:
        return layout.size <= room
    touched = len(layout.head) + budget.touched_size(layout, core.pages, enough=room)
    fits = _stored(touched) + (layout.size >> 15) <= room  # zeros take four bytes for each 128 KiB
    return fits and (layout.size <= SPARSE_MAX or touched > layout.size // 2)


def _stored(size: int) -> int:
    """Bytes that so many bytes of memory may take which do not compress at all."""
    return size + size // 256 + 4 * KIB


def _by_worth(
    core: HeldCore,
    layout: Layout,
    config: Config,
    content: str,
    secret: list[Range],
    *,
    room: int,
    exact: bool,
) -> plan.Plan:
    selection = budget.Selection(layout, core.pages, without=secret, most=ranges(room))
    worth = Worth(layout, core.memory.read if core.memory else _nothing, stack_size=config.stack_size_max)
    # The stream cannot be read in order of worth: there the limit counts memory, as it does where nothing shrinks.
    limit = room if core.memory is None else room * OFFERED
    if exact:
        limit = room - len(layout.head) - budget.RANGES_MIN * HEADER
    selection.fill(worth, min(limit, INFINITY), rest=content != "stacks")
    return budget.shrink(layout, selection, worth, from_stream=core.memory is None)


def ranges(room: int) -> int:
    """How many ranges a file of `room` bytes may have."""
    return max(room // HEADERS // HEADER, budget.RANGES_MIN)


def frame(limit: int, planned: plan.Plan) -> int:
    """Bytes of the core in one frame of a file of at most `limit` bytes."""
    return max(FRAME_MIN, min(plan.FRAME, min(limit, planned.size or limit) // STEPS & -PAGE))


def _nothing(_address: int, _size: int) -> bytes:
    return b""
