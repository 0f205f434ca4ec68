"""What is installed, where, and why there. Nothing is written here."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

from pycoredump import crash
from pycoredump.record import Record

SOURCE = pathlib.Path(__file__).parents[1]
MANIFEST = "installed-files"  # in the private directory: what uninstall removes
CONFIGURATION = "/etc/pycoredump.conf"
UNITS = "/usr/lib/systemd/system"

# The kernel starts the handler with an empty environment: -I keeps the interpreter from looking at one, -S
# saves the 3 ms of site, and whatever a .pth file would do to us. Where that leaves out the directory of the
# distribution's packages, it is appended: it has a new name after each upgrade of Python.
HANDLER = """\
#!/usr/bin/python3 -IS
\"\"\"Started by the kernel for each crash: see pycoredump(8).\"\"\"
import os
import sys

sys.path.insert(0, {library!r})
sys.path.append(f"{{sys.prefix}}/{{sys.platlibdir}}/python{{sys.version_info[0]}}.{{sys.version_info[1]}}/site-packages")
try:
    from pycoredump.handler import main

    status = main(sys.argv)
except BaseException as e:
    # Nothing of ours can be loaded: this line is all that is left of the crash.
    line = f"<2>pycoredump[{{os.getpid()}}]: crash lost (PID, signal, time, program: {{sys.argv[1:5]}}): {{e!r}}"
    status = 1
    try:
        os.write(os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC), line.encode("utf-8", "backslashreplace")[:900] + b"\\n")
    except OSError:
        pass
os._exit(status)
"""

PROGRAM = """\
#!/usr/bin/python3 -I
\"\"\"See {manual}.\"\"\"
import sys

sys.path.insert(0, {library!r})
from {module} import main

sys.exit(main())
"""


class File(Record):
    """One file to install."""

    path: str  # on the host, without DESTDIR
    data: bytes
    mode: int = 0o644
    kept: bool = False  # belongs to the administrator once it sets something


def library(prefix: str) -> str:
    """The private directory: no version of Python in its name, so an upgrade of the system's leaves it alone."""
    return f"{prefix}/lib/pycoredump"


def handler(directory: str) -> str:
    """The text of the program that the kernel starts, for a package in `directory`."""
    return HANDLER.format(library=directory)


def files(prefix: str, source: pathlib.Path = SOURCE) -> list[File]:
    """Everything to install. What others look for at a fixed place (kernel, sysctl, systemd) ignores the prefix."""
    return [
        *_package(prefix, source),
        *_programs(prefix),
        *_snippets(prefix, source),
        *_manuals(prefix, source),
        *_completions(prefix, source),
        File(path=CONFIGURATION, data=(source / "pycoredump.conf").read_bytes(), kept=True),
    ]


def _package(prefix: str, source: pathlib.Path) -> Iterator[File]:
    for path in sorted((source / "pycoredump").rglob("*.py")):
        yield File(path=f"{library(prefix)}/{path.relative_to(source)}", data=path.read_bytes())


def _programs(prefix: str) -> Iterator[File]:
    yield File(path=crash.HANDLER, data=handler(library(prefix)).encode(), mode=0o755)
    for path, module, manual in (
        ("bin/pycoredumpctl", "pycoredump.cli.main", "pycoredumpctl(1)"),
        ("sbin/pycoredump-configure", "pycoredump.configure.main", "pycoredump-configure(8)"),
    ):
        text = PROGRAM.format(library=library(prefix), module=module, manual=manual)
        yield File(path=f"{prefix}/{path}", data=text.encode(), mode=0o755)


def _snippets(prefix: str, source: pathlib.Path) -> Iterator[File]:
    for path in sorted((source / "sysctl.d").glob("*.conf")):
        yield File(path=f"/usr/lib/sysctl.d/{path.name}", data=path.read_bytes())
    for path in sorted((source / "systemd").iterdir()):
        for suffix, directory in ((".tmpfiles.conf", "tmpfiles.d"), (".sysusers.conf", "sysusers.d")):
            if path.name.endswith(suffix):
                yield File(
                    path=f"/usr/lib/{directory}/{path.name.removesuffix(suffix)}.conf",
                    data=path.read_bytes(),
                )
        if path.suffix in (".service", ".socket", ".timer", ".path", ".slice"):
            yield File(path=f"{UNITS}/{path.name}", data=relocated(path.read_text(), prefix).encode())


def relocated(unit: str, prefix: str) -> str:
    """A unit's text for another prefix: units name programs by their whole path."""
    unit = re.sub(r"/usr/lib/pycoredump(?![\w.-])", library(prefix), unit)
    return re.sub(r"/usr/(s?bin/pycoredump)", rf"{prefix}/\1", unit)


def _manuals(prefix: str, source: pathlib.Path) -> Iterator[File]:
    for path in sorted((source / "man").glob("*.[1-8]")):
        yield File(path=f"{prefix}/share/man/man{path.suffix[1:]}/{path.name}", data=path.read_bytes())


def _completions(prefix: str, source: pathlib.Path) -> Iterator[File]:
    # Debian's zsh looks in vendor-completions, that of others in site-functions.
    for shell, directories in (
        ("bash", ["bash-completion/completions"]),
        ("zsh", ["zsh/vendor-completions", "zsh/site-functions"]),
        ("fish", ["fish/vendor_completions.d"]),
    ):
        for path in sorted((source / "completions" / shell).iterdir()):
            for directory in directories:
                yield File(path=f"{prefix}/share/{directory}/{path.name}", data=path.read_bytes())


def starts_at_boot(path: str) -> bool:
    """Whether systemd is to start the unit: sockets and timers are ours to enable, services the administrator's."""
    return path.startswith(UNITS) and path.endswith((".socket", ".timer"))


def is_unit(path: str) -> bool:
    """Whether systemd may run it as it stands; a template has no life of its own."""
    return path.startswith(UNITS) and path.endswith((".service", ".socket", ".timer")) and "@" not in path
