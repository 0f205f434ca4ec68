from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import config
from pycoredump.config import Config
from pycoredump.errors import ConfigError


def write(root: pathlib.Path, name: str, text: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def load(root: pathlib.Path) -> tuple[Config, list[str]]:
    return config.load(etc=f"{root}/etc", lib=f"{root}/lib")


def test_without_files_everything_is_default_and_nobody_is_warned(tmp_path: pathlib.Path) -> None:
    assert load(tmp_path) == (Config(), [])


def test_etc_wins_over_lib_and_drop_ins_over_both(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "lib/pycoredump.conf", "[Coredump]\nBudget=1K\nRateLimitBurst=1\nKeepPerProgram=1\n")
    write(tmp_path, "etc/pycoredump.conf", "[Coredump]\nBudget=2K\nRateLimitBurst=2\n")
    write(tmp_path, "lib/pycoredump.conf.d/50-vendor.conf", "[Coredump]\nBudget=3K\n")
    found, warnings = load(tmp_path)
    assert (found.budget, found.rate_limit_burst, found.keep_per_program) == (3072, 2, 1)
    assert warnings == []


def test_drop_ins_are_read_in_the_order_of_their_names_wherever_they_are(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "lib/pycoredump.conf.d/60-b.conf", "[Coredump]\nBudget=6K\n")
    write(tmp_path, "etc/pycoredump.conf.d/50-a.conf", "[Coredump]\nBudget=5K\n")
    assert load(tmp_path)[0].budget == 6144


def test_a_drop_in_of_etc_hides_one_of_the_same_name_in_lib(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "lib/pycoredump.conf.d/50-a.conf", "[Coredump]\nBudget=5K\nKeepPerProgram=7\n")
    write(tmp_path, "etc/pycoredump.conf.d/50-a.conf", "")
    assert load(tmp_path) == (Config(), [])


def test_a_drop_in_that_links_to_dev_null_hides_one_of_the_same_name(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "lib/pycoredump.conf.d/50-a.conf", "[Coredump]\nBudget=5K\n")
    (tmp_path / "etc/pycoredump.conf.d").mkdir(parents=True)
    (tmp_path / "etc/pycoredump.conf.d/50-a.conf").symlink_to("/dev/null")
    assert load(tmp_path) == (Config(), [])


def test_files_of_other_names_are_no_drop_ins(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/pycoredump.conf.d/50-a.conf~", "[Coredump]\nBudget=5K\n")
    write(tmp_path, "etc/pycoredump.conf.d/README", "hello")
    assert load(tmp_path) == (Config(), [])


def test_comments_blanks_and_blank_lines_do_not_count(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path, "etc/pycoredump.conf", "# a\n; b\n\n  [Coredump]  \r\n\t Budget \t=  1K  \r\n#Budget=2K\n"
    )
    found, warnings = load(tmp_path)
    assert (found.budget, warnings) == (1024, [])


def test_the_last_assignment_wins(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/pycoredump.conf", "[Coredump]\nBudget=1K\nBudget=2K\n")
    assert load(tmp_path)[0].budget == 2048


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("Budget", "pycoredump.conf:2: 'Budget' is not an assignment, ignoring it"),
        ("Budget=much", "pycoredump.conf:2: Budget='much' is not a size, ignoring it"),
        ("budget=1K", "pycoredump.conf:2: 'budget' is not an option, ignoring it"),
        ("=1K", "pycoredump.conf:2: '' is not an option, ignoring it"),
        ("[Other]\nBudget=1K", "pycoredump.conf:3: 'Budget' stands outside section [Coredump], ignoring it"),
        ("Storage=both", "pycoredump.conf:2: Storage='both' is not a kind of storage, ignoring it"),
        ("Compress=zstd", "pycoredump.conf:2: Compress='zstd' is neither yes nor no, ignoring it"),
        (
            "CompressionLevel=20",
            "pycoredump.conf:2: CompressionLevel='20' is not a level of zstd, ignoring it",
        ),
        ("Directory=core", "pycoredump.conf:2: Directory='core' is not an absolute path, ignoring it"),
        ("MaxAgeSec=1y", "pycoredump.conf:2: MaxAgeSec='1y' is not a time span, ignoring it"),
        ("RateLimitBurst=-1", "pycoredump.conf:2: RateLimitBurst='-1' is not a whole number, ignoring it"),
        ("Content=all", "pycoredump.conf:2: Content='all' is not a kind of content, ignoring it"),
    ],
)
def test_a_bad_line_costs_one_warning_that_names_file_and_line_and_nothing_else(
    tmp_path: pathlib.Path, line: str, warning: str
) -> None:
    write(tmp_path, "etc/pycoredump.conf", f"[Coredump]\n{line}\n[Coredump]\nKeepPerProgram=7\n")
    found, warnings = load(tmp_path)
    assert found == Config().replace(keep_per_program=7)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{tmp_path}/etc/{warning}")


def test_a_line_before_any_section_is_named(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/pycoredump.conf", "Budget=1K\n")
    found, warnings = load(tmp_path)
    assert found == Config()
    assert warnings == [
        f"{tmp_path}/etc/pycoredump.conf:1: 'Budget' stands outside section [Coredump], ignoring it"
    ]


@pytest.mark.parametrize("line", ["Budget=" + "9" * 5000, "Budget=1." + "9" * 5000], ids=["whole", "part"])
def test_a_number_of_thousands_of_digits_costs_no_core(tmp_path: pathlib.Path, line: str) -> None:
    write(tmp_path, "etc/pycoredump.conf", f"[Coredump]\n{line}\nKeepPerProgram=7\n")
    assert load(tmp_path)[0].keep_per_program == 7


def test_bytes_that_are_no_utf8_cost_their_line_only(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/pycoredump.conf", b"[Coredump]\nBudget=\xff\xfe\nKeepPerProgram=7\n\x00\n")
    found, warnings = load(tmp_path)
    assert found == Config().replace(keep_per_program=7)
    assert len(warnings) == 2
    assert all(warning.isascii() for warning in warnings)


def test_a_warning_is_one_line_of_printable_text_of_bounded_length(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        "etc/pycoredump.conf",
        "[Coredump]\n\x1b[31mBudget=1\nBudget=\x1b[31m\nBudget=" + "x" * 9999,
    )
    _, warnings = load(tmp_path)
    assert len(warnings) == 3
    assert all(warning.isprintable() for warning in warnings)
    assert all(len(warning) < 4000 for warning in warnings)


def test_a_value_of_thousands_of_characters_is_ignored(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/pycoredump.conf", "[Coredump]\nDirectory=/" + "x" * 2048)
    assert load(tmp_path) == (
        Config(),
        [f"{tmp_path}/etc/pycoredump.conf:2: Directory= is longer than 2048 characters, ignoring it."],
    )


def test_a_directory_in_the_place_of_the_file_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/pycoredump.conf").mkdir(parents=True)
    assert load(tmp_path) == (
        Config(),
        [f"Cannot read {tmp_path}/etc/pycoredump.conf: Is a directory, ignoring it"],
    )


def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/pycoredump.conf")
    assert load(tmp_path)[0] == Config()


def test_a_file_that_ends_in_a_loop_of_links_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/pycoredump.conf").symlink_to("pycoredump.conf")
    _, warnings = load(tmp_path)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"Cannot read {tmp_path}/etc/pycoredump.conf: ")


def test_only_the_first_mebibyte_of_a_file_is_read(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/pycoredump.conf", "[Coredump]\n" + "#" * (1 << 20) + "\nBudget=1K\n")
    assert load(tmp_path) == (Config(), [])


def test_applying_an_unknown_option_is_an_error_that_names_where() -> None:
    with pytest.raises(ConfigError, match="f:3: 'Colour' is not an option"):
        config.apply(Config(), config.Setting(where="f:3", name="Colour", value="red"))


texts = st.text(st.sampled_from("[]Coredump=#;\n\r\t \\\x1b\x85\u2028BudgetStorage019K\udcff"), max_size=80)


@given(texts)
def test_any_text_gives_settings_or_warnings_each_with_its_line(text: str) -> None:
    lines = text.splitlines()
    for found in config.settings(text, "file"):
        where = found if isinstance(found, str) else found.where
        assert where.startswith("file:")
        assert 1 <= int(where.split(":")[1]) <= len(lines)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_configuration(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    write(root, "etc/pycoredump.conf", b"[Coredump]\nBudget=" + data)
    assert load(root)[0].directory == "/var/core"
