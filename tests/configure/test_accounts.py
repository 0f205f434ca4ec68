"""Users and groups, of an image by its own files and of the host by its name service."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from pycoredump.configure import accounts
from pycoredump.configure.accounts import Account
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError


def image(passwd: str, group: str) -> Tree:
    tree = Tree("/nonexistent")
    tree.write("/etc/passwd", passwd)
    tree.write("/etc/group", group)
    return tree


GROUP = "root:x:0:\nadm:x:4:syslog,anna\nstaff:x:50:annabel\nanna:x:1000:\n"


def test_a_user_of_an_image_has_its_own_and_its_further_groups() -> None:
    tree = image("root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n", GROUP)
    assert accounts.user(tree, "anna") == Account(
        name="anna", uid=1000, gid=1000, groups=frozenset(["anna", "adm"]), gids=frozenset([1000, 4])
    )


def test_a_group_and_everyone_are_subjects_without_a_name() -> None:
    tree = image("", GROUP)
    assert accounts.subject(tree, "@adm") == Account(groups=frozenset(["adm"]), gids=frozenset([4]))
    assert accounts.subject(tree, "*") == Account()


@pytest.mark.parametrize("passwd", ["anna:x:-1:5::/:/bin/sh\n", "anna:x\n", "+::::::\n", "anna:x:a:b::/:/bin/sh\r\n", "\udcff\x00\n"])  # fmt: skip
def test_a_line_that_is_no_account_is_none(passwd: str) -> None:
    assert accounts.user(image(passwd, GROUP), "anna") is None


def test_an_unknown_name_tells_which_file_was_searched() -> None:
    with pytest.raises(ConfigError, match="No user 'bob' exists") as caught:
        accounts.subject(image("", ""), "bob")
    assert "/nonexistent/etc/passwd" in caught.value.hint


def test_the_hosts_accounts_come_from_its_name_service() -> None:
    entry = pwd.getpwuid(0)
    found = accounts.user(Tree("/"), entry.pw_name)
    assert found is not None
    assert (found.uid, found.gids) == (0, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))
    assert grp.getgrgid(entry.pw_gid).gr_name in found.groups
    assert accounts.subject(Tree("/"), f"@{grp.getgrgid(0).gr_name}").gids == frozenset([0])
    assert accounts.user(Tree("/"), "no-such-user") is None
    with pytest.raises(ConfigError, match="No group 'no-such-group' exists"):
        accounts.subject(Tree("/"), "@no-such-group")
