"""Numbers that others wrote."""

from __future__ import annotations

import pytest

from pycoredump.configure.number import LARGE, natural


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("007", 7),
        ("18446744073709551615", 2**64 - 1),
        ("99999999999999999999", LARGE),
        ("9" * 5000, LARGE),  # int() refuses more than 4300 digits with a ValueError
        ("0" * 5000 + "1", 1),
        ("", None),
        ("-1", None),
        ("1.", None),
        ("٣", None),
        ("²", None),
    ],
)
def test_natural_numbers(text: str, expected: int | None) -> None:
    assert natural(text) == expected
