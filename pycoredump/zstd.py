"""Frames of the zstd format (RFC 8878): compressed by the library, or made by hand where that is missing or slower.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Compress = Callable[[memoryview], bytes]

MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK = 128 << 10  # Block_Maximum_Size
ZEROS = bytes(BLOCK)
RLE = 1
# Frame_Header_Descriptor: Frame_Content_Size in 8 bytes, no checksum; Window_Descriptor: 128 KiB
HEADER = MAGIC + b"\xc0\x38"
SOURCE_SIZE = 1 << 20  # what frames usually hold: the library chooses its tables by it
# Level 1 looks for matches of 7 bytes. Memory is full of 8-byte words that share a few: with 5, cores of mixed
# contents, CPython and node are 1 to 2 % smaller at the same speed.
MIN_MATCH = 5
SEEKABLE_MAGIC = 0x8F92EAB1
SEEK_TABLE = 0x184D2A5E  # skippable frame of the seekable format
METADATA = 0x184D2A5C  # skippable frame of ours, see pycoredump-archive(5)

# Debian's interpreter looks here; we run without site (python3 -S), which would add it.
PACKAGES = "/usr/lib/python3/dist-packages"


def raw(data: bytes | memoryview) -> bytes:
    """A frame that holds `data` as it is; blocks of zeros take four bytes. Its size depends on no library."""
    parts = [HEADER, struct.pack("<Q", len(data))]
    for at in range(0, len(data), BLOCK):
        block = bytes(data[at : at + BLOCK])
        last = at + BLOCK >= len(data)
        if not any_set(block):
            parts.append(_block_header(len(block), RLE, last=last) + b"\0")
        else:
            parts += [_block_header(len(block), 0, last=last), block]
    if not data:
        parts.append(_block_header(0, 0, last=True))
    return b"".join(parts)


def fixed(data: bytes) -> bytes:
    """As raw(), but without shortcuts: the same number of bytes of data always gives the same size of frame."""
    parts = [HEADER, struct.pack("<Q", len(data))]
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        parts += [_block_header(len(block), 0, last=at + BLOCK >= len(data)), block]
    return b"".join(parts) if data else raw(b"")


def zeros(size: int) -> bytes:
    """A frame of `size` zeros: four bytes for each 128 KiB."""
    full, rest = divmod(size, BLOCK)
    blocks = (_block_header(BLOCK, RLE, last=False) + b"\0") * (full if rest else full - 1)
    last = _block_header(rest or BLOCK, RLE, last=True) + b"\0" if size else _block_header(0, 0, last=True)
    return HEADER + struct.pack("<Q", size) + blocks + last


def skippable(magic: int, data: bytes) -> bytes:
    return struct.pack("<II", magic, len(data)) + data


def seek_table(frames: list[tuple[int, int]]) -> bytes:
    """The table of the seekable format for (compressed, decompressed) bytes of each frame."""
    rows = b"".join(struct.pack("<II", *frame) for frame in frames)
    return skippable(SEEK_TABLE, rows + struct.pack("<IBI", len(frames), 0, SEEKABLE_MAGIC))


def any_set(block: bytes) -> bool:
    """Whether any byte of at most 128 KiB is not zero, at the speed of memcmp (a memoryview compares ten times slower)."""
    return block != (ZEROS if len(block) == BLOCK else bytes(len(block)))


def _block_header(size: int, kind: int, *, last: bool) -> bytes:
    return struct.pack("<I", size << 3 | kind << 1 | last)[:3]


def compressor(level: int) -> tuple[Compress | None, str]:
    """A function that makes one frame with checksum, and "". Without the library: the reason, and Python's own or None.

    Each thread needs a function of its own. Loading the package zstandard costs 12 ms, of which 11 are
    imports we do not need; its C part alone is loaded in less than one.
    """
    try:
        found = library()
        options = {"write_checksum": 1, "write_content_size": 1}
        if level == 1:
            options["min_match"] = MIN_MATCH
        parameters = found.ZstdCompressionParameters.from_level(level, source_size=SOURCE_SIZE, **options)
        context = found.ZstdCompressor(compression_params=parameters)
        context.compress(b"")
    except Exception as e:
        # Whatever a broken installation raises (ImportError, AttributeError, SystemError, ...), the core is kept.
        own = _pythons_own(level)
        instead = "Python's own compression.zstd stands in" if own else "the core is not compressed"
        return own, f"python3-zstandard cannot be used ({type(e).__name__}: {e}): {instead}"
    return context.compress, ""


def _pythons_own(level: int) -> Compress | None:
    """The standard library has it since Python 3.14, at the price of more to load; None where it has not."""
    try:
        from compression import zstd as own

        key = own.CompressionParameter
        options = {key.compression_level: level, key.checksum_flag: 1}
        own.compress(b"", options=options)
    except Exception:
        return None
    return lambda data: bytes(own.compress(data, options=options))


def library() -> Any:  # the C module has no types
    """The C part of the package zstandard. ImportError."""
    for name in ("zstandard", _Spec.name):
        if name in sys.modules:
            if sys.modules[name] is None:
                raise ImportError(f"{name} is blocked")
            return sys.modules[name]

    import _imp

    for directory in [*sys.path, PACKAGES]:
        for suffix in _imp.extension_suffixes():
            spec = _Spec(f"{directory}/zstandard/backend_c{suffix}")
            try:
                module = _imp.create_dynamic(spec)  # type: ignore[arg-type]  # reads name and origin only
            except ImportError:
                continue
            _imp.exec_dynamic(module)
            sys.modules[_Spec.name] = module
            return module
    raise ImportError("no zstandard for this Python")


class _Spec:
    """What _imp.create_dynamic() wants to know of a module (importlib.machinery.ModuleSpec)."""

    name = "zstandard.backend_c"

    def __init__(self, origin: str) -> None:
        self.origin = origin
