"""The items together: which must hold after a change, and what a host does not have."""

from __future__ import annotations

import os
import pathlib

import distributions
import pytest

from pycoredump.configure import inspect
from pycoredump.configure.inspect import Host
from pycoredump.configure.item import ABSENT, NOTE, OK, WRONG, Item
from pycoredump.configure.request import Request
from pycoredump.configure.tree import Tree


def item(name: str, state: str) -> Item:
    return Item(name=name, state=state)


def test_only_what_was_to_hold_fails_where_it_does_not() -> None:
    predicted = [item("a", OK), item("b", WRONG), item("c", NOTE)]
    now = [item("a", WRONG), item("b", WRONG), item("c", OK), item("d", WRONG)]
    assert [one.name for one in inspect.failed(predicted, now)] == ["a"]


def test_a_login_that_opened_before_and_does_not_now_is_lost() -> None:
    before = [item("root", WRONG), item("anna", NOTE), item("bob", OK)]
    now = [item("root", NOTE), item("anna", NOTE), item("bob", OK)]
    assert [one.name for one in inspect.lost(before, now)] == ["root"]


def lay(tmp_path: pathlib.Path, **changes: str) -> Tree:
    files = distributions.DEBIAN | {f"/etc/pam.d/{name}": text for name, text in changes.items()}
    return Tree(os.fspath(distributions.lay(tmp_path, files)))


def test_every_limits_file_that_a_login_names_is_looked_at(tmp_path: pathlib.Path) -> None:
    tree = lay(
        tmp_path,
        sshd="session required pam_limits.so conf=/etc/ssh-limits\nsession required pam_limits.so\n",
    )
    assert inspect.confs(tree, ["sshd", "login"]) == ["", "/etc/ssh-limits"]
    names = [one.name for one in inspect.items(tree, Request(), Host(), {})]
    assert "core limit of root (/etc/ssh-limits)" in names


def test_the_service_that_sshd_names_is_the_one_that_counts(tmp_path: pathlib.Path) -> None:
    tree = lay(tmp_path, ssh="session required pam_unix.so\n")
    host = Host(sshd={"usepam": "yes", "pamservicename": "ssh"})
    found = {one.name: one for one in inspect.items(tree, Request(), host, {})}
    assert (found["PAM limits for sshd"].state, found["PAM limits for sshd"].file) == (
        WRONG,
        "/etc/pam.d/ssh",
    )


@pytest.mark.parametrize(("mode", "name"), [("pipe", "the handler"), ("file", "directory /var/core")])
def test_each_mode_has_its_item(tmp_path: pathlib.Path, mode: str, name: str) -> None:
    names = {one.name for one in inspect.items(lay(tmp_path), Request(mode=mode), Host(), {})}
    assert {name} == names & {"the handler", "directory /var/core"}


def test_a_module_of_an_unusual_place_counts_where_a_stack_names_it(tmp_path: pathlib.Path) -> None:
    files = {path: text for path, text in distributions.DEBIAN.items() if not path.endswith("pam_limits.so")}
    nix = {"/etc/pam.d/login": "session required /nix/store/x/lib/security/pam_limits.so\n"}
    tree = Tree(os.fspath(distributions.lay(tmp_path / "a", files | nix)))
    assert inspect.has_limits(tree, ["sshd", "login"])
    bare = {path: text for path, text in files.items() if "/pam.d/" not in path}
    tree = Tree(os.fspath(distributions.lay(tmp_path / "b", bare)))
    assert not inspect.has_limits(tree, ["sshd", "login"])
    found = {one.name: one.state for one in inspect.items(tree, Request(), Host(), {})}
    assert found["core limit of logins"] == ABSENT
