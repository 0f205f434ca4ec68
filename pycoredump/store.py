"""The directory of archives: names, unnamed files that get their name when they are whole, owner, access, attributes.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from pycoredump.errors import PycoredumpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.crash import Crash

DIRECTORY_MODE = 0o711  # names tell who crashed: only root lists them
PARENT_MODE = 0o755  # of what is missing above it: users must get through to their cores
FILE_MODE = 0o640
TEMPORARY = ".#core-"  # where O_TMPFILE does not exist; systemd-tmpfiles knows the prefix of the field
NAMES_MAX = 100  # further crashes of the same comm, pid and second
XATTR_MAX = 1024  # bytes of one attribute; ext4 keeps all of a file's in one block


class StoreError(PycoredumpError):
    """The directory cannot take an archive."""


def open_directory(path: str) -> int:
    """A descriptor of the directory, which is made if it is missing. StoreError if it cannot be used.

    It must belong to root and nobody else may write to it: others could swap files under us.
    """
    try:
        _make(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise StoreError(
            f"Cannot use directory {path}: {e.strerror}", hint="Set Directory= to one that works."
        ) from None

    facts = os.fstat(fd)
    others = stat.S_IWOTH | (stat.S_IWGRP if facts.st_gid != os.getegid() else 0)
    if facts.st_uid != os.geteuid() or facts.st_mode & others:
        os.close(fd)
        raise StoreError(
            f"Directory {path} has owner {facts.st_uid} and mode {stat.S_IMODE(facts.st_mode):o}: others could change cores",
            hint=f"chown root:root {path}; chmod 711 {path}",
        )
    return fd


def _make(path: str, mode: int = DIRECTORY_MODE) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent not in ("", "/", path):
        _make(parent, PARENT_MODE)
    try:
        os.mkdir(path, mode)
        os.chmod(path, mode)  # whatever the umask said
    except FileExistsError:
        pass  # another handler was faster


class Unnamed:
    """A file in the directory that nobody sees until link() gives it its name."""

    def __init__(self, directory: int) -> None:
        """OSError if no file can be made."""
        self.directory = directory
        self.temporary = ""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            self.fd = os.open(".", os.O_TMPFILE | flags, FILE_MODE, dir_fd=directory)
        except OSError as e:
            if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            # NFS, some FUSE and overlay file systems know no O_TMPFILE (open(2)).
            self.temporary = f"{TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}"
            flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self.fd = os.open(self.temporary, flags, FILE_MODE, dir_fd=directory)
        if not _is_protected(self.fd):
            self.discard()
            raise StoreError(
                "The file system of Directory= cannot keep other users from reading a core",
                hint="Choose another one, or mount it with umask=077.",
            )

    def link(self, name: str) -> str:
        """Sync the file, then name it; an existing name is never replaced. The name it got. OSError."""
        os.fsync(self.fd)
        for candidate in _candidates(name):
            try:
                self._link(candidate)
            except FileExistsError:
                continue
            os.fsync(self.directory)
            return candidate
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def _link(self, name: str) -> None:
        if self.temporary:
            self._link_temporary(name)
            self.temporary = ""
            return
        # follow_symlinks makes it linkat(AT_SYMLINK_FOLLOW); without dst_dir_fd Python calls link(2): EXDEV.
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=self.directory, follow_symlinks=True)

    def _link_temporary(self, name: str) -> None:
        try:
            os.link(self.temporary, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as e:
            if e.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        else:
            os.unlink(self.temporary, dir_fd=self.directory)
            return
        # No hard links (exfat, some of FUSE). Only we write here, and the name has our PID's crash in it.
        if name in os.listdir(self.directory):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(self.temporary, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def discard(self) -> None:
        if self.temporary:
            os.unlink(self.temporary, dir_fd=self.directory)
            self.temporary = ""


def _is_protected(fd: int) -> bool:
    # exfat and the like have no modes: there the mount decides, perhaps that everybody may read.
    try:
        os.fchmod(fd, FILE_MODE)
    except PermissionError as e:
        if e.errno != errno.EPERM:
            raise
    return not os.fstat(fd).st_mode & stat.S_IRWXO


def file_name(crash: Crash, *, compressed: bool) -> str:
    """core-<comm>-<pid>-<signal>-<time>.zst: the seed's order. comm is escaped, it may hold anything."""
    stem = f"core-{escape(crash.comm)}-{crash.pid}-{crash.signal}-{crash.timestamp}"
    return f"{stem}.zst" if compressed else stem


def escape(comm: str) -> str:
    """`/`, `.`, blanks, backslashes, control and non-ASCII bytes as \\xHH, as systemd-coredump escapes comm."""
    data = comm.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if 0x20 < b < 0x7F and b not in b"/.\\" else f"\\x{b:02x}" for b in data)


def _candidates(name: str) -> list[str]:
    stem, dot, suffix = name.partition(".zst")
    return [name, *(f"{stem}-{i}{dot}{suffix}" for i in range(1, NAMES_MAX))]


def allow_reading(fd: int, uid: int) -> None:
    """Give one user read access by an ACL (acl(5)), as setfacl -m u:UID:r would. OSError where there are none."""
    # struct posix_acl_xattr_header and entries (linux/posix_acl_xattr.h): version 2; tag, permissions, id.
    # The mask stands where the group bits were: group, named user and others keep what 0640 says.
    undefined = 0xFFFFFFFF
    entries = (
        (0x01, 6, undefined),
        (0x02, 4, uid),
        (0x04, 4, undefined),
        (0x10, 4, undefined),
        (0x20, 0, undefined),
    )
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(fd, "system.posix_acl_access", acl)


def set_attributes(fd: int, values: dict[str, str]) -> None:
    """user.coredump.* as systemd-coredump sets them; a file system without attributes is no error."""
    for name, value in values.items():
        if not value:
            continue
        try:
            os.setxattr(fd, f"user.coredump.{name}", value.encode("utf-8", "surrogateescape")[:XATTR_MAX])
        except OSError as e:
            if e.errno in (errno.EOPNOTSUPP, errno.ENOSPC, errno.E2BIG, errno.EPERM):
                return


def attributes(crash: Crash, exe: str) -> dict[str, str]:
    """The attributes of a crash; the time in microseconds, as systemd-coredump has it."""
    return {
        "pid": str(crash.pid),
        "uid": "" if crash.uid is None else str(crash.uid),
        "gid": "" if crash.gid is None else str(crash.gid),
        "signal": str(crash.signal),
        "timestamp": str(crash.timestamp * 1_000_000),
        "rlimit": "" if crash.rlimit is None else str(crash.rlimit),
        "hostname": crash.hostname,
        "comm": crash.comm,
        "exe": exe,
        "tid": "" if crash.tid is None else str(crash.tid),
    }
