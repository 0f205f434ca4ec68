"""Which installed package a mapped file belongs to, by the package managers' own databases, read and never asked.

Outside of the sandbox, as it needs the file system; nothing of the crashed process is opened, its paths are only
compared. A path is believed if the file that was mapped is the very one that stands there now: a container, or a
process that outlived an upgrade, has another file under the same name.
"""

from __future__ import annotations

import os
import time

from pycoredump.analysis import dpkg, rpm
from pycoredump.analysis.model import Module, Report
from pycoredump.errors import PycoredumpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Package = dict[str, str]
    Owners = dict[str, Package]
    Search = Callable[[set[str], str, float], Owners]

SECONDS = 2.0
PATHS_MAX = 512
# Nothing there is a package's (file-hierarchy(7)): no database needs to be searched for it.
LOCAL = ("/usr/local/", "/home/", "/root/", "/tmp/", "/var/tmp/", "/run/", "/dev/", "/proc/", "/memfd:")
# Directories that a merged /usr has under two names (file-hierarchy(7)).
MERGED = ("/bin/", "/sbin/", "/lib/", "/lib64/", "/lib32/", "/libx32/")

SEARCHES: tuple[Search, ...] = (dpkg.owners, rpm.owners)


def complete(report: Report, found: Owners) -> Report:
    """The report with the package of each module that has no note of its own."""

    def described(module: Module) -> Module:
        return module.replace(package=found.get(module.path)) if module.package is None else module

    return report.replace(modules=tuple(described(module) for module in report.modules))


def owners(
    files: Mapping[str, int],
    *,
    root: str = "/",
    seconds: float = SECONDS,
    searches: Sequence[Search] = SEARCHES,
) -> Owners:
    """Path -> package (type, name, version, architecture) for those that have one. Never raises.

    `files`: path -> open descriptor of the file that was mapped.
    """
    deadline = time.monotonic() + seconds
    wanted = [path for path in files if not path.startswith(LOCAL)][:PATHS_MAX]
    names = {name: path for path in wanted for name in aliases(path)}
    found: Owners = {}
    for search in searches:
        left = set(names) - {name for path in found for name in aliases(path)}
        try:
            by_name = search(left, root, deadline) if left else {}
        except (OSError, PycoredumpError):
            continue  # there is no such database, or it is damaged: nobody is named rather than somebody wrong
        for name, package in by_name.items():
            if names[name] not in found and _same(files[names[name]], root, name):
                found[names[name]] = package
    return found


def aliases(path: str) -> Iterable[str]:
    """The names under which a database may have the file. () for what is no plain absolute path."""
    if not path.startswith("/") or os.path.normpath(path) != path or "\n" in path:
        return ()
    if path.startswith("/usr/") and path[4:].startswith(MERGED):
        return (path, path[4:])
    return (path, f"/usr{path}") if path.startswith(MERGED) else (path,)


# The database has named the path, so it is the distribution's, not one that the crashed process made up.
def _same(fd: int, root: str, name: str) -> bool:
    try:
        mapped, there = os.fstat(fd), os.stat(os.path.join(root, name[1:]))
    except OSError:
        return False
    return (mapped.st_dev, mapped.st_ino) == (there.st_dev, there.st_ino)
