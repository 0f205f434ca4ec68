"""Programs that run programs: which script it was and, where that is known, where in it.

One file per runtime. Each has a class with what Runtime lists; RUNTIMES names them all.
"""

from __future__ import annotations

import re

from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Facts, ScriptTrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # the module typing costs 3 ms


class Runtime(Protocol):
    """What the analysis asks of an interpreter."""

    @property
    def name(self) -> str:
        """For people: Python"""
        ...

    @property
    def program(self) -> re.Pattern[str]:
        """The base name of its executable."""
        ...

    @property
    def library(self) -> re.Pattern[str] | None:
        """The base name of its library, for programs that have it inside."""
        ...

    def script(self, arguments: tuple[str, ...]) -> str:
        """The script by the command line, "" if it does not tell one. `-c CODE` and the like are shown as they are."""
        ...

    def frames(self, process: Image, *, deadline: float) -> tuple[ScriptTrace, ...]:
        """The interpreter's stacks, () if they cannot be read here. CoreError if they should have been."""
        ...


def runtimes() -> tuple[Runtime, ...]:
    """Imported here: each knows this module's names."""
    from pycoredump.analysis.interpreters import cpython, node, perl, php, ruby, shell

    return (cpython.CPython(), perl.Perl(), ruby.Ruby(), node.Node(), php.Php(), shell.Shell())


def of(facts: Facts, process: Image) -> Runtime | None:
    """The runtime of the program, None if it is an ordinary one."""
    main = process.module_of_executable()
    path = facts.exe or (main.path if main else "")
    program = path.removesuffix(" (deleted)").rpartition("/")[2]
    for runtime in runtimes():
        if runtime.program.fullmatch(program):
            return runtime
    libraries = {module.path.rpartition("/")[2] for module in process.modules}
    for runtime in runtimes():
        if runtime.library is not None and any(map(runtime.library.match, libraries)):
            return runtime
    return None
