"""What the person who runs pycoredump-configure asked for."""

from __future__ import annotations

from pycoredump.record import Record

UNLIMITED = 2**64 - 1  # RLIM_INFINITY (bits/resource.h)
CORE_LIMIT = 1048576 * 1024  # bytes; the seed document's "root soft core 1048576" (KB)


class Request(Record):
    """The options of the command line."""

    mode: str = "pipe"  # or "file": the kernel writes the file itself
    domains: tuple[str, ...] = ("root",)  # as in limits.conf(5): a user, @group or *
    core_limit: int = CORE_LIMIT  # bytes or UNLIMITED
    services: bool = False  # also set systemd's DefaultLimitCORE


def kilobytes(limit: int) -> str:
    """A limit as limits.conf(5) spells it: in KB."""
    return "unlimited" if limit >= UNLIMITED else str(limit // 1024)
