"""From a core and its modules' files to a Report: every part on its own, so that one that fails costs only itself.

Runs in the sandbox: all it can use are the descriptors that it is given.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping

from pycoredump import corefile, siginfo, zstd
from pycoredump.analysis import (
    abortmsg,
    fault,
    image,
    interpreters,
    packagenote,
    signature,
    stored,
    unwind,
    words,
)
from pycoredump.analysis.model import Facts, Report, ScriptTrace
from pycoredump.errors import PycoredumpError

TEXT_MAX = 300  # characters of one problem
# What is imported where it is used; a test looks whether anything is missing here.
LATE = (
    *(f"{package}.{machine}" for package in ("arch", "instruction") for machine in ("aarch64", "x86_64")),
    *(f"interpreters.{name}" for name in ("cpython", "node", "perl", "php", "ruby", "shell")),
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def preload() -> None:
    """Import everything that the analysis might want later: in the sandbox nothing can be opened."""
    for name in LATE:
        __import__(f"pycoredump.analysis.{name}")
    with contextlib.suppress(ImportError):  # cores are not compressed then
        zstd.library()
    for name in ("ascii", "latin-1", "utf-8", "utf-16-le", "utf-32-le", "unicode_escape"):
        codecs.lookup(name)


def analyse(
    core: int,
    modules: Iterable[tuple[bytes, int]] = (),
    facts: Facts | None = None,
    *,
    seconds: float = 10.0,
    debug: Mapping[str, int] | None = None,
    base: int = 0,
) -> Report:
    """Everything that can be told about the crash in the core behind a descriptor. Never raises.

    `modules`: path as in NT_FILE and an open descriptor of that file. `debug`: build id -> open descriptor of a
    separate debug file. `base`: where in the file of a plain core it begins. What could not be found out is named in the report's problems.
    """
    return Analysis(facts or Facts(), deadline=time.monotonic() + seconds).run(
        core, modules, debug or {}, base
    )


class Analysis:
    """One core on its way to a report."""

    def __init__(self, facts: Facts, *, deadline: float) -> None:
        self.facts = facts
        self.deadline = deadline
        self.report = Report()
        self.problems: list[str] = []

    def run(
        self, core: int, modules: Iterable[tuple[bytes, int]], debug: Mapping[str, int], base: int
    ) -> Report:
        source = self._try("analysis", lambda: stored.source(core, base), None)
        layout = self._try("analysis", lambda: stored.layout(source), None) if source else None
        process = (
            self._try("backtrace", lambda: image.Image(source, layout, dict(modules)), None)
            if source and layout
            else None
        )
        if process is not None:
            process.debug_files = debug
            self._examine(process)
        if layout is not None:
            self._try("words", lambda: self._words(layout, process), None)
        self._try("signature", lambda: self._sign(layout, self._program(process)), None)
        return self.report.replace(problems=tuple(self.problems))

    def _examine(self, process: image.Image) -> None:
        name = image.machine_name(process.layout.abi.machine)
        self.report = Report(architecture=name, modules=process.modules)
        self._try("backtrace", lambda: self._threads(process), None)
        self._try("script", lambda: self._script(process), None)
        self._try("packages", lambda: self._packages(process), None)
        self.problems += process.problems

    def _threads(self, process: image.Image) -> None:
        budget = unwind.Budget(seconds=max(0.5, (self.deadline - time.monotonic()) * 0.6))
        self.report = self.report.replace(threads=unwind.threads(process, budget))

    def _script(self, process: image.Image) -> None:
        runtime = interpreters.of(self.facts, process)
        if runtime is None:
            return
        self.report = self.report.replace(script=runtime.script(self.facts.arguments))
        nothing: tuple[ScriptTrace, ...] = ()
        scripts = self._try(
            f"{runtime.name} stack", lambda: runtime.frames(process, deadline=self.deadline), nothing
        )
        self.report = self.report.replace(scripts=scripts)

    def _words(self, layout: corefile.Layout, process: image.Image | None) -> None:
        nothing: tuple[str, ...] = ()
        said = nothing
        if process is not None:
            said = self._try("last words", lambda: abortmsg.messages(process, self.report.threads), nothing)
        crash = fault.gather(layout, self.facts, process)
        self.report = self.report.replace(words=(*said, *words.explain(crash)))

    def _packages(self, process: image.Image) -> None:
        described = (
            module.replace(package=packagenote.read(process.elf(module))) for module in process.modules
        )
        self.report = self.report.replace(modules=tuple(described))

    def _sign(self, layout: corefile.Layout | None, program: str) -> None:
        info = layout.signal if layout else None
        number = info.signal if info else self.facts.signal
        own = fault.process_id(layout) if layout else 0
        sent = info is not None and siginfo.has_sender(info.code) and info.pid != own
        identity = signature.identify(self.report, signal=number, program=program, sent=sent)
        self.report = self.report.replace(signature=identity.id, title=identity.title)

    def _program(self, process: image.Image | None) -> str:
        main = process.module_of_executable() if process else None
        path = self.facts.exe or (main.path if main else "")
        return os.path.basename(path.removesuffix(" (deleted)")) or self.facts.comm

    def _try(self, part: str, act: Callable[[], T], otherwise: T) -> T:
        try:
            return act()
        except Exception as e:  # MemoryError and RecursionError, too: hostile input brings about any of them
            self._failed(part, e)
            return otherwise

    def _failed(self, part: str, e: Exception) -> None:
        reason = str(e) if isinstance(e, PycoredumpError) else f"{type(e).__name__} {e}".strip()
        self.problems.append(f"No {part}: {reason}"[:TEXT_MAX])
