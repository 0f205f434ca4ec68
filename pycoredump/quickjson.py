"""JSON by the C part of the standard library's json: the package itself costs each crash 8 ms of imports.

What it cannot do without the package (a Python that has changed) the package does. The package's own module
of errors is imported when text is damaged; where that cannot be (in the sandbox), it is a ValueError all the same.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scan = Callable[[str, int], tuple[object, int]]


class _Rules:
    """What _json.make_scanner() wants to know (json.JSONDecoder has the same attributes)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> object:
        raise ValueError(f"{name} is no number of JSON")


def loads(data: bytes | str) -> object:
    """The value. ValueError if it is no JSON, RecursionError if it is too deep."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogatepass")
    try:
        scan = _scanner()
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text)
    try:
        value, end = scan(text, _blank(text, 0))
    except (StopIteration, ImportError, OSError, SystemError):
        # Without json.decoder among the loaded modules, 3.11's scanner fails and does not say of what (_json.c raise_errmsg).
        raise ValueError("Not JSON") from None
    if _blank(text, end) != len(text):
        raise ValueError("Not JSON: something stands behind its end")
    return value


def dumps(value: object) -> str:
    """The text, in ASCII, without blanks. TypeError for what JSON has not."""
    try:
        encode = _encoder()
    except (ImportError, AttributeError, TypeError):
        import json

        return json.dumps(value, separators=(",", ":"))
    return "".join(encode(value, 0))


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\n\r":
        at += 1
    return at


def _scanner() -> Scan:
    import _json

    rules: Any = _Rules  # typeshed wants a whole JSONDecoder
    scan: Scan = _json.make_scanner(rules)
    return scan


def _encoder() -> Callable[[object, int], tuple[str, ...]]:
    import _json

    # markers, default, encoder, indent, key_separator, item_separator, sort_keys, skipkeys, allow_nan
    make: Any = _json.make_encoder
    encode: Callable[[object, int], tuple[str, ...]] = make(
        None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False
    )
    return encode


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")
