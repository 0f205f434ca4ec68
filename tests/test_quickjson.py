from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import quickjson

ROOT = pathlib.Path(__file__).parents[1]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_it_writes_what_the_package_writes(value: object) -> None:
    assert quickjson.dumps(value) == json.dumps(value, separators=(",", ":"))


@given(values)
def test_it_reads_what_the_package_writes(value: object) -> None:
    text = json.dumps(value, indent=1)
    assert quickjson.loads(f" \n{text}\t\r\n") == value
    assert quickjson.loads(text.encode()) == value


@given(st.text(max_size=20) | st.text(st.sampled_from('[]{}",:0123456789eE+-.truefalsn \n'), max_size=20))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = ValueError
    if expected is ValueError or "NaN" in text or "Infinity" in text:
        with pytest.raises(ValueError, match=r"(?s).+"):
            quickjson.loads(text)
    else:
        assert quickjson.loads(text) == expected


def test_lone_surrogates_come_back_as_they_went() -> None:
    text = b"\xff/x".decode("utf-8", "surrogateescape")
    assert quickjson.loads(quickjson.dumps(text)) == text


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1 2", "", "[1,]", "{'a':1}", "\ufeff1"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"(?s).+"):
        quickjson.loads(text)


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes is nothing that JSON has"):
        quickjson.dumps({"a": b"x"})


def test_nesting_without_end_is_an_error() -> None:
    with pytest.raises((RecursionError, ValueError)):
        quickjson.loads("[" * 100_000)


def test_a_python_that_has_changed_is_served_by_the_package() -> None:
    code = (
        "import sys, _json; del _json.make_scanner, _json.make_encoder; from pycoredump import quickjson;"
        "print(quickjson.loads(quickjson.dumps([1, 'a'])), 'json' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[1, 'a'] True\n"


@pytest.mark.parametrize("text", ['{"version":1,', '{"a"', "{", '{"a" 1}', "[1 2]", '{"a":1 "b"'])
def test_damaged_text_is_refused_where_the_package_is_not_loaded(text: str) -> None:
    code = f"""
import sys
sys.path.insert(0, {os.fspath(ROOT)!r})
from pycoredump import quickjson
try:
    quickjson.loads({text!r})
except ValueError:
    print("refused", "json.decoder" in sys.modules)
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("refused"), done.stderr
