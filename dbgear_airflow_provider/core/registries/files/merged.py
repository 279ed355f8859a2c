"""Cells of a spreadsheet that are merged over several rows."""

from __future__ import annotations

import re
from collections import defaultdict

from ...errors import RegistryRecordError
from .table import Cell

MAX_MERGED = 100_000

_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref="\$?([A-Z]{1,3})\$?(\d{1,7}):\$?[A-Z]{1,3}\$?(\d{1,7})"')
_LETTERS = 26


class MergedCells:
    """The merged ranges of a sheet, and what those that the rows are in just now hold.

    A range holds one value, which stands in its first row: a person sees it in all of them. The other columns of a
    range stay empty.
    """

    def __init__(self) -> None:
        self._last_rows: dict[int, dict[int, int]] = defaultdict(dict)  # first row: {place of the column: last row}
        self._current: dict[int, tuple[int, Cell]] = {}  # place of the column: (last row, value)

    def find(self, xml: bytes) -> None:
        """Take the ranges from a part of a sheet's XML, of which parts may overlap."""
        for letters, first, last in _MERGED.findall(xml):
            if int(first) < int(last):
                self._last_rows[int(first)][_place(letters)] = int(last)
        if len(self._last_rows) > MAX_MERGED:
            raise RegistryRecordError("too many merged cells", where="the sheet", allowed=f"{MAX_MERGED} at the most")

    def spread(self, row: int, cells: list[Cell]) -> list[Cell]:
        """Return the cells of a row with what merged cells above them hold; a row of no cells of its own stays so.

        Rows must come in order.
        """
        is_empty = all(cell == "" for cell in cells)
        for place, (last, value) in list(self._current.items()):
            if row > last:
                del self._current[place]
            elif not is_empty and value != "":
                cells += [""] * (place + 1 - len(cells))
                cells[place] = value
        for place, last in self._last_rows.get(row, {}).items():
            self._current[place] = (last, cells[place] if place < len(cells) else "")
        return cells


def _place(letters: bytes) -> int:
    """Return the place of a column, A being 0."""
    number = 0
    for letter in letters:
        number = number * _LETTERS + letter - ord("A") + 1
    return number - 1
