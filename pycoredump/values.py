"""From the text of a configuration value to what it means: sizes, times, kinds (coredump.conf(5), systemd.time(7)).

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

from pycoredump.errors import ConfigError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
INFINITY = 2**64 - 1
AUTOMATIC = -1  # MaxUse=, KeepFree=: a share of the file system, see admission.py
JOURNAL_SIZE_MAX = 767 * MIB  # journald refuses a data field of more than 768 MiB (journald-native.c)


def size(text: str) -> int:
    """Bytes from a number with an optional suffix B K M G T P E (base 1024). ConfigError if it is none."""
    number = text.rstrip("bB") if text[-1:] in "bB" else text
    shift = 10 * (1 + "KMGTPE".index(number[-1].upper())) if number[-1:].upper() in tuple("KMGTPE") else 0
    digits = number[:-1] if shift else number
    whole, _, part = digits.strip().partition(".")
    number_like = whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))
    if not number_like or len(digits) > 40:  # int() itself refuses some thousand digits
        raise ConfigError(
            f"{text[:80]!r} is not a size", hint="Write a number with K, M, G or T, as in 512M."
        )

    fraction = int(part) * (1 << shift) // 10 ** len(part) if part else 0
    return min((int(whole) << shift) + fraction, INFINITY)


def size_or_infinity(text: str) -> int:
    return INFINITY if text.lower() in ("infinity", "unlimited") else size(text)


def journal_size(text: str) -> int:
    return min(size_or_infinity(text), JOURNAL_SIZE_MAX)


def share(text: str) -> int:
    """A size, or nothing for the automatic share."""
    return size_or_infinity(text) if text else AUTOMATIC


def boolean(text: str) -> bool:
    if text.lower() in ("1", "yes", "y", "true", "t", "on"):
        return True
    if text.lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ConfigError(f"{text!r} is neither yes nor no")


def number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise ConfigError(f"{text!r} is not a whole number")
    return int(text)


def seconds(text: str) -> int:
    """Seconds from `600`, `10min`, `2w` (a number and one unit of systemd.time(7)); infinity is 0: never."""
    units = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
    if text.lower() in ("infinity", "never"):
        return 0

    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(digits) :].strip()
    if unit not in units or not digits or not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise ConfigError(
            f"{text!r} is not a time span", hint="Write a number and s, min, h, d or w, as in 10min."
        )
    return int(digits) * units[unit]


def storage(text: str) -> str:
    if text not in ("external", "journal", "none"):
        raise ConfigError(f"{text!r} is not a kind of storage", hint="Write external, journal or none.")
    return text


def level(text: str) -> int:
    value = number(text.removeprefix("-")) * (-1 if text.startswith("-") else 1)
    if not -7 <= value <= 19 or value == 0:
        raise ConfigError(
            f"{text!r} is not a level of zstd", hint="Write a number from 1 to 19, or -1 to -7."
        )
    return value


def absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text or "/../" in f"{text}/":
        raise ConfigError(f"{text!r} is not an absolute path")
    return text.rstrip("/") or "/"


def contents(text: str) -> tuple[tuple[str, str], ...]:
    """`full`, or several `PATTERN:KIND` and a last plain kind; the first pattern that matches wins."""
    rules = []
    for word in text.split():
        glob, colon, kind = word.rpartition(":")
        if kind not in ("full", "budget", "stacks"):
            raise ConfigError(
                f"{word!r} is not a kind of content", hint="Write full, budget, stacks or PATTERN:KIND."
            )
        rules.append((glob if colon else "*", kind))
    if not rules:
        raise ConfigError("No kind of content", hint="Write full, budget or stacks.")
    return tuple(rules)


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())
