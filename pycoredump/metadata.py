"""The archive's metadata: the journal's fields and what was kept, as JSON in a zstd frame behind our tag.

Runs before the release: tests/test_hot_path.py lists what this module may import. Writing JSON takes one
table here; the package json would cost each crash 5 ms.
"""

from __future__ import annotations

from pycoredump import zstd
from pycoredump.archive import METADATA_TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
LEVEL = 3

# Undecodable bytes come as lone surrogates (surrogateescape) and stay so, as \udcXX: json.loads gives them back.
_ESCAPES = {c: f"\\u{c:04x}" for c in [*range(0x20), 0x7F, *range(0xDC80, 0xDD00)]}
_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\t"): "\\t"}


def to_json(fields: Mapping[str, bytes]) -> bytes:
    """{"version": 1, "fields": {NAME: TEXT, ...}} in ASCII-safe UTF-8."""
    rows = (
        f"{_string(name)}:{_string(value.decode('utf-8', 'surrogateescape'))}"
        for name, value in fields.items()
    )
    return f'{{"version":{VERSION},"fields":{{{",".join(rows)}}}}}'.encode()


def frame(fields: Mapping[str, bytes]) -> bytes:
    """The contents of the skippable frame."""
    compress, _ = zstd.compressor(LEVEL)
    return METADATA_TAG + (compress or zstd.raw)(memoryview(to_json(fields)))


def _string(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
