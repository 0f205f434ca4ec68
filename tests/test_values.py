from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import values
from pycoredump.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1B", 1),
        ("1K", 1024),
        ("1k", 1024),
        ("512M", 536870912),
        ("2G", 2147483648),
        ("1T", 1099511627776),
        ("1P", 1125899906842624),
        ("1E", 1152921504606846976),
        ("1.5G", 1610612736),
        ("0.5K", 512),
        ("1 G", 1073741824),
        ("16E", 18446744073709551615),
        ("1KB", 1024),
        ("1.", 1),
        ("99999999999999999999999", 18446744073709551615),
    ],
)
def test_sizes_are_read_with_base_1024(text: str, expected: int) -> None:
    assert values.size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "B", "K", "-1", "+1", "1.5.5", "1X", "G1", "1KK", "0x10", "1_0", "٣", "½", "1 0"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        values.size(text)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "0." + "9" * 5000, "1." + "0" * 5000 + "K"], ids=["whole", "part", "zeros"]
)
def test_a_size_of_thousands_of_digits_is_refused_in_few_words(text: str) -> None:
    # int() itself refuses more than 4300 digits with a ValueError.
    with pytest.raises(ConfigError, match="is not a size") as caught:
        values.size(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["infinity", "unlimited", "Infinity"])
def test_infinity_is_a_size_where_there_may_be_no_limit(text: str) -> None:
    assert values.size_or_infinity(text) == 2**64 - 1
    with pytest.raises(ConfigError):
        values.size(text)


def test_a_journal_size_above_what_journald_takes_is_cut_to_767_mib() -> None:
    assert values.journal_size("1G") == 804257792
    assert values.journal_size("infinity") == 804257792
    assert values.journal_size("1M") == 1048576


def test_an_empty_share_is_the_automatic_one() -> None:
    assert values.share("") == -1
    assert values.share("0") == 0


@pytest.mark.parametrize("text", ["1", "yes", "Y", "true", "T", "on", "ON"])
def test_words_for_yes(text: str) -> None:
    assert values.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "no", "N", "false", "F", "off"])
def test_words_for_no(text: str) -> None:
    assert values.boolean(text) is False


@pytest.mark.parametrize("text", ["", "2", "ja", "yes please"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="neither yes nor no"):
        values.boolean(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("600", 600),
        ("30s", 30),
        ("30sec", 30),
        ("10min", 600),
        ("10m", 600),
        ("10 min", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("2w", 1209600),
        ("infinity", 0),
        ("never", 0),
    ],
)
def test_time_spans_are_read_as_seconds(text: str, expected: int) -> None:
    assert values.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "min", "-1s", "1.5h", "1y", "1h30m", "٣s", "9999999999999s"])
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a time span"):
        values.seconds(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "ten", "1234567890123"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a whole number"):
        values.number(text)


@pytest.mark.parametrize("level", [1, 3, 19, -1, -7])
def test_levels_of_zstd_are_taken(level: int) -> None:
    assert values.level(str(level)) == level


@pytest.mark.parametrize("text", ["0", "20", "-8", "fast", "", "--1"])
def test_other_levels_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        values.level(text)


@pytest.mark.parametrize("text", ["external", "journal", "none"])
def test_kinds_of_storage_are_taken(text: str) -> None:
    assert values.storage(text) == text


@pytest.mark.parametrize("text", ["", "External", "both"])
def test_other_kinds_of_storage_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a kind of storage"):
        values.storage(text)


@pytest.mark.parametrize(("text", "expected"), [("/var/core", "/var/core"), ("/a/", "/a"), ("/", "/")])
def test_an_absolute_path_loses_the_slash_at_its_end(text: str, expected: str) -> None:
    assert values.absolute(text) == expected


@pytest.mark.parametrize("text", ["", "var/core", "./a", "/a/../b", "/a/..", "/a\0b"])
def test_other_paths_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an absolute path"):
        values.absolute(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("full", (("*", "full"),)),
        ("stacks", (("*", "stacks"),)),
        ("qemu-*:stacks full", (("qemu-*", "stacks"), ("*", "full"))),
        ("/opt/a:b:budget", (("/opt/a:b", "budget"),)),
        (":full", (("", "full"),)),
    ],
)
def test_contents_are_pairs_of_pattern_and_kind(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert values.contents(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "all", "full:", "qemu:all", "full,stacks"])
def test_other_contents_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        values.contents(text)


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_config_error(text: str) -> None:
    for parse in (
        values.size, values.size_or_infinity, values.journal_size, values.share, values.boolean, values.number,
        values.seconds, values.storage, values.level, values.absolute, values.contents, values.words,
    ):  # fmt: skip
        with contextlib.suppress(ConfigError):
            parse(text)
