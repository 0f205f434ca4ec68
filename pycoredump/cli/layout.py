"""The layout of the core in an archive, without reading more than its notes."""

from __future__ import annotations

from collections.abc import Callable

from pycoredump import corefile
from pycoredump.corefile import Layout
from pycoredump.reader import Archive


def scan(archive: Archive) -> Layout:
    """CoreError, ArchiveError."""
    return corefile.scan(corefile.reader(_reader(archive)))


def _reader(archive: Archive) -> Callable[[int], bytes]:
    if archive.seekable:
        at = 0

        def read(size: int) -> bytes:
            nonlocal at
            part = archive.read(at, size)
            at += len(part)
            return part

        return read

    parts = archive.stream()
    rest = b""

    def forward(size: int) -> bytes:
        nonlocal rest
        while not rest:
            part = next(parts, b"")
            if part == b"":
                return b""
            rest = bytes(part) if isinstance(part, int) else part
        give, rest = rest[:size], rest[size:]
        return give

    return forward
