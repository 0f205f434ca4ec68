"""Walks over the frames of a .zst file without decompressing them (RFC 8878). Used by the tools."""

from __future__ import annotations

import os
import struct

from pycoredump import zstd


def is_skippable(begin: bytes) -> bool:
    """Whether a frame that begins so is for others than the decompressor."""
    return len(begin) == 4 and struct.unpack("<I", begin)[0] & 0xFFFFFFF0 == 0x184D2A50


def is_whole(fd: int, size: int) -> bool:
    """Whether the last frame ends where the file does: the library says nothing of one that was cut short."""
    at = 0
    while at < size:
        begin = os.pread(fd, 8, at)
        if is_skippable(begin[:4]) and len(begin) == 8:
            at += 8 + struct.unpack_from("<I", begin, 4)[0]
        elif begin[:4] == zstd.MAGIC and len(begin) == 8:
            at = _end(fd, at + 4, begin[4])
        else:
            return False
    return at == size


def _end(fd: int, at: int, descriptor: int) -> int:
    """Where a frame ends whose header, behind the magic number, stands there."""
    single = descriptor >> 5 & 1
    content_size = (single, 2, 4, 8)[descriptor >> 6]
    dictionary = (0, 1, 2, 4)[descriptor & 3]
    at += 1 + (1 - single) + dictionary + content_size
    last = 0
    while not last:
        block = os.pread(fd, 3, at)
        if len(block) < 3:
            return at + 1  # behind the end of the file
        header = int.from_bytes(block, "little")
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == zstd.RLE else length)
    return at + (4 if descriptor & 4 else 0)
