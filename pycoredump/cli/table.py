"""A table as systemd's tools print it: columns as wide as they must be, cut where the terminal ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pycoredump.cli import screen
from pycoredump.cli.screen import Style

GREED = 0  # cut first


class Table:
    """Rows of shown text; `right` names the columns that are aligned to the right, `elastic` the one that is cut."""

    def __init__(self, names: Sequence[str], *, right: Sequence[str] = (), elastic: str = "") -> None:
        self.names = tuple(names)
        self.right = {self.names.index(name) for name in right}
        self.elastic = self.names.index(elastic) if elastic else -1
        self.rows: list[tuple[str, ...]] = []
        self.codes: list[dict[int, str]] = []  # colour of a cell, by column

    def add(self, *cells: str, codes: dict[int, str] | None = None) -> None:
        self.rows.append(cells)
        self.codes.append(codes or {})

    def lines(self, style: Style, *, legend: bool = True, width: int = 0) -> Iterator[str]:
        """The header and the rows; with `width`, the elastic column is cut to make them fit."""
        widths = self._widths(legend, width)
        if legend:
            yield self._line(
                self.names, widths, style, dict.fromkeys(range(len(self.names)), screen.UNDERLINE)
            )
        for cells, codes in zip(self.rows, self.codes, strict=True):
            yield self._line(cells, widths, style, codes)

    def _widths(self, legend: bool, width: int) -> list[int]:
        heads = self.names if legend else ("",) * len(self.names)
        widths = [max([len(head), *(len(row[i]) for row in self.rows)]) for i, head in enumerate(heads)]
        over = sum(widths) + len(widths) - 1 - width
        if width and over > 0 and self.elastic >= 0:
            widths[self.elastic] = max(len(heads[self.elastic]), 4, widths[self.elastic] - over)
        return widths

    def _line(self, cells: Sequence[str], widths: Sequence[int], style: Style, codes: dict[int, str]) -> str:
        parts = []
        for i, cell in enumerate(cells):
            text = cell if len(cell) <= widths[i] else cell[: widths[i] - 1] + "…"
            last = i == len(cells) - 1
            padded = text.rjust(widths[i]) if i in self.right else text if last else text.ljust(widths[i])
            parts.append(style.paint(padded, codes[i]) if i in codes else padded)
        return " ".join(parts)
