"""Users and groups: of the host by its name service, of an image by its own passwd and group files."""

from __future__ import annotations

import grp
import os
import pwd

from pycoredump.configure.number import natural
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError
from pycoredump.record import Record


class Account(Record):
    """Whom limits are resolved for. A name of None is anyone without lines of their own."""

    name: str | None = None
    uid: int | None = None
    gid: int | None = None
    groups: frozenset[str] = frozenset()  # names
    gids: frozenset[int] = frozenset()


def subject(tree: Tree, domain: str) -> Account:
    """The account that a domain of limits.conf(5) stands for. ConfigError if there is no such user or group."""
    if domain == "*":
        return Account()

    if domain.startswith("@"):
        gid = _gid(tree, domain[1:])
        if gid is None:
            raise ConfigError(f"No group {domain[1:]!r} exists", hint=_where(tree, "group"))

        return Account(groups=frozenset([domain[1:]]), gids=frozenset([gid]))

    found = user(tree, domain)
    if found is None:
        raise ConfigError(f"No user {domain!r} exists", hint=_where(tree, "passwd"))

    return found


def _where(tree: Tree, database: str) -> str:
    return f"see {tree.real('/etc/' + database)}, or name another --domain"


def user(tree: Tree, name: str) -> Account | None:
    """The user of that name, None if there is none."""
    if tree.root == "/":
        return _host_user(name)

    for row in _rows(tree, "/etc/passwd", 7):
        if row[0] == name:
            members = [g for g in _rows(tree, "/etc/group", 4) if name in g[3].split(",") or g[2] == row[3]]
            return Account(
                name=name,
                uid=natural(row[2]),
                gid=natural(row[3]),
                groups=frozenset(group[0] for group in members),
                gids=frozenset(gid for group in members if (gid := natural(group[2])) is not None),
            )
    return None


def _host_user(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None

    gids = os.getgrouplist(name, entry.pw_gid)
    return Account(
        name=name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=frozenset(found for found in map(_group_name, gids) if found is not None),
        gids=frozenset(gids),
    )


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def _gid(tree: Tree, name: str) -> int | None:
    if tree.root != "/":
        return next((natural(row[2]) for row in _rows(tree, "/etc/group", 4) if row[0] == name), None)

    try:
        return grp.getgrnam(name).gr_gid  # asked by name: a directory service need not list its groups
    except KeyError:
        return None


def _rows(tree: Tree, path: str, fields: int) -> list[list[str]]:
    rows = [line.split(":") for line in (tree.read(path) or "").split("\n")]
    return [row for row in rows if len(row) == fields and natural(row[2]) is not None]
