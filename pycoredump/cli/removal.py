"""Removing archives: who may, asking, doing. What `remove` and `vacuum` have in common."""

from __future__ import annotations

import os
import sys

from pycoredump.cli import options, screen
from pycoredump.errors import ArgumentError, PycoredumpError


def need_right(directory: str) -> None:
    """PycoredumpError unless we may remove files of the directory.

    It is root's, and stays so: whoever may unlink in it may swap files under the handler, too. So users cannot
    remove their own archives; that would take a privileged helper, which is more to be attacked than it is worth.
    """
    if not os.path.isdir(directory):
        raise PycoredumpError(f"There is no directory {directory}", hint="No core was kept yet.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PycoredumpError(
            f"Only root may remove archives from {directory}",
            hint="Ask root; MaxAgeSec= of pycoredump.conf(5) removes them in time.",
        )


def remove(command: options.Command, directory: str, names: list[str]) -> int:
    """Ask where more than one is meant, and remove. How many were removed. ArgumentError if nobody can be asked."""
    sizes = {name: _size(f"{directory}/{name}") for name in names}
    what = f"{screen.counted(len(names), 'archive')} ({screen.size(sum(sizes.values()))})"
    if command.has("dry-run"):
        for name in names:
            print(f"{directory}/{screen.shown(name)} {screen.size(sizes[name])}")
        print(f"{what} would be removed")
        return 0
    if len(names) > 1 and not command.has("yes") and not _agreed(f"Remove {what} from {directory}?"):
        raise PycoredumpError("Nothing was removed")

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    removed = 0
    try:
        for name in names:
            removed += _unlink(fd, directory, name)
    finally:
        os.close(fd)
    if not command.has("quiet"):
        print(f"{removed} of {what} removed" if removed != len(names) else f"{what} removed")
    return removed


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0


def _unlink(fd: int, directory: str, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=fd)
    except OSError as e:
        print(f"{directory}/{screen.shown(name)}: {e.strerror}", file=sys.stderr)
        return False
    return True


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ArgumentError("More than one archive is meant, and nobody can be asked", hint="Give --yes.")
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
