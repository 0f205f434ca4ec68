"""limits.conf: how pam_limits resolves it, and lines that win."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump.configure import accounts, limits, limits_plan, lines
from pycoredump.configure.accounts import Account
from pycoredump.configure.request import UNLIMITED, Request
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError

KB = 1024
ROOT = Account(name="root", uid=0, gid=0, groups=frozenset(["root"]), gids=frozenset([0]))
ANNA = Account(name="anna", uid=1000, gid=1000, groups=frozenset(["anna", "adm"]), gids=frozenset([1000, 4]))


def resolve(text: str, account: Account = ANNA, *, debian: bool = False) -> tuple[int | None, int | None]:
    found = limits.resolve(list(limits.parse(text, "f")), account, root_by_name_only=debian)
    return found.soft, found.hard


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anna soft core 5", (5 * KB, None)),
        ("anna - core unlimited", (UNLIMITED, UNLIMITED)),
        ("anna soft core 5\nanna soft core 6", (6 * KB, None)),
        ("anna soft core 5\n* soft core 6\n@adm soft core 7", (5 * KB, None)),
        ("@adm hard core 5\n* hard core 6", (None, 5 * KB)),
        ("* hard core 0\nanna soft core 9", (9 * KB, 0)),
        ("anna SOFT Core 5 # words after", (5 * KB, None)),
        ("1000 soft core 5", (None, None)),
        (":1000 soft core 5", (5 * KB, None)),
        ("500: soft core 5", (5 * KB, None)),
        ("500:999 soft core 5", (None, None)),
        ("@:4 soft core 5", (5 * KB, None)),
        ("@500:2000 soft core 5", (5 * KB, None)),
        ("%adm soft core 5", (None, None)),
        ("anna soft core 5\n* - core 6", (5 * KB, None)),  # "-" gives up both: process_limit()
        ("anna soft nofile 5", (None, None)),
        ("anna soft core 18014398509481984", (UNLIMITED, None)),
    ],
)
def test_it_resolves_as_pam_limits_does(text: str, expected: tuple[int | None, int | None]) -> None:
    assert resolve(text) == expected


def test_on_debian_only_its_name_reaches_root() -> None:
    text = "* soft core 5\n@root soft core 6\n"
    assert resolve(text, ROOT, debian=True) == (None, None)
    assert resolve(text, ROOT, debian=False) == (6 * KB, None)
    assert resolve(text + "root soft core 7\n", ROOT, debian=True) == (7 * KB, None)


def test_a_lone_dash_switches_everything_off() -> None:
    found = limits.resolve(
        list(limits.parse("anna soft core 5\nanna -\n", "f")), ANNA, root_by_name_only=False
    )
    assert found.effective() is None
    assert found.off is not None
    assert found.off.line == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("root soft core\n", "limits.conf:1: 'root soft core' is not a limits.conf line"),
        ("# x\n\nroot\n", "limits.conf:3: 'root' is not"),
        ("root sofd core 1\n", "limits.conf:1: 'root sofd core 1' is not"),
        ("root soft core 1MB\n", "limits.conf:1: '1mb' is not a core limit"),
        ("root soft core -5\n", "limits.conf:1: '-5' is not a core limit"),
    ],
)
def test_a_malformed_line_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        limits.parse(text, "limits.conf")
    assert message in str(caught.value)


def host(text: str, *, os_release: str = "ID=arch\n", **drop_ins: str) -> Tree:
    tree = Tree("/nonexistent")
    tree.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n")
    tree.write("/etc/group", "root:x:0:\nadm:x:4:anna\nanna:x:1000:\n")
    tree.write("/etc/os-release", os_release)
    tree.write(limits.MAIN, text)
    for name, body in drop_ins.items():
        tree.write(f"{limits.DROP_INS}/{name}.conf", body)
    return tree


def test_the_line_of_the_seed_goes_into_limits_conf() -> None:
    tree = host("# x\n\n# End of file\n")
    limits_plan.plan(tree, Request())
    assert (tree.read(limits.MAIN) or "").splitlines()[2] == "root soft core 1048576"
    assert limits.undo(tree.read(limits.MAIN) or "") == "# x\n\n# End of file\n"


def test_a_hard_limit_that_is_too_low_gets_a_line_of_its_own() -> None:
    tree = host("* hard core 0\n")
    limits_plan.plan(tree, Request())
    assert limits_plan.resolve(tree, "root").effective() == 1048576 * KB
    assert "root hard core 1048576\n" in (tree.read(limits.MAIN) or "")


def test_no_hard_line_on_debian_where_a_wildcard_does_not_reach_root() -> None:
    tree = host("* hard core 0\n", os_release="ID=debian\n")
    limits_plan.plan(tree, Request())
    assert "hard core 1048576" not in (tree.read(limits.MAIN) or "")


def test_a_later_file_that_wins_is_beaten_by_a_still_later_one() -> None:
    tree = host("", **{"zz-site": "root - core 0\n", "zzz": "root soft core 1\n"})
    limits_plan.plan(tree, Request())
    assert limits_plan.resolve(tree, "root").effective() == 1048576 * KB
    assert tree.read(limits.MAIN) == ""


def test_a_limit_that_is_higher_already_is_left_alone() -> None:
    tree = host("root - core unlimited\n")
    before = [change.path for change in tree.changes()]
    limits_plan.plan(tree, Request())
    assert [change.path for change in tree.changes()] == before


@pytest.mark.parametrize("domain", ["nobody-here", "@nobody-here"])
def test_an_unknown_user_or_group_is_refused(domain: str) -> None:
    with pytest.raises(ConfigError, match="'nobody-here' exists"):
        limits_plan.plan(host(""), Request(domains=(domain,)))


def test_the_running_hosts_users_come_from_its_name_service() -> None:
    found = accounts.subject(Tree("/"), "root")
    assert (found.name, found.uid) == ("root", 0)


rule_lines = st.builds(
    "{} {} {} {}{}".format,
    st.sampled_from(["root", "anna", "*", "@adm", "@root", "1000:", ":0", "%", "bob"]),
    st.sampled_from(["soft", "hard", "-", "Soft"]),
    st.sampled_from(["core", "core", "CORE", "nofile"]),
    st.sampled_from(["0", "5", "1048576", "99999999", "unlimited", "-1"]),
    st.sampled_from(["\n", "  # c\n", "\r\n", "\n\n# End of file\n"]),
)
texts = st.lists(rule_lines, max_size=8).map("".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    texts,
    texts,
    st.booleans(),
    st.sampled_from(["ID=debian\n", "ID=fedora\n"]),
    st.lists(st.sampled_from(["root", "anna", "@adm", "*"]), min_size=1, max_size=3, unique=True),
    st.sampled_from([4 * KB, 1048576 * KB, UNLIMITED]),
)
def test_every_domain_has_its_limit_and_undo_restores_every_byte(
    text: str, other: str, cut: bool, os_release: str, domains: list[str], size: int
) -> None:
    text = text[:-1] if cut and text.endswith("\n") else text
    tree = host(text, os_release=os_release, site=other)
    request = Request(domains=tuple(domains), core_limit=size)
    limits_plan.plan(tree, request)
    for domain in domains:
        effective = limits_plan.resolve(tree, domain).effective()
        assert effective is not None
        assert effective >= size
    planned = tree.read(limits.MAIN)
    assert limits.undo(planned or "") == text
    limits_plan.plan(tree, request)
    assert tree.read(limits.MAIN) == planned


def test_a_missing_limits_conf_is_made_because_pam_limits_needs_it() -> None:
    for drop_ins in ({}, {"late": "root soft core 0\n"}, {"late": "root soft core unlimited\n"}):
        tree = host("", **drop_ins)
        tree.write(limits.MAIN, None)
        limits_plan.plan(tree, Request())
        text = tree.read(limits.MAIN) or ""
        assert lines.is_whole(text)
        assert ("soft core" in text) is (drop_ins == {})
        effective = limits_plan.resolve(tree, "root").effective()
        assert effective is not None
        assert effective >= 1048576 * KB


def test_the_vendors_limits_conf_is_enough() -> None:
    tree = host("")
    tree.write(limits.MAIN, None)
    tree.write(limits.VENDOR_MAIN, "# nothing\n")
    limits_plan.plan(tree, Request())
    assert tree.read(limits.MAIN) is None
    assert "root soft core 1048576\n" in (tree.read(f"{limits.DROP_INS}/{limits.OWN_NAME}") or "")


@pytest.mark.parametrize(
    ("text", "found", "line", "effective"),
    [
        ("", "nothing", 0, "inherited"),
        ("root soft core 5\n", "root soft core 5", 1, "5"),
        ("root soft core 2097152\nroot hard core 7\n", "root hard core 7", 2, "7"),
        ("\nroot hard core 0\n", "root hard core 0", 2, "inherited, at most 0"),
        ("root hard core unlimited\n", "root hard core unlimited", 1, "inherited"),
        ("root soft core 9\nroot -\n", "root -", 2, "inherited"),
    ],
)
def test_the_line_that_decides_is_shown(text: str, found: str, line: int, effective: str) -> None:
    [item] = limits_plan.inspect(host(text), Request(), [""])
    assert (item.state, item.found, item.line, item.effective) == ("wrong", found, line, effective)
    assert ("remove that line" in item.hint) is text.endswith("root -\n")
