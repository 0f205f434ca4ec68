"""The files below a root as they are, and as they are planned to be. Reads only; transaction.py writes.

Paths are absolute inside the root. Symbolic links are followed the way a process inside the root would:
none leads outside, so that an image's links cannot make us touch the host.
"""

from __future__ import annotations

import errno
import os
import stat

from pycoredump.errors import ConfigError
from pycoredump.record import Record

SIZE_MAX = 16 * 1024 * 1024  # a configuration file larger than this is no configuration file
NULL = "/dev/null"
LINKS_MAX = 40  # as the kernel's MAXSYMLINKS (include/linux/namei.h)


class Change(Record):
    """One file before and after. None: there is no such file. Undecodable bytes are surrogates."""

    path: str
    before: str | None
    after: str | None


class Tree:
    """Files by their path inside the root. What is written stays in memory."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)
        self._disk: dict[str, str | None] = {}
        self._planned: dict[str, str | None] = {}

    def copy(self) -> Tree:
        """A tree to try something on."""
        other = Tree(self.root)
        other._disk = self._disk
        other._planned = dict(self._planned)
        return other

    def real(self, path: str) -> str:
        """The host's path, every link followed inside the root: the only way out of the tree to the disk."""
        return self._at(self.resolve(path))

    def _at(self, where: str) -> str:
        return os.path.join(self.root, where.lstrip("/"))

    def resolve(self, path: str) -> str:
        """The path with every link followed inside the root; what does not exist is kept as it is."""
        todo = [part for part in path.split("/") if part]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop(0)
            if part in (".", ".."):
                del done[len(done) - (part == "..") :]
                continue

            target = self._link("/" + "/".join([*done, part]))
            if target is None:
                done.append(part)
                continue

            links += 1
            if links > LINKS_MAX:
                raise ConfigError(f"{path}: too many symbolic links")

            if target.startswith("/"):
                done = []
            todo = [piece for piece in target.split("/") if piece] + todo
        return "/" + "/".join(done)

    def _link(self, path: str) -> str | None:
        try:
            return os.readlink(self._at(path))
        except OSError:
            return None

    def read(self, path: str) -> str | None:
        """The text, None if there is no such file. ConfigError if it cannot be read or is no plain file."""
        where = self.resolve(path)
        if where in self._planned:
            return self._planned[where]

        if where not in self._disk:
            self._disk[where] = self._load(path, where)
        return self._disk[where]

    def _load(self, path: str, where: str) -> str | None:
        if where == NULL:
            return ""

        try:
            # O_NONBLOCK: a FIFO in the place of the file would otherwise be waited for.
            fd = os.open(self._at(where), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise ConfigError(f"Cannot read {path}: {e.strerror}", hint="run it as root") from e

        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > SIZE_MAX:
            os.close(fd)
            raise ConfigError(f"{path} is not a configuration file", hint="a plain file is needed there")

        with os.fdopen(fd, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")

    def masked(self, path: str) -> bool:
        """Whether the file is switched off by a link to /dev/null, as systemd has it. It reads as empty."""
        return self.resolve(path) == NULL

    def write(self, path: str, text: str | None) -> None:
        """Plan the file to be this. None: not to be there. ConfigError for one that is masked."""
        where = self.resolve(path)
        if where == NULL:  # the device would be replaced
            raise ConfigError(
                f"{path} is a link to /dev/null", hint="remove the link: a file is needed there"
            )

        self._planned[where] = text

    def names(self, directory: str) -> list[str]:
        """The names of a directory, planned ones included, sorted as bytes; [] if there is none."""
        where = self.resolve(directory)
        try:
            found = set(os.listdir(self._at(where)))
        except OSError:
            found = set()
        for path, text in self._planned.items():
            if os.path.dirname(path) == where:
                (found.discard if text is None else found.add)(os.path.basename(path))
        return sorted(found, key=os.fsencode)

    def files(self, directory: str, suffix: str = "") -> list[str]:
        """The names of those that can be read: a directory, a FIFO or a dangling link named x.conf is nobody's file."""
        names = [
            name for name in self.names(directory) if name.endswith(suffix) and not name.startswith(".")
        ]
        return [name for name in names if self.is_file(f"{directory}/{name}")]

    def is_file(self, path: str) -> bool:
        """Whether there is such a file, planned ones included; /dev/null masks one and so counts as one."""
        where = self.resolve(path)
        if where in self._planned:
            return self._planned[where] is not None

        return where == NULL or os.path.isfile(self._at(where))

    def is_directory(self, path: str) -> bool:
        """Whether the path is a directory, links followed inside the root."""
        return os.path.isdir(self.real(path))

    def is_executable(self, path: str) -> bool:
        """Whether the path is a file that can be run, links followed inside the root."""
        real = self.real(path)
        return os.path.isfile(real) and os.access(real, os.X_OK)

    def planned(self) -> list[tuple[str, str]]:
        """Every planned file that is to be there, sorted by path."""
        return sorted((path, text) for path, text in self._planned.items() if text is not None)

    def changes(self) -> list[Change]:
        """What the plan differs in from the disk, sorted by path."""
        found = []
        for path, after in sorted(self._planned.items()):
            before = self._disk[path] if path in self._disk else self._load(path, path)
            if before != after:
                found.append(Change(path=path, before=before, after=after))
        return found
