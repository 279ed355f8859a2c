"""Tables for a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return lines of cells, one a row, each column as wide as its widest cell. No cell may have a line break."""
    lines = [header, *rows]
    *padded, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    widths = [*padded, 0]  # the last column is mostly text, and long
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
