"""The few ways in which files are changed, each of which a power cut may stop: the only writer of files.

Paths here are the host's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

# Labels that the kernel computes from the contents by itself.
COMPUTED = ("security.ima", "security.evm")
MODE_NEW = 0o644


class Disk:
    """Changes files. step() is called before each system call that changes something: tests cut the power there."""

    def step(self, what: str, path: str) -> None:
        """About to do `what` to `path`."""

    def create(self, path: str, data: bytes, *, like: str | None) -> None:
        """A new file with owner, mode, ACL and SELinux label as those of `like`, its bytes on disk."""
        self.step("open", path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self.step("write", path)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            self._dress(fd, path, like)
            self.step("fsync", path)
            self.flush(fd)
        finally:
            os.close(fd)

    def flush(self, fd: int) -> None:
        """Wait until a file or directory is on the disk."""
        os.fsync(fd)

    def _dress(self, fd: int, path: str, like: str | None) -> None:
        if like is None:
            self.step("fchmod", path)
            os.fchmod(fd, MODE_NEW)
            return

        status = os.stat(like, follow_symlinks=False)
        self.step("fchown", path)
        os.fchown(fd, status.st_uid, status.st_gid)
        self.step("fchmod", path)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        # ACLs (system.posix_acl_access) and SELinux labels (security.selinux) are extended attributes.
        # A label that the directory has given already is not set again: a container may not set it.
        present = {name: os.getxattr(fd, name) for name in _attributes(fd)}
        for name in _attributes(like):
            value = os.getxattr(like, name, follow_symlinks=False)
            if present.get(name) != value:
                self.step("fsetxattr", path)
                os.setxattr(fd, name, value)

    def rename(self, old: str, new: str) -> None:
        """Put a file into another's place, and see that it stays there."""
        self.step("rename", new)
        os.rename(old, new)
        self.sync(os.path.dirname(new))

    def unlink(self, path: str) -> None:
        """Remove a file; it may be missing."""
        with contextlib.suppress(FileNotFoundError):
            self.step("unlink", path)
            os.unlink(path)
            self.sync(os.path.dirname(path))

    def mkdir(self, path: str, mode: int) -> None:
        """A new directory of exactly that mode, from its first moment on."""
        self.step("mkdir", path)
        umask = os.umask(0)
        try:
            os.mkdir(path, mode)
        finally:
            os.umask(umask)
        self.sync(os.path.dirname(path))

    def rmdir(self, path: str) -> bool:
        """Remove a directory if nothing is in it; says whether it is gone."""
        self.step("rmdir", path)
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError as e:
            if e.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        self.sync(os.path.dirname(path))
        return True

    def chmod(self, path: str, mode: int) -> None:
        """Change a directory's mode."""
        self.step("chmod", path)
        os.chmod(path, mode)

    def sync(self, directory: str) -> None:
        """Bring a directory's entries to the disk."""
        self.step("fsync", directory)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.flush(fd)
        finally:
            os.close(fd)


def _attributes(file: str | int) -> list[str]:
    try:
        names = os.listxattr(file, follow_symlinks=False) if isinstance(file, str) else os.listxattr(file)
    except OSError as e:
        if e.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []  # the file system has none
        raise
    return [name for name in names if name not in COMPUTED]
