"""Programs for kernel.core_pattern: the handler from a directory of choice, the floor that only reads, a recorder."""

from __future__ import annotations

import compileall
import os
import pathlib
import shutil
from collections.abc import Mapping

from tools import layout

CHECKOUT = pathlib.Path(__file__).parents[2]

# A storm of the same few programs is what tests are: the default limit would make all later cores small.
UNLIMITED = {"RateLimitBurst": "0"}

FLOOR = """\
#!/bin/sh
exec cat >/dev/null
"""

# Writes the kernel's stream to a file as it comes. The process stays as it is until nobody holds the
# stream any more: the handler inherits it, and gets the bytes through another pipe.
RECORDER = """\
#!/bin/sh
cat >{directory}/stream-$1
exec 9<&0
cat {directory}/stream-$1 | exec {handler} "$@"
"""

# The handler in a mount namespace of its own, after a change to it.
ELSEWHERE = """\
#!/bin/sh
exec unshare --mount --propagation=private sh -c '{change}; exec {handler} "$@"' handler "$@"
"""


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def floor(directory: pathlib.Path) -> pathlib.Path:
    """A handler that reads everything and keeps nothing."""
    return write(directory / "floor", FLOOR)


def recorder(directory: pathlib.Path, handler: pathlib.Path) -> pathlib.Path:
    """Keeps the raw stream as stream-PID beside it, then has `handler` do its work."""
    return write(directory / "recorder", RECORDER.format(directory=directory, handler=handler))


def elsewhere(directory: pathlib.Path, handler: pathlib.Path, change: str) -> pathlib.Path:
    """Runs `handler` after a shell command that changes what it sees of the file system."""
    return write(directory / "elsewhere", ELSEWHERE.format(change=change, handler=handler))


class Handler:
    """The handler with a configuration of its own."""

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        name: str = "handler",
        library: pathlib.Path = CHECKOUT,
        without: tuple[str, ...] = (),
        options: Mapping[str, str] | None = None,
    ) -> None:
        """`options` are lines of its pycoredump.conf; modules of `without` cannot be imported."""
        self.etc = directory / f"{name}.etc"
        self.etc.mkdir(parents=True)
        lines = UNLIMITED | {"Directory": os.fspath(directory / f"{name}.core")} | dict(options or {})
        self.core = pathlib.Path(lines["Directory"])
        self.configure("\n".join(["[Coredump]", *(f"{key}={value}" for key, value in lines.items()), ""]))
        call = f"main(sys.argv, etc={os.fspath(self.etc)!r}, lib={os.fspath(self.etc / 'lib')!r})"
        text = layout.handler(os.fspath(library)).replace("main(sys.argv)", call)
        blocked = "".join(f"sys.modules[{module!r}] = None\n" for module in without)
        self.path = write(directory / name, text.replace("try:\n", f"{blocked}try:\n", 1))

    def configure(self, text: str) -> None:
        (self.etc / "pycoredump.conf").write_text(text)

    def stored(self, pid: int | None = None) -> list[pathlib.Path]:
        """The files under final names, of one process or all."""
        if not self.core.is_dir():
            return []
        wanted = "core-*" if pid is None else f"core-*-{pid}-*"
        return sorted(self.core.glob(wanted))

    def clear(self) -> None:
        for path in self.stored():
            path.unlink()


def installed_package(directory: pathlib.Path) -> pathlib.Path:
    """A copy of the package as `make install` makes it: byte-compiled, root's."""
    target = directory / "lib"
    shutil.copytree(
        CHECKOUT / "pycoredump", target / "pycoredump", ignore=shutil.ignore_patterns("__pycache__")
    )
    compileall.compile_dir(target, quiet=1)
    return target
