"""Which archives go when there are too many: MaxUse, KeepFree, age, per program. Deciding is pure; run() unlinks.

Imported by the handler: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import fcntl
import os
import stat

from pycoredump import admission, guard, state, store
from pycoredump.record import Record
from pycoredump.values import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.config import Config

PREFIX = "core-"
LOCK_SECONDS = 10  # one who needs room now waits so long for another one who is making some
LEFT_SECONDS = 3600  # an unfinished file that nobody has written to for so long has lost its handler


class Stored(Record):
    """One archive in the directory."""

    name: str
    inode: int
    used: int  # bytes on the disk
    changed: int  # st_mtime, seconds
    uid: str  # of the crashed process, "" if not known
    program: str  # comm as it is in the name


def listing(directory: int) -> list[Stored]:
    """The archives in the directory; anything else in it is not ours to count or to remove."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            parts = entry.name.removesuffix(".zst").rsplit("-", 3)
            if not entry.name.startswith(PREFIX) or len(parts) != 4:
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # another handler removed it
            if stat.S_ISREG(facts.st_mode):
                found.append(
                    Stored(
                        name=entry.name,
                        inode=facts.st_ino,
                        used=facts.st_blocks * 512,
                        changed=int(facts.st_mtime),
                        uid=_uid(directory, entry.name),
                        program=parts[0].removeprefix(PREFIX),
                    )
                )
    return found


def _uid(directory: int, name: str) -> str:
    try:
        # There is no getxattrat(2) yet: through the descriptor's own path.
        value = os.getxattr(f"/proc/self/fd/{directory}/{name}", "user.coredump.uid", follow_symlinks=False)
    except OSError:
        return ""
    return value.decode("ascii", "replace")


def victims(
    files: list[Stored], config: Config, *, now: int, free: int, total: int, keep: int = 0
) -> list[Stored]:
    """The archives to remove, in that order; never the one with inode `keep`.

    First those that are too old, then what is more than KeepPerProgram= of a program, then, until MaxUse=
    and KeepFree= hold, the oldest of the user who has the most bytes.
    """
    gone = {file.inode: file for file in files if config.max_age and now - file.changed > config.max_age}
    gone |= {file.inode: file for file in _surplus(files, config.keep_per_program, keep)}
    gone.pop(keep, None)
    left = [file for file in files if file.inode not in gone]
    used = sum(file.used for file in left)
    free += sum(file.used for file in gone.values())
    over = max(0, used - admission.max_use(config, total)) if admission.max_use(config, total) else 0
    short = max(0, admission.keep_free(config, total) - free)
    return [*gone.values(), *_worst_first(left, max(over, short), keep)]


def _surplus(files: list[Stored], most: int, keep: int) -> list[Stored]:
    programs: dict[str, list[Stored]] = {}
    for file in sorted(files, key=lambda file: (file.inode != keep, -file.changed)):
        programs.setdefault(file.program, []).append(file)
    return [file for kept in programs.values() for file in kept[most:]] if most else []


def _worst_first(files: list[Stored], wanted: int, keep: int) -> list[Stored]:
    users: dict[str, list[Stored]] = {}
    for file in sorted(files, key=lambda file: -file.changed):
        if file.inode != keep:
            users.setdefault(file.uid, []).append(file)
    sums = {uid: sum(file.used for file in owned) for uid, owned in users.items()}
    chosen = []
    while wanted > 0 and sums:
        worst = max(sums, key=lambda uid: sums[uid])
        file = users[worst].pop()
        chosen.append(file)
        wanted -= file.used
        sums[worst] -= file.used
        if not users[worst]:
            del sums[worst]
    return chosen


def run(directory: int, config: Config, *, now: int, keep: int = 0, need: int = 0) -> list[Stored]:
    """Remove what is too much; `need` bytes more are to be free than KeepFree= asks for. What was removed.

    One handler at a time: another one that is at it does our part, too, unless we need room. OSError of the directory.
    """
    lock = _lock(wait=need > 0)
    try:
        if lock == -1:
            return []
        _remove_leftovers(directory, now)
        space = os.fstatvfs(directory)
        free, total = space.f_frsize * space.f_bavail, space.f_frsize * space.f_blocks
        free = free if total else INFINITY  # a file system that does not know
        chosen = victims(listing(directory), config, now=now, free=free - need, total=total, keep=keep)
        return [file for file in chosen if _remove(directory, file)]
    finally:
        if lock >= 0:
            os.close(lock)


def _remove_leftovers(directory: int, now: int) -> None:
    # Only file systems without O_TMPFILE have them, and only after a handler was killed.
    for name in os.listdir(directory):
        if name.startswith(store.TEMPORARY):
            try:
                if now - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime > LEFT_SECONDS:
                    os.unlink(name, dir_fd=directory)
            except OSError:
                continue  # its handler lives, or another one was faster


def _lock(*, wait: bool) -> int:
    # -1: somebody else has it. -2: there is no place for it, so nobody can have it.
    try:
        os.makedirs(state.DIRECTORY, mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(f"{state.DIRECTORY}/retention", flags, 0o600)
    except OSError:
        return -2
    try:
        if wait:
            with guard.TimeLimit(LOCK_SECONDS):
                fcntl.flock(fd, fcntl.LOCK_EX)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _remove(directory: int, file: Stored) -> bool:
    try:
        os.unlink(file.name, dir_fd=directory)
    except OSError:
        return False
    return True
