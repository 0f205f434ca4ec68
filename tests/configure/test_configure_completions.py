"""The parser, the completions and the manual page say the same."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from pycoredump.configure import options, sysctl

CHECKOUT = pathlib.Path(__file__).parents[2]
BASH = CHECKOUT / "completions/bash/pycoredump-configure"


def flags() -> dict[str, set[str]]:
    """The flags of each verb."""
    [verbs] = [a for a in options.parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {
        name: {flag for a in verb._actions for flag in a.option_strings}
        for name, verb in verbs.choices.items()
    }


OPTIONS = flags()
ALL = set().union(*OPTIONS.values())


def needs(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")


def complete(*words: str, cwd: pathlib.Path = CHECKOUT) -> list[str]:
    """What bash offers for the last word."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pycoredump_configure; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", BASH, "pycoredump-configure", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
    )
    return done.stdout.split()


def test_bash_offers_the_verbs_and_each_verbs_options() -> None:
    needs("bash")
    assert complete("") == ["check", "apply", "revert", "-h", "--help", "--version"]
    assert complete("re") == ["revert"]
    for verb, flags in OPTIONS.items():
        assert {word.rstrip("=") for word in complete(verb, "-")} == flags


def test_bash_offers_values(tmp_path: pathlib.Path) -> None:
    needs("bash")
    (tmp_path / "image").mkdir()
    (tmp_path / "file").touch()
    assert complete("apply", "--mode", "=", "p") == ["pipe"]
    assert complete("apply", "--mode", "f") == ["file"]
    assert complete("check", "--core-limit", "u") == ["unlimited"]
    assert complete("check", "--root", "", cwd=tmp_path) == ["image"]
    assert "root" in complete("apply", "--domain", "=", "roo")
    assert "@root" in complete("apply", "--domain", "@roo")


def test_fish_offers_the_verbs_and_each_verbs_options(tmp_path: pathlib.Path) -> None:
    needs("fish")
    environment = {**os.environ, "HOME": os.fspath(tmp_path), "XDG_CONFIG_HOME": os.fspath(tmp_path)}

    def offered(words: str) -> set[str]:
        script = f"source {CHECKOUT}/completions/fish/pycoredump-configure.fish; complete -C 'pycoredump-configure {words}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        return {line.split("\t")[0] for line in done.stdout.splitlines()}

    assert offered("") == {"check", "apply", "revert"}
    for verb, flags in OPTIONS.items():
        assert offered(f"{verb} -") == flags
    assert offered("apply --mode ") == {"pipe", "file"}
    assert {"root", "@root", "*"} <= offered("apply --domain ")


def test_zsh_names_every_verb_and_option() -> None:
    text = (CHECKOUT / "completions/zsh/_pycoredump-configure").read_text()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*|(?<![\w-])-h(?![\w-])", text)) == ALL | {"--version"}
    assert all(f"'{verb}:" in text for verb in OPTIONS)


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", "bash/pycoredump-configure"),
        ("zsh", "zsh/_pycoredump-configure"),
        ("fish", "fish/pycoredump-configure.fish"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_each_can_be_read_by_its_shell(shell: str, path: str) -> None:
    needs(shell)
    subprocess.run([shell, "-n", CHECKOUT / "completions" / path], check=True)


def test_the_manual_names_every_verb_option_and_item() -> None:
    page = (CHECKOUT / "man/pycoredump-configure.8").read_text()
    synopsis, _, rest = page.partition(".Sh DESCRIPTION")
    for verb, flags in OPTIONS.items():
        of_verb = re.search(rf"\.Cm {verb}\n(.*?)(?=\n\.Nm|\Z)", synopsis, re.DOTALL)
        assert of_verb is not None
        long = {flag[1:] for flag in flags if flag.startswith("--")} - {"-help"}
        assert set(re.findall(r"Fl (-[a-z-]+)", of_verb[1])) == long
        assert f".It Cm {verb}\n" in rest
    for flag in ALL - {"-h", "--help"}:
        assert f".It Fl {flag[1:]}" in rest
    for key in (*sysctl.ORDER, "DefaultLimitCORE", "UsePAM yes", "/var/lib/pycoredump/configure.json"):
        assert key in page
