"""Node.js: the script by the command line (node(1))."""

from __future__ import annotations

import re

from pycoredump.analysis.image import Image
from pycoredump.analysis.interpreters import commandline
from pycoredump.analysis.interpreters.commandline import Options
from pycoredump.analysis.model import ScriptTrace

OPTIONS = Options(
    code="ep",
    valued="rC",
    words=frozenset({"--require", "--import", "--loader", "--conditions", "--env-file"}),
    code_words=frozenset({"--eval", "--print"}),
)


class Node:
    name = "Node.js"
    program = re.compile(r"node(js)?")
    library = re.compile(r"libnode\.so")

    def script(self, arguments: tuple[str, ...]) -> str:
        return commandline.script(arguments, OPTIONS)

    def frames(self, process: Image, *, deadline: float) -> tuple[ScriptTrace, ...]:
        return ()  # its structures differ from release to release, and no release describes them
