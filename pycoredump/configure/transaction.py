"""All or nothing: the record first, then every new file beside its old one, then one rename after the other.

Until the first rename nothing has changed; after a power cut at any point each file is old or new, and
the record, on disk before the first change, lets a second apply or a revert finish the job.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import signal
import stat
from collections.abc import Callable, Iterator

from pycoredump.configure import record
from pycoredump.configure.disk import Disk
from pycoredump.configure.record import Changed
from pycoredump.configure.tree import Change, Tree
from pycoredump.errors import PycoredumpError

DIRECTORY_MODE = 0o755
SUFFIX = ".pycoredump-new"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def missing(tree: Tree, paths: list[str]) -> list[str]:
    """The directories that these files need and that are not there, parents first."""
    found: list[str] = []
    for path in paths:
        chain: list[str] = []
        parent = os.path.dirname(tree.resolve(path))
        while parent != "/" and not tree.is_directory(parent):
            chain.insert(0, parent)
            parent = os.path.dirname(parent)
        found += [directory for directory in chain if directory not in found]
    return found


@contextlib.contextmanager
def locked(tree: Tree) -> Iterator[None]:
    """Keep a second pycoredump-configure out. The lock is on /etc itself: no file is made for it."""
    etc = tree.real("/etc")
    try:
        fd = os.open(etc, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise PycoredumpError(f"{etc} cannot be opened: {e.strerror}", hint="is --root right?") from e

    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise PycoredumpError(f"Another pycoredump-configure works on {etc}", hint="wait for it") from e
        yield
    finally:
        os.close(fd)


class Transaction:
    """Steps that are taken back, last first, unless all of them succeed."""

    def __init__(self, tree: Tree, disk: Disk) -> None:
        self.tree = tree
        self.disk = disk
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return

        # A second Ctrl-C must not stop half-way what the first has begun to take back.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            failures = self._roll_back()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        reason = f"{_target(error.filename)}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if failures:
            raise PycoredumpError(
                f"{reason}; and not everything could be put back: {failures[0]}",
                hint='"pycoredump-configure revert" finishes it',
            ) from error

        if isinstance(error, OSError):
            raise PycoredumpError(f"Cannot write {reason}", hint="nothing was changed") from error

    def _roll_back(self) -> list[Exception]:
        failures: list[Exception] = []
        for step in reversed(self._undo):
            if failures and step is self._undo[0]:
                break  # the record stays while there is something left to undo
            try:
                step()
            except (OSError, PycoredumpError) as e:
                failures.append(e)
        return failures

    def on_failure(self, step: Callable[[], object]) -> None:
        """Register how to take back what is about to be done."""
        self._undo.append(step)

    def write_record(self, changed: Changed) -> None:
        """The record, on disk before anything else. Its directory may have to be made."""
        old = self.tree.read(record.PATH)
        parents = missing(self.tree, [record.PATH])
        if not self._undo:
            self.on_failure(lambda: self._restore_record(old, parents))
        self._make_parents()
        self.replace(Change(path=record.PATH, before=old, after=changed.dump()), undo=False)

    def _restore_record(self, old: str | None, parents: list[str]) -> None:
        if old is None:
            self.remove_record()
            self.unmake(parents)
        else:
            self._make_parents()
            self.replace(Change(path=record.PATH, before=None, after=old), undo=False)

    def _make_parents(self) -> None:
        for directory in missing(self.tree, [record.PATH]):
            self.disk.mkdir(self.tree.real(directory), DIRECTORY_MODE)

    def remove_record(self) -> None:
        """The last step of a revert. The directory goes with it unless others use it."""
        real = self.tree.real(record.PATH)
        self.disk.unlink(_beside(real))
        self.disk.unlink(real)
        if os.path.isdir(os.path.dirname(real)):
            self.disk.rmdir(os.path.dirname(real))

    def make(self, directories: list[str]) -> None:
        """Create directories, parents first."""
        for directory in directories:
            real = self.tree.real(directory)
            if not os.path.isdir(real):
                self.on_failure(functools.partial(self.disk.rmdir, real))
                self.disk.mkdir(real, DIRECTORY_MODE)

    def unmake(self, directories: list[str]) -> None:
        """Remove directories of ours that are empty now, children first."""
        for directory in reversed(directories):
            real = self.tree.real(directory)
            if os.path.isdir(real):
                self.remove_directory(real)

    def remove_directory(self, real: str) -> bool:
        """Remove a directory of the host unless something is in it; says whether it is gone."""
        mode = stat.S_IMODE(os.stat(real).st_mode)
        self.on_failure(lambda: None if os.path.isdir(real) else self.disk.mkdir(real, mode))
        return self.disk.rmdir(real)

    def set_mode(self, real: str, mode: int) -> None:
        """Change the mode of a directory of the host."""
        before = stat.S_IMODE(os.stat(real).st_mode)
        self.on_failure(
            lambda: None if stat.S_IMODE(os.stat(real).st_mode) == before else self.disk.chmod(real, before)
        )
        self.disk.chmod(real, mode)

    def clean(self, paths: list[str]) -> None:
        """Remove what a power cut has left beside the files."""
        for path in paths:
            beside = _beside(self.tree.real(path))
            if os.path.lexists(beside):
                self.disk.unlink(beside)

    def change(self, changes: list[Change]) -> None:
        """Write every new file beside its old one, then put them in place."""
        for change in changes:
            self.stage(change)
        for change in changes:
            self.place(change)

    def stage(self, change: Change, *, undo: bool = True) -> None:
        """The new text beside the old file, on disk."""
        if change.after is None:
            return

        real = self.tree.real(change.path)
        self.disk.unlink(_beside(real))
        if undo:
            self.on_failure(lambda: self.disk.unlink(_beside(real)))
        like = real if os.path.lexists(real) else None
        self.disk.create(_beside(real), change.after.encode("utf-8", "surrogateescape"), like=like)

    def place(self, change: Change, *, undo: bool = True) -> None:
        """The new file in the old one's place, or the old one gone."""
        real = self.tree.real(change.path)
        if undo:
            if Tree(self.tree.root).read(change.path) != change.before:
                raise PycoredumpError(
                    f"{change.path} was changed by someone else meanwhile", hint="run it again"
                )

            self.on_failure(lambda: self._put_back(change))
        if change.after is None:
            self.disk.unlink(real)
        else:
            self.disk.rename(_beside(real), real)

    def _put_back(self, change: Change) -> None:
        # Where the rename itself failed, as on an immutable file, putting back would fail as well.
        if Tree(self.tree.root).read(change.path) != change.before:
            self.replace(change.replace(before=change.after, after=change.before), undo=False)

    def replace(self, change: Change, *, undo: bool = True) -> None:
        """Stage and place one file; without undo it is itself a step back and registers none."""
        self.stage(change, undo=undo)
        self.place(change, undo=undo)


def _beside(path: str) -> str:
    """The name of the new file until it takes the old one's place: hidden, and without a .conf ending."""
    directory, name = os.path.split(path)
    return f"{directory}/.{name}{SUFFIX}"


def _target(path: object) -> str:
    """The file that was meant, for messages."""
    directory, name = os.path.split(str(path))
    return os.path.join(directory, name[1:].removesuffix(SUFFIX) if name.endswith(SUFFIX) else name)
