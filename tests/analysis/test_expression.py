"""DWARF expressions."""

from __future__ import annotations

import pytest

from pycoredump.analysis.expression import evaluate, sleb, uleb
from pycoredump.errors import CoreError


def read(address: int, size: int) -> bytes:
    return (address * 3).to_bytes(16, "little")[:size]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("7708", 0x108),  # breg7 8
        ("770806", 0x318),  # ... deref
        ("77089404", 0x318),  # ... deref_size 4
        # the expression in every .plt: rsp + 8 + ((rip & 15) >= 11) * 8
        ("770880003f1a3b2a332422", 0x110),
        ("36331e", 18),
        ("08ff09ff", (1 << 64) - 1),
        ("31 30 28 0100 3a", 10),  # a branch not taken
        ("31 31 28 0100 3a", 1),  # one taken
        ("31 2f 0100 3a", 1),
        ("3132 16 1c", 1),  # swap, minus
        ("313233 17 1c 1c", 4),  # rot: 3 1 2
        ("31 1f 19", 1),  # neg, abs
        ("31 1f 32 26", (1 << 64) - 1),  # arithmetic shift
        ("31 1f 08 3f 25", 1),  # logical shift
    ],
)
def test_operations(code: str, value: int) -> None:
    assert evaluate(bytes.fromhex(code), {7: 0x100, 16: 0xB}, read) == value


def test_the_cfa_is_what_register_rules_start_with() -> None:
    assert evaluate(bytes.fromhex("2308"), {}, read, 0x1000) == 0x1008


@pytest.mark.parametrize(
    "code",
    [
        "",
        "06",
        "22",
        "3130 1b",
        "3130 1d",
        "2ffdff",
        "28",
        "0e00",
        "7800",
        "ff",
        "2f7f7f",
        "319403",
        "17",
        "10ff",
        "15",
    ],
)
def test_nonsense_is_an_error_and_ends(code: str) -> None:
    with pytest.raises(CoreError):
        evaluate(bytes.fromhex(code), {7: 1}, read)


def test_a_growing_stack_is_an_error() -> None:
    with pytest.raises(CoreError, match="does not end"):
        evaluate(b"\x31" + b"\x12" * 500, {}, read)


def test_leb128() -> None:
    assert uleb(b"\xe5\x8e\x26", 0) == (624485, 3)
    assert sleb(b"\x80\x7f", 0) == (-128, 2)
    with pytest.raises(CoreError):
        uleb(b"\x80" * 30, 0)
