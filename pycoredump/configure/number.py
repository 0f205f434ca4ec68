"""Numbers in files of others: any count of digits, in any script, is no reason for a traceback or a long wait."""

from __future__ import annotations

LARGE = 2**64  # what every larger number counts as: no limit, id or count here has more than 64 bits


def natural(text: str) -> int | None:
    """The number, at most LARGE; None for what is no row of ASCII digits."""
    if not (text.isascii() and text.isdecimal()):
        return None

    digits = text.lstrip("0")
    return min(int(digits or "0"), LARGE) if len(digits) <= len(str(LARGE)) else LARGE
