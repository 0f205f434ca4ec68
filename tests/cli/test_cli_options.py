"""The command line, its completions and its manual say the same."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from cli_system import CHECKOUT, clean_environment

from pycoredump.cli import matches, options
from pycoredump.errors import ArgumentError

FLAGS = {f"--{one.name}" for one in options.OPTIONS if one.name} | {
    f"-{one.short}" for one in options.OPTIONS if one.short
}
VERBS = {verb.name for verb in options.VERBS}


def test_options_may_stand_anywhere_and_be_shortened() -> None:
    command = options.parse(["-r", "list", "--no-l", "prog", "-n5", "--js", "short", "42"])
    assert command.verb == "list"
    assert command.arguments == ("prog", "42")
    assert command.options == {"reverse": [""], "no-legend": [""], "n": ["5"], "json": ["short"]}


def test_the_verb_is_list_where_none_is_named() -> None:
    assert options.parse([]).verb == "list"
    assert options.parse(["-1"]).verb == "list"
    assert options.parse(["gdb"]).verb == "debug"


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["list", "--max-use=1"], ["vacuum", "--since=now"], ["--output=x"], ["list", "-n"], ["--json=xml"],
     ["list", "-D", "a", "--root", "b"], ["status", "--root=/"], ["dump", "--thread=1", "--thread=2"]],
    ids=" ".join,
)  # fmt: skip
def test_a_mistake_is_told(words: list[str]) -> None:
    with pytest.raises(ArgumentError):
        options.parse(words)


def test_help_names_everything() -> None:
    text = options.usage()
    assert set(re.findall(r"(?<![\w-])--?[a-zA-Z0-9][a-z-]*", text)) >= FLAGS
    assert all(f"  {verb} " in text for verb in VERBS)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("42", ("COREDUMP_PID", "42")), ("prog", ("COREDUMP_COMM", "prog")), ("/usr//bin/x", ("COREDUMP_EXE", "/usr/bin/x")),
        ("_BOOT_ID=a=b", ("_BOOT_ID", "a=b")), ("COREDUMP_UNIT=", ("COREDUMP_UNIT", "")), ("٤٢", ("COREDUMP_COMM", "٤٢")),
    ],
)  # fmt: skip
def test_a_match_is_a_field_and_a_value(word: str, expected: tuple[str, str]) -> None:
    assert matches.parse([word]).terms == (expected,)


@pytest.mark.parametrize("word", ["", "lower=1", "=x", "A B=1", "/no/such.zst"])
def test_what_is_no_match_is_refused(word: str) -> None:
    with pytest.raises(ArgumentError):
        matches.parse([word])


def test_an_executable_is_no_archive() -> None:
    assert not matches.is_archive(os.path.realpath("/bin/sh"))


def test_the_manual_describes_every_verb_and_option() -> None:
    text = (CHECKOUT / "man/pycoredumpctl.1").read_text()
    items = {line.replace("\\-", "-") for line in text.splitlines() if line.startswith(".It ")}
    found = {f"-{flag}" for item in items for flag in re.findall(r"Fl ([^ ]+)", item)}
    assert found == FLAGS
    assert {item.split()[2] for item in items if item.startswith(".It Cm")} == VERBS


def test_the_manual_has_the_words_of_the_column() -> None:
    text = (CHECKOUT / "man/pycoredumpctl.1").read_text()
    for word in ("present", "reduced", "truncated", "journal", "missing", "inaccessible", "none", "error"):
        assert f".It {word}\n" in text


@pytest.mark.parametrize("path", ["completions/bash/pycoredumpctl", "completions/zsh/_pycoredumpctl"])
def test_completions_know_every_verb_and_option(path: str) -> None:
    text = (CHECKOUT / path).read_text()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*|(?<![\w-])-[a-zA-Z0-9](?![\w-])", text)) >= FLAGS
    assert all(verb in text for verb in VERBS)


def test_fish_completions_know_every_verb_and_option() -> None:
    lines = (CHECKOUT / "completions/fish/pycoredumpctl.fish").read_text().splitlines()
    text = "\n".join(line for line in lines if line.startswith("complete "))
    known = {f"--{name}" for name in re.findall(r" -l ([a-z-]+)", text)} | {
        f"-{c}" for c in re.findall(r" -s (\w)", text)
    }
    assert known == FLAGS
    assert all(f" -a {verb} " in text for verb in VERBS)


@pytest.mark.parametrize(
    ("shell", "path"),
    [("bash", "bash/pycoredumpctl"), ("zsh", "zsh/_pycoredumpctl"), ("fish", "fish/pycoredumpctl.fish")],
    ids=["bash", "zsh", "fish"],
)
def test_completions_can_be_read_by_their_shell(shell: str, path: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    subprocess.run([shell, "-n", CHECKOUT / "completions" / path], check=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("st", ["stats", "status"]),
        ("vacuum --max", ["--max-use"]),
        ("list --json=s", ["--json=short"]),
        ("info go", ["good"]),
    ],
)
def test_fish_offers_verbs_options_and_crashes(
    tmp_path: pathlib.Path, words: str, offered: list[str]
) -> None:
    if not shutil.which("fish"):
        pytest.skip("needs fish")
    tool = tmp_path / "pycoredumpctl"
    tool.write_text("#!/bin/sh\nprintf '%s\\n' good 4711\n")
    tool.chmod(0o755)
    environment = clean_environment(HOME=os.fspath(tmp_path))
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run(
        ["fish", "-c", "source $argv[1]; complete -C \"pycoredumpctl $argv[2]\"",
         CHECKOUT / "completions/fish/pycoredumpctl.fish", words],
        capture_output=True, text=True, check=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == offered


def complete(tmp_path: pathlib.Path, *words: str) -> list[str]:
    """What bash offers for the last word; crashes of programs with names of their own choice are known."""
    tool = tmp_path / "pycoredumpctl"
    tool.write_text(
        "#!/bin/sh\nprintf '%s\\n' good '$(touch pwned)' '`touch pwned`' '$HOME' 'two words' 4711\n"
    )
    tool.chmod(0o755)
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pycoredumpctl; printf "%s\\n" "${COMPREPLY[@]}"'
    environment = clean_environment()
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script, "bash", CHECKOUT / "completions/bash/pycoredumpctl", *words],
        capture_output=True, text=True, check=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    return done.stdout.split()


def test_bash_offers_verbs_options_and_crashes(tmp_path: pathlib.Path) -> None:
    assert complete(tmp_path, "pycoredumpctl", "st") == ["stats", "status"]
    assert complete(tmp_path, "pycoredumpctl", "vacuum", "--max") == ["--max-use="]
    assert complete(tmp_path, "pycoredumpctl", "list", "--json", "=", "s") == ["short"]
    assert set(complete(tmp_path, "pycoredumpctl", "info", "go")) == {"good"}


def test_a_name_of_a_program_is_no_command_to_bash(tmp_path: pathlib.Path) -> None:
    assert sorted(set(complete(tmp_path, "pycoredumpctl", "info", ""))) == ["4711", "good"]
    assert not (tmp_path / "pwned").exists()
