"""Source file and line of an address, where a module or its debug file has line tables (DWARF 5, 6.2).

Only the table of the unit around the address is read. Everything is bounded in size and time: a line number is a
comfort.
"""

from __future__ import annotations

import time

from pycoredump.analysis.debuginfo import Units
from pycoredump.analysis.forms import FORM_LINE_STRP, FORM_STRP
from pycoredump.analysis.linetable import LineTable
from pycoredump.analysis.part import part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.analysis.elf import Elf
    from pycoredump.analysis.image import Image
    from pycoredump.analysis.model import Module


SECONDS = 2.0  # for all lookups of one process
TABLES_MAX = 8  # units whose rows are kept


class Lines:
    """The line tables of one process's modules."""

    def __init__(self, image: Image, seconds: float = SECONDS) -> None:
        self._image = image
        self._left = seconds
        self._modules: dict[int, _Tables | None] = {}

    def find(self, module: Module, address: int) -> tuple[str, int]:
        """(file, line) of the code at `address` (of the process), ("", 0) if nothing says."""
        if self._left <= 0:
            return "", 0

        began = time.monotonic()
        try:
            tables = self._of(module)
            return tables.find(address - module.bias, began + self._left) if tables else ("", 0)
        finally:
            self._left -= time.monotonic() - began

    def _of(self, module: Module) -> _Tables | None:
        if module.start not in self._modules:
            files = (self._image.elf(module), self._image.debug(module))
            file = next((f for f in files if f and f.has_lines), None)
            self._modules[module.start] = _Tables(file) if file else None
        return self._modules[module.start]


class _Tables:
    """The line tables of one file."""

    def __init__(self, file: Elf) -> None:
        self._file = file
        self._units: Units | None = None
        self._known: dict[int, LineTable] = {}
        self._broken = False

    def find(self, vaddr: int, deadline: float) -> tuple[str, int]:
        if self._broken:
            return "", 0
        try:
            if self._units is None:
                self._units = Units(self._file)
                self._lines = part(self._file, "debug_line")
                self._texts = {
                    FORM_STRP: part(self._file, "debug_str"),
                    FORM_LINE_STRP: part(self._file, "debug_line_str"),
                }
            offset = self._units.line_table(vaddr, deadline)
            return self._table(offset, deadline).find(vaddr) if offset is not None else ("", 0)
        except Exception:  # a damaged table costs the lines of its file, whatever is wrong with it
            self._broken = True
            return "", 0

    def _table(self, offset: int, deadline: float) -> LineTable:
        table = self._known.get(offset)
        if table is None:
            if len(self._known) >= TABLES_MAX:
                self._known.clear()
            table = self._known[offset] = LineTable(self._lines, self._texts, offset, deadline)
        return table
