"""Why it crashed: the sandboxed analysis of the archive, and its report as journal fields.

Runs after the release and imports what it needs then. Whatever fails here costs its part of the entry, never
the entry.
"""

from __future__ import annotations

import os

from pycoredump import entry, metadata, quickjson
from pycoredump.analysis import dpkg, packages, rpm, separate, service, stacktrace
from pycoredump.analysis.model import Facts, Module, Report
from pycoredump.archive import append_metadata
from pycoredump.crash import Crash
from pycoredump.entry import Fields
from pycoredump.kept import Kept
from pycoredump.modules import OpenModule
from pycoredump.procfs import Process
from pycoredump.reader import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ARGUMENTS_MAX = 4096
MESSAGE_MAX = 1 << 20  # characters of all backtraces; systemd-coredump's limit for its own


class Analysis:
    """The analysis of one core, which begins at once and goes on beside us; finish() waits for its report."""

    def __init__(
        self,
        fd: int,
        crash: Crash,
        process: Process,
        modules: Sequence[OpenModule],
        *,
        seconds: int,
        unit: bool,
        base: int = 0,
    ) -> None:
        """`fd`: an archive, or a core that begins at `base`. `unit`: whether the service manager may be asked.

        PycoredumpError, OSError.
        """
        # What comes out of the sandbox must find nothing to write to.
        self._core = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        self._debug = separate.open_files(module.fd for module in modules)
        self._owned = Ownership({_text(module.path): module.fd for module in modules})
        self._request = service.Request(
            self._core,
            [(module.path, module.fd) for module in modules],
            facts(crash, process, modules),
            seconds=seconds,
            path=service.SOCKET if unit else "",
            base=base,
            debug=self._debug,
        )

    def finish(self) -> Report:
        """PycoredumpError if there is no report in time."""
        self._owned.search()  # while the sandbox is at work
        try:
            return self._owned.complete(self._request.report())
        finally:
            for fd in (self._core, *self._debug.values()):
                os.close(fd)


class Ownership:
    """Which packages the modules are of: what takes long is found out while the sandbox is at work."""

    def __init__(self, files: dict[str, int], *, root: str = "/") -> None:
        self.files = files
        self.root = root
        self.found: packages.Owners = {}
        self.problem = ""

    def search(self) -> None:
        """Ask dpkg's lists. Never raises: a package's name is not worth a backtrace."""
        self._ask(self.files, dpkg.owners)

    def complete(self, report: Report) -> Report:
        """The report with packages. Where rpm is, most modules tell their package themselves: it is asked for the rest."""
        lacking = [m.path for m in report.modules if m.package is None and m.path not in self.found]
        self._ask({path: self.files[path] for path in lacking if path in self.files}, rpm.owners)
        problems = (*report.problems, self.problem) if self.problem else report.problems
        return packages.complete(report, self.found).replace(problems=problems)

    def _ask(self, files: dict[str, int], search: packages.Search) -> None:
        try:
            self.found |= packages.owners(files, root=self.root, searches=(search,))
        except Exception as e:  # databases that others write, in formats that others change
            self.problem = f"No package: {type(e).__name__} {e}"


def facts(crash: Crash, process: Process, modules: Sequence[OpenModule]) -> Facts:
    """What the analysis may want to know besides the core."""
    arguments = process.cmdline.removesuffix(b"\0").split(b"\0") if process.cmdline else []
    return Facts(
        signal=crash.signal,
        comm=_text(process.comm) or crash.comm,
        exe=_text(entry.exe(process.exe)),
        arguments=tuple(_text(argument) for argument in arguments[:ARGUMENTS_MAX]),
        maps=_text(process.maps),
        sizes={_text(module.path): os.fstat(module.fd).st_size for module in modules},
    )


def fields(found: Report, exe: str) -> Fields:
    """The report as journal fields; MESSAGE is only its second part, see message()."""
    package = _package_of(found, exe)
    values = {
        "COREDUMP_SIGNATURE": found.signature,
        "COREDUMP_TITLE": found.title,
        "COREDUMP_EXPLANATION": "\n".join(found.words),
        "COREDUMP_SCRIPT": found.script,
        "COREDUMP_SCRIPT_TRACE": "\n".join(_script_lines(found)),
        "COREDUMP_MODULES": "\n".join(f"{module.build_id or '-'} {module.path}" for module in found.modules),
        "COREDUMP_PACKAGE_JSON": package_json(found),
        "COREDUMP_PACKAGE_NAME": package.get("name", ""),
        "COREDUMP_PACKAGE_VERSION": package.get("version", ""),
    }
    return {name: entry.text(value) for name, value in values.items() if value}


def message(found: Report) -> str:
    """The second part of MESSAGE: the fault in words, then the backtraces as systemd-coredump prints them."""
    blocks = [
        list(found.words),
        list(stacktrace.lines(found, found.architecture)),
        list(_script_lines(found)),
    ]
    text = "\n\n".join("\n".join(lines) for lines in blocks if lines)
    return text if len(text) <= MESSAGE_MAX else f"{text[:MESSAGE_MAX]}\n..."


def package_json(found: Report) -> str:
    """COREDUMP_PACKAGE_JSON: for each module its package and build id, and what kind of ELF file it all is."""
    table: dict[str, object] = {"elfType": "coredump", "elfArchitecture": found.architecture}
    for module in sorted(found.modules, key=lambda module: not module.main):
        facts = {**(module.package or {}), **({"buildId": module.build_id} if module.build_id else {})}
        if facts:
            table.setdefault(os.path.basename(module.path), facts)
    return quickjson.dumps(table) if len(table) > 2 else ""


def store(kept: Kept, new: Fields) -> None:
    """Write the report into the archive, behind what is there. OSError, PycoredumpError."""
    known = Archive(kept.fd)
    entries = [(frame.size, frame.length) for frame in known.frames]
    append_metadata(kept.fd, metadata.frame(new), entries)
    os.fsync(kept.fd)


def _package_of(found: Report, exe: str) -> dict[str, str]:
    main: Module | None = next((m for m in found.modules if m.main or m.path == exe), None)
    return (main.package or {}) if main else {}


def _script_lines(found: Report) -> Iterator[str]:
    for trace in found.scripts:
        language = trace.frames[0].language if trace.frames else "Script"
        yield f"{language} stack of thread {trace.tid}:"
        for number, frame in enumerate(trace.frames):
            where = f"{frame.file}:{frame.line}" if frame.line else frame.file
            yield f"#{number:<2} {frame.function} ({where})"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
