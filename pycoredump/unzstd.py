"""Frames of the zstd format (RFC 8878) back to data: by the package zstandard, by Python's own, or by hand.

What the handler writes without any library (zstd.raw()) is read without any, too: after an upgrade of Python the
last crashes still have their facts and their backtraces.

Used after the release and by the tools. Frames travel: every number in them is checked before it is believed.
"""

from __future__ import annotations

import struct

from pycoredump import zstd
from pycoredump.errors import ArchiveError

WINDOW_MAX = 1 << 27  # what any coredumpctl takes
CONTENT_SIZE_FORMATS = ("", "<H", "<I", "<Q")  # by Frame_Content_Size_Flag
DICTIONARY_ID_SIZES = (0, 1, 2, 4)  # by Dictionary_ID_Flag


def content_size(frame: bytes) -> int:
    """What the frame says that it holds; -1 if it does not say, or is none."""
    if len(frame) < 5 or not frame.startswith(zstd.MAGIC):
        return -1
    flags = frame[4]
    single = flags >> 5 & 1
    at = 5 + (not single) + DICTIONARY_ID_SIZES[flags & 3]
    layout = CONTENT_SIZE_FORMATS[flags >> 6] or ("<B" if single else "")
    if not layout or len(frame) < at + struct.calcsize(layout):
        return -1
    size: int = struct.unpack_from(layout, frame, at)[0]
    return size + 256 if layout == "<H" else size


def data(frame: bytes, size: int) -> bytes:
    """What a frame holds, at most `size` bytes. ValueError if it is damaged, ArchiveError if nothing here reads it."""
    found = by_hand(frame, size)
    if found is not None:
        return found
    try:
        library = zstd.library()
    except Exception as e:  # whatever a broken installation raises
        found = _by_pythons_own(frame, size)
        if found is not None:
            return found
        raise missing(e) from None
    try:
        plain = library.ZstdDecompressor(max_window_size=WINDOW_MAX).decompress(frame, max_output_size=size)
    except library.ZstdError as e:
        raise ValueError(str(e)) from None
    return bytes(plain)


def missing(error: Exception) -> ArchiveError:
    return ArchiveError(
        f"python3-zstandard cannot be used ({type(error).__name__}: {error})",
        hint="`zstd -d` decompresses the core.",
    )


def by_hand(frame: bytes, size: int) -> bytes | None:
    """The data of a frame whose blocks are not compressed; None for any other, and for damaged ones."""
    if not frame.startswith(zstd.HEADER):
        return None
    at, last, parts, total = len(zstd.HEADER) + 8, False, [], 0
    while not last:
        head = int.from_bytes(frame[at : at + 3], "little")
        last, kind, length = bool(head & 1), head >> 1 & 3, head >> 3
        taken = 1 if kind == zstd.RLE else length
        at += 3 + taken
        total += length
        if at > len(frame) or kind > zstd.RLE or length > zstd.BLOCK or total > size:
            return None
        part = frame[at - taken : at]
        parts.append(part * length if kind == zstd.RLE else part)
    return b"".join(parts) if at == len(frame) and total == content_size(frame) else None


def _by_pythons_own(frame: bytes, size: int) -> bytes | None:
    """By the standard library, which has zstd since Python 3.14; None if that has not. ValueError."""
    try:
        from compression import zstd as own
    except ImportError:
        return None

    window = {own.DecompressionParameter.window_log_max: WINDOW_MAX.bit_length() - 1}
    decompressor = own.ZstdDecompressor(options=window)
    try:
        plain: bytes = decompressor.decompress(frame, max_length=size + 1)
    except own.ZstdError as e:
        raise ValueError(str(e)) from None
    if not decompressor.eof or len(plain) > size:
        raise ValueError("it is cut short, or holds more than it says")
    return plain
