from __future__ import annotations

import pathlib

import pytest

from pycoredump import config, values
from pycoredump.options import BY_NAME, OPTIONS, Option

ROOT = pathlib.Path(__file__).parent.parent

# One other value for each option, and what it must become.
OTHER: dict[str, tuple[str, object]] = {
    "Storage": ("journal", "journal"),
    "Compress": ("no", False),
    "CompressionLevel": ("9", 9),
    "Directory": ("/srv/core", "/srv/core"),
    "ProcessSizeMax": ("1G", 1073741824),
    "ExternalSizeMax": ("infinity", 18446744073709551615),
    "JournalSizeMax": ("10M", 10485760),
    "MaxUse": ("5G", 5368709120),
    "KeepFree": ("0", 0),
    "Content": ("*/java:budget full", (("*/java", "budget"), ("*", "full"))),
    "Budget": ("1M", 1048576),
    "StackSizeMax": ("64K", 65536),
    "LockedMemory": ("no", False),
    "CloseThreshold": ("1G", 1073741824),
    "RateLimitIntervalSec": ("1h", 3600),
    "RateLimitBurst": ("5", 5),
    "KeepPerProgram": ("3", 3),
    "MaxAgeSec": ("infinity", 0),
    "RedactEnvironment": ("A* B", ("A*", "B")),
    "Analysis": ("off", False),
    "AnalysisTimeoutSec": ("5s", 5),
}


def ids(option: Option) -> str:
    return option.name


def test_each_option_is_tried_here() -> None:
    assert set(OTHER) == set(BY_NAME)


@pytest.mark.parametrize("option", OPTIONS, ids=ids)
def test_the_default_as_it_is_written_is_the_default_of_the_configuration(option: Option) -> None:
    assert option.parse(option.default) == getattr(config.Config(), option.field)


@pytest.mark.parametrize("option", OPTIONS, ids=ids)
def test_an_assignment_in_a_file_changes_its_field_and_no_other(
    option: Option, tmp_path: pathlib.Path
) -> None:
    text, expected = OTHER[option.name]
    (tmp_path / "pycoredump.conf").write_text(f"[Coredump]\n{option.name} = {text}\n")
    found, warnings = config.load(etc=str(tmp_path), lib="/nonexistent")
    assert warnings == []
    assert found == config.Config().replace(**{option.field: expected})


@pytest.mark.parametrize("option", OPTIONS, ids=ids)
def test_an_empty_assignment_brings_the_default_back_but_redacts_nothing(option: Option) -> None:
    text, _ = OTHER[option.name]
    changed = config.apply(config.Config(), config.Setting(where="f:1", name=option.name, value=text))
    back = config.apply(changed, config.Setting(where="f:2", name=option.name, value=""))
    nothing: object = () if option.name == "RedactEnvironment" else getattr(config.Config(), option.field)
    assert back == config.Config().replace(**{option.field: nothing})


def test_every_field_of_the_configuration_has_its_option() -> None:
    assert {option.field for option in OPTIONS} == set(config.Config._fields)


def test_the_options_of_coredump_conf_have_their_names() -> None:
    assert {
        "Storage", "Compress", "ProcessSizeMax", "ExternalSizeMax", "JournalSizeMax", "MaxUse", "KeepFree",
    } <= set(BY_NAME)  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS, ids=ids)
def test_the_shipped_example_shows_the_option_commented_out_at_its_default(option: Option) -> None:
    lines = (ROOT / "pycoredump.conf").read_text().splitlines()
    assert f"#{option.name}={option.default}" in lines


def test_the_shipped_example_sets_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pycoredump.conf").write_bytes((ROOT / "pycoredump.conf").read_bytes())
    assert config.load(etc=str(tmp_path), lib="/nonexistent") == (config.Config(), [])


def test_the_size_of_the_journal_is_what_journald_takes() -> None:
    assert values.JOURNAL_SIZE_MAX == 804257792
