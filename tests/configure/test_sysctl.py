"""sysctl.d: which file wins, and files of ours where ours does not."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump.configure import lines, sysctl, sysctl_plan
from pycoredump.configure.tree import Tree

SHIPPED = pathlib.Path(__file__).parents[2] / "sysctl.d" / sysctl.NAME


def host(**files: str) -> Tree:
    """A tree in memory; names as etc_50_x, usr_60_pycoredump; conf is /etc/sysctl.conf."""
    tree = Tree("/nonexistent")
    for name, text in files.items():
        where, _, rest = name.partition("_")
        directory = {"etc": "/etc/sysctl.d", "run": "/run/sysctl.d", "usr": "/usr/lib/sysctl.d"}.get(
            where, ""
        )
        path = f"{directory}/{rest.replace('_', '-')}.conf" if directory else sysctl.CONF
        tree.write(path, text)
    return tree


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"usr_50_a": "kernel.core_pattern=a", "usr_60_b": "kernel.core_pattern=b"}, ["b"]),
        ({"etc_50_a": "kernel.core_pattern=etc", "usr_50_a": "kernel.core_pattern=usr"}, ["etc"]),
        ({"run_50_a": "kernel.core_pattern=run", "usr_50_a": "kernel.core_pattern=usr"}, ["run"]),
        ({"etc_50_a": "-kernel/core_pattern = |/x  %P \r\n"}, ["|/x  %P"]),
        ({"etc_50_a": "kernel.*=no\n", "usr_10_b": "kernel.core_pattern=yes\n"}, ["yes"]),
        ({"etc_50_a": "# kernel.core_pattern=x\n;kernel.core_pattern=y\n"}, []),
        ({"etc_50_a": "kernel.core_pattern=d", "conf": "kernel.core_pattern=c"}, ["d", "c"]),
    ],
)
def test_the_file_that_wins(files: dict[str, str], expected: list[str]) -> None:
    assert [setting.value for setting in sysctl.resolve(host(**files), sysctl.CORE_PATTERN)] == expected


def test_the_shipped_file_is_enough_where_it_wins() -> None:
    tree = host(usr_60_pycoredump=sysctl.own(sysctl.wanted(Tree("/nonexistent"), "pipe")))
    count = len(tree.planned())
    sysctl_plan.plan(tree, "pipe")
    assert len(tree.planned()) == count


def test_the_shipped_file_says_which_pattern_is_right() -> None:
    shipped = "kernel.core_pattern=|/opt/libexec/pycoredump %P %s %t %e\nkernel.core_pipe_limit=99\n"
    wanted = sysctl.wanted(host(usr_60_pycoredump=shipped), "pipe")
    assert wanted[sysctl.CORE_PATTERN].startswith("|/opt/libexec/pycoredump ")
    assert wanted[sysctl.CORE_PIPE_LIMIT] == "99"


def test_file_mode_masks_the_shipped_file_by_its_own_name() -> None:
    tree = host(usr_60_pycoredump=sysctl.own(sysctl.wanted(Tree("/nonexistent"), "pipe")))
    sysctl_plan.plan(tree, "file")
    assert "/var/core/core-%e-%p-%s-%t" in (tree.read("/etc/sysctl.d/60-pycoredump.conf") or "")
    assert sysctl.resolve(tree, sysctl.SUID_DUMPABLE) == []


def test_a_file_of_the_administrator_is_never_overwritten() -> None:
    theirs = "kernel.core_pattern=core\n"
    tree = host(etc_60_pycoredump=theirs, etc_zz_last="fs.suid_dumpable=0\n")
    sysctl_plan.plan(tree, "pipe")
    assert tree.read("/etc/sysctl.d/60-pycoredump.conf") == theirs
    assert sysctl_plan.losing(tree, sysctl.wanted(tree, "pipe")) == {}


def test_the_pattern_fits_the_kernel_and_begins_with_the_cards_four() -> None:
    assert sysctl.PIPE_PATTERN.startswith("|/usr/libexec/pycoredump %P %s %t %e")
    assert len(sysctl.PIPE_PATTERN) <= 127


def test_the_shipped_file_sets_what_we_want() -> None:
    if not SHIPPED.exists():
        pytest.skip("sysctl.d/60-pycoredump.conf is not written yet")

    found = {setting.key: setting.value for setting in sysctl.parse(SHIPPED.read_text(), "shipped")}
    for key, value in sysctl.wanted(Tree("/nonexistent"), "pipe").items():
        assert found[key] == value


keys = st.sampled_from([*sysctl.ORDER, "kernel/core_pattern", "kernel.*", "vm.swappiness"])
rows = st.builds(
    "{}{}={}{}".format,
    st.sampled_from(["", "-", "#", ";"]),
    keys,
    st.sampled_from(["0", "1", "core", "|/bin/false", ""]),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
)
texts = st.builds(
    lambda parts, cut: "".join(parts)[: -1 if cut else None], st.lists(rows, max_size=5), st.booleans()
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["usr_50_a", "etc_99_z", "etc_zzz", "conf", "usr_60_pycoredump"]), texts), st.sampled_from(["pipe", "file"]))  # fmt: skip
def test_nothing_wins_over_us_and_undo_restores_every_byte(files: dict[str, str], mode: str) -> None:
    tree = host(**files)
    before = dict(tree.planned())
    sysctl_plan.plan(tree, mode)
    assert sysctl_plan.losing(tree, sysctl.wanted(tree, mode)) == {}
    after = dict(tree.planned())
    for path, text in after.items():
        restored = None if lines.is_whole(text) else sysctl.undo(text)
        assert restored == before.get(path)
    sysctl_plan.plan(tree, mode)
    assert dict(tree.planned()) == after
