from __future__ import annotations

import json
import os

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import metadata


def test_fields_are_json_with_a_version() -> None:
    assert metadata.to_json({"A": b"1", "B": b'x"\\\n\t\x1b'}) == (
        b'{"version":1,"fields":{"A":"1","B":"x\\"\\\\\\n\\t\\u001b"}}'
    )


def test_no_fields_are_json_too() -> None:
    assert json.loads(metadata.to_json({})) == {"version": 1, "fields": {}}


names = st.text(st.sampled_from("ABC_09"), min_size=1, max_size=5)


@given(st.dictionaries(names, st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read_back_from_json(fields: dict[str, bytes]) -> None:
    found = json.loads(metadata.to_json(fields))["fields"]
    assert {name: os.fsencode(value) for name, value in found.items()} == fields


@given(st.dictionaries(names, st.text(max_size=60), max_size=4))
def test_any_text_is_read_back_from_json(fields: dict[str, str]) -> None:
    coded = {name: value.encode() for name, value in fields.items()}
    assert json.loads(metadata.to_json(coded))["fields"] == fields


def test_the_frame_is_our_tag_and_a_zstd_frame() -> None:
    frame = metadata.frame({"A": b"1" * 1000})
    assert frame[:8] == b"PYCORE1\n"
    text = zstandard.ZstdDecompressor().decompress(frame[8:])
    assert json.loads(text)["fields"] == {"A": "1" * 1000}
    assert len(frame) < 200
