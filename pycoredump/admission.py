"""What of a core may be stored: limits, free space, rate, access. Arithmetic only.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump.record import Record
from pycoredump.values import AUTOMATIC, GIB, INFINITY, MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycoredump.config import Config
    from pycoredump.crash import Crash

PAGE = 4096  # ELF_EXEC_PAGESIZE: binfmt_elf's min_coredump, below which the kernel itself writes nothing

# linux/auxvec.h
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_SECURE = 11, 12, 13, 14, 23

# login.defs(5) SYS_UID_MAX; systemd's UIDS-GIDS.md: nobody, dynamic users, what is not a person's
SYSTEM_UID_MAX = 999
NOBODY = 65534
DYNAMIC = range(61184, 65520)
OVERFLOW = 2**16


class Admission(Record):
    """How much of the core may be kept, and where."""

    external: bool  # a file in the directory
    journal: bool  # in the entry itself
    memory_max: int  # bytes of memory kept, before compression
    file_max: int  # bytes of the archive
    floor: int = 0  # bytes of the file system that stay free while it is written
    reason: str = ""  # why nothing is kept, one sentence; "" if something is


def max_use(config: Config, total: int) -> int:
    """MaxUse= in bytes on a file system of `total` bytes; 0 for no limit."""
    if config.max_use == INFINITY:
        return 0
    return config.max_use if config.max_use != AUTOMATIC else min(max(total // 10, MIB), 4 * GIB)


def keep_free(config: Config, total: int) -> int:
    """KeepFree= in bytes on a file system of `total` bytes; 0 for no limit."""
    return config.keep_free if config.keep_free != AUTOMATIC else min(total * 15 // 100, 4 * GIB)


def admit(crash: Crash, config: Config, *, free: int, total: int) -> Admission:
    """What may be kept of this crash, with `free` of `total` bytes of the file system unused.

    RLIMIT_CORE is the size of the core file that a process may leave (setrlimit(2)): of the archive where there is
    one, of the memory elsewhere. Below one page nothing is kept, as the kernel itself has it.
    """
    limit = crash.rlimit if crash.rlimit is not None else INFINITY
    floor = keep_free(config, total)
    if limit < PAGE:
        return _nothing(f"RLIMIT_CORE of the process is {limit} bytes")
    if config.storage == "none":
        if config.process_size_max < PAGE:
            return _nothing("Storage=none, and ProcessSizeMax= allows no backtrace")
        most = min(limit, config.process_size_max)
        return Admission(external=False, journal=False, memory_max=most, file_max=0, floor=floor)
    if config.storage == "journal":
        most = min(limit, config.journal_size_max)
        if most < PAGE:
            return _nothing(f"JournalSizeMax= is {most} bytes")
        return Admission(external=False, journal=True, memory_max=most, file_max=0, floor=floor)

    room = max(free - floor, 0)
    quota = max_use(config, total) or INFINITY
    file_max = min(config.external_size_max, room, quota)
    if config.external_size_max < PAGE:
        return _nothing(f"ExternalSizeMax= is {config.external_size_max} bytes")
    if quota < PAGE:
        return _nothing(f"MaxUse= is {quota} bytes")
    if file_max < PAGE:
        return _nothing(f"The file system has {free} bytes free, and KeepFree= asks for {floor}")
    return Admission(external=True, journal=False, memory_max=limit, file_max=file_max, floor=floor)


def _nothing(reason: str) -> Admission:
    return Admission(external=False, journal=False, memory_max=0, file_max=0, reason=reason)


def is_regular_user(uid: int | None) -> bool:
    """Whether the uid is a person's: their journal and their cores may be shown to them."""
    return uid is not None and SYSTEM_UID_MAX < uid != NOBODY and uid not in DYNAMIC and uid != OVERFLOW - 1


def may_read(crash: Crash, auxv: Mapping[int, int]) -> bool:
    """Whether the crashed user may read the core (CVE-2022-4415, CVE-2025-4598). What is not known counts against.

    `auxv` is that of the core's own NT_AUXV, never of /proc: that may be of another process by now.
    """
    if crash.dumpable != 1 or not is_regular_user(crash.uid):
        return False

    values = [auxv.get(key) for key in (AT_SECURE, AT_UID, AT_EUID, AT_GID, AT_EGID)]
    if None in values:
        return False
    secure, uid, euid, gid, egid = values
    return secure == 0 and uid == euid and gid == egid


def within_rate(stamps: list[int], now: int, config: Config) -> bool:
    """Whether a program whose cores were kept at `stamps` (seconds) may have another one kept whole."""
    if not config.rate_limit_burst or not config.rate_limit_interval:
        return True

    # A clock set back must not keep old stamps alive: those of the future do not count.
    recent = [stamp for stamp in stamps if now - config.rate_limit_interval < stamp <= now]
    return len(recent) < config.rate_limit_burst


def content_for(config: Config, exe: str) -> str:
    """`full`, `budget` or `stacks` for an executable: the first pattern of Content= that matches it."""
    base = exe.rpartition("/")[2]
    for glob, kind in config.content:
        if matches(glob, exe) or matches(glob, base):
            return kind
    return "full"


def matches(glob: str, text: str) -> bool:
    """`*` and `?` as in glob(7), nothing else; fnmatch would cost the import of re. Linear in time."""
    if "?" not in glob:
        return _matches_stars(glob.split("*"), text)

    star, mark, at, g = -1, 0, 0, 0
    while at < len(text):
        if g < len(glob) and (glob[g] == "?" or glob[g] == text[at]) and glob[g] != "*":
            g, at = g + 1, at + 1
        elif g < len(glob) and glob[g] == "*":
            star, mark, g = g, at, g + 1
        elif star >= 0:
            mark += 1
            g, at = star + 1, mark
        else:
            return False
    return glob[g:].strip("*") == ""


def _matches_stars(parts: list[str], text: str) -> bool:
    """As matches(), for what stands between the stars: by find(), as names of variables may be long and many."""
    first, *middle = parts
    if not middle:
        return text == first
    last = middle.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False

    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
