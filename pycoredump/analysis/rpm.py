"""RPM's database of installed files, in its SQLite form (rpm 4.16 and later): headers by an index of base names.

A header is what rpm's header.c writes: number of entries and bytes of data, then for each entry tag, type, offset and
count, all big-endian, then the data.
"""

from __future__ import annotations

import os
import struct
import time

from pycoredump.errors import PycoredumpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASES = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
HEADER_MAX = 64 << 20  # bytes
ENTRIES_MAX = 1 << 16
CANDIDATES_MAX = 64  # packages that have a file of the same base name

# rpm's rpmtag.h
NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
DIRECTORY_INDEXES, BASE_NAMES, DIRECTORY_NAMES = 1116, 1117, 1118
INT32, STRING, STRING_ARRAY, I18N_STRING = 4, 6, 8, 9

Package = dict[str, str]
Header = dict[int, tuple[int, int, int]]  # tag -> type, offset, count


class RpmError(PycoredumpError):
    """The database, or a header in it, is damaged."""


def owners(paths: set[str], root: str, deadline: float) -> dict[str, Package]:
    """Path -> package, for those that an installed package has. OSError if there is no database; RpmError."""
    database = next(
        (path for path in (os.path.join(root, name) for name in DATABASES) if os.path.exists(path)), None
    )
    if database is None:
        raise FileNotFoundError("There is no RPM database")
    import sqlite3  # a library of a megabyte that hosts without rpm never load

    found: dict[str, Package] = {}
    try:
        # Nothing is written, not even a lock: rpm itself may be at work.
        connection = sqlite3.connect(f"file:{_quoted(database)}?mode=ro", uri=True, timeout=0.5)
        try:
            for path in paths:
                if time.monotonic() > deadline:
                    break
                for blob in _candidates(connection, path):
                    package = owner(blob, path)
                    if package is not None:
                        found[path] = package
                        break
        finally:
            connection.close()
    except sqlite3.Error as e:
        raise RpmError(f"{database} cannot be read: {e}") from e
    return found


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _candidates(connection: object, path: str) -> Iterator[bytes]:
    import sqlite3

    assert isinstance(connection, sqlite3.Connection)
    rows = connection.execute(
        "SELECT DISTINCT p.blob FROM Basenames b JOIN Packages p ON p.hnum = b.hnum WHERE b.key = ? LIMIT ?",
        (os.path.basename(path), CANDIDATES_MAX),
    )
    for (blob,) in rows:
        if isinstance(blob, bytes) and len(blob) <= HEADER_MAX:
            yield blob


def owner(blob: bytes, path: str) -> Package | None:
    """The package in a header if it has the file, None if it has not. RpmError."""
    try:
        header, data = _parse(blob)
        directory, _, base = path.rpartition("/")
        if not _has(header, data, f"{directory}/", base):
            return None
        version = f"{_string(header, data, VERSION)}-{_string(header, data, RELEASE)}"
        epoch = _numbers(header, data, EPOCH)
        return {
            "type": "rpm",
            "name": _string(header, data, NAME),
            "version": f"{epoch[0]}:{version}" if epoch and epoch[0] else version,
            "architecture": _string(header, data, ARCH),
        }
    except (struct.error, IndexError, ValueError) as e:
        raise RpmError(f"A package's header is damaged: {e}") from e


def _parse(blob: bytes) -> tuple[Header, bytes]:
    count, size = struct.unpack_from(">II", blob)
    if count > ENTRIES_MAX or 8 + 16 * count + size > len(blob):
        raise ValueError(f"{count} entries, {size} bytes of data")
    entries = struct.iter_unpack(">IIII", blob[8 : 8 + 16 * count])
    start = 8 + 16 * count
    return {tag: (kind, at, number) for tag, kind, at, number in entries}, blob[start : start + size]


def _has(header: Header, data: bytes, directory: str, base: str) -> bool:
    names, directories = _strings(header, data, BASE_NAMES), _strings(header, data, DIRECTORY_NAMES)
    indexes = _numbers(header, data, DIRECTORY_INDEXES)
    return any(
        name == base and index < len(directories) and directories[index] == directory
        for name, index in zip(names, indexes, strict=False)
    )


def _string(header: Header, data: bytes, tag: int) -> str:
    return next(iter(_strings(header, data, tag)), "")


def _strings(header: Header, data: bytes, tag: int) -> list[str]:
    kind, at, count = header.get(tag, (0, 0, 0))
    if kind not in (STRING, STRING_ARRAY, I18N_STRING):
        return []
    parts = data[at:].split(b"\0", count)[:count]
    return [part.decode("utf-8", "replace") for part in parts]


def _numbers(header: Header, data: bytes, tag: int) -> tuple[int, ...]:
    kind, at, count = header.get(tag, (0, 0, 0))
    if kind != INT32:
        return ()
    return struct.unpack_from(f">{min(count, len(data) // 4)}I", data, at)
