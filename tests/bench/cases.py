"""The programs that crash in the comparison, each the same for all handlers."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of crash."""

    name: str
    text: str
    program: str  # of tests/programs
    arguments: tuple[str, ...]
    count: int = 1  # so many at once
    options: tuple[tuple[str, str], ...] = ()  # of our configuration
    optional: bool = False  # only when asked for by name


CASES = (
    Case("4M-mixed", "4 MiB mixed contents, 5 threads", "threads", ("5", "4", "mixed")),
    Case("256M-mixed", "256 MiB mixed contents", "threads", ("5", "256", "mixed")),
    Case("1G-mixed", "1 GiB mixed contents", "threads", ("5", "1024", "mixed")),
    Case("1G-random", "1 GiB random bytes", "threads", ("5", "1024", "random")),
    Case("1G-zero", "1 GiB zeros", "threads", ("5", "1024", "zero")),
    Case("8G-sparse", "8 GiB mapped, 128 pages touched", "sparse", ("8", "128")),
    Case("100-at-once", "100 crashes at once, 4 MiB mixed", "threads", ("5", "4", "mixed"), count=100),
    Case(
        "4G-budget",
        "4 GiB mixed contents, our budget 64 MiB",
        "threads",
        ("5", "4096", "mixed"),
        options=(("Content", "budget"), ("Budget", "64M")),
        optional=True,
    ),
)
