"""Shell profiles that lower the core limit."""

from __future__ import annotations

import pytest

from pycoredump.configure import profile
from pycoredump.configure.tree import Tree

LIMIT = 1 << 30


def found(text: str, path: str = "/etc/profile") -> list[str]:
    tree = Tree("/nonexistent")
    tree.write(path, text)
    return [f"{item.file}:{item.line}: {item.found}" for item in profile.inspect(tree, LIMIT)]


@pytest.mark.parametrize(
    "line",
    [
        "ulimit -c 0",
        "\tulimit -S -c 0 > /dev/null 2>&1",
        "ulimit -Sc 0",
        "ulimit -cH 0",
        "[ $UID -gt 0 ] && ulimit -S -c 0",
        "if true; then ulimit -c 4; fi",
        "(ulimit -c 1048575)",
    ],
)
def test_a_line_that_lowers_the_limit_is_named(line: str) -> None:
    assert found(f"# x\n{line}\n") == [f"/etc/profile:2: {line.strip()}"]


@pytest.mark.parametrize(
    "line",
    [
        "ulimit -c unlimited",
        "ulimit -c 1048576",
        "# ulimit -c 0",
        "ulimit -c",
        "ulimit -n 0",
        "ulimit -v 0 # -c 0",
        "myulimit -c 0",
        "echo ulimit -c 0",
    ],
)
def test_other_lines_are_none(line: str) -> None:
    assert found(f"{line}\n") == []


def test_only_what_a_shell_reads_is_looked_at() -> None:
    assert found("ulimit -c 0\n", "/etc/profile.d/limits.sh") == ["/etc/profile.d/limits.sh:1: ulimit -c 0"]
    assert found("ulimit -c 0\n", "/etc/profile.d/limits.sh.rpmsave") == []


def test_it_does_not_decide() -> None:
    tree = Tree("/nonexistent")
    tree.write("/etc/profile", "ulimit -c 0\n")
    assert [item.holds() for item in profile.inspect(tree, LIMIT)] == [True]
