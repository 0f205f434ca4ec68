"""From an address to a Frame: module, function, offset, source line."""

from __future__ import annotations

import os
import time

from pycoredump.analysis import demangle
from pycoredump.analysis.image import Image
from pycoredump.analysis.model import Frame
from pycoredump.analysis.symbols import Symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycoredump.analysis.lines import Lines


class Resolver:
    """Names frames; what it looked up once it keeps."""

    def __init__(
        self, image: Image, symbols: Symbols, lines: Lines | None = None, deadline: float | None = None
    ) -> None:
        self._image = image
        self._symbols = symbols
        self._lines = lines
        self._deadline = deadline  # time.monotonic() after which frames stay without names
        self._known: dict[tuple[int, bool], Frame] = {}

    def frame(self, pc: int, *, exact: bool, guess: bool = False, signal: bool = False) -> Frame:
        """The frame at `pc`. Unless `exact`, pc is a return address: the call before it is what is named."""
        frame = self._known.get((pc, exact))
        if frame is None:
            frame = self._known[pc, exact] = self._frame(pc, pc if exact else pc - 1)
        if guess or signal:
            return frame.replace(guess=guess, signal_frame=signal)
        return frame

    def _frame(self, pc: int, address: int) -> Frame:
        module = self._image.module(address)
        if module is None:
            return Frame(pc=pc)

        late = self._deadline is not None and time.monotonic() > self._deadline
        found = None if late else self._symbols.find(module, address)
        file, line = self._lines.find(module, address) if self._lines else ("", 0)
        return Frame(
            pc=pc,
            symbol=demangle.demangle(found.name) if found else "",
            symbol_offset=pc - found.address if found else 0,
            module=os.path.basename(module.path),
            module_path=module.path,
            module_offset=pc - module.bias,
            build_id=module.build_id,
            file=file,
            line=line,
        )
