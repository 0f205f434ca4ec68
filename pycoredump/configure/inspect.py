"""Every item of the seed document's section B, as it is on a tree of files and on the running host."""

from __future__ import annotations

import os

from pycoredump.configure import (
    directory,
    effective,
    limits_plan,
    pam,
    pam_plan,
    profile,
    rivals,
    sshd,
    sshd_program,
    sysctl_plan,
    systemd_manager,
)
from pycoredump.configure.item import ABSENT, NOTE, OK, WRONG, Item
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.request import Request, kilobytes
from pycoredump.configure.tree import Tree
from pycoredump.record import Record

LOGIN_SERVICE = "login"


class Host(Record):
    """What is asked beside the files. Of an image only sshd can be asked."""

    live: bool = False
    sshd: dict[str, str] = {}  # noqa: RUF012 - read only: Record is frozen
    sysctl: dict[str, str] = {}  # noqa: RUF012
    services: str = ""  # systemd's DefaultLimitCORESoft

    def service(self) -> str:
        """The PAM service of ssh logins (PAMServiceName, since OpenSSH 9.8)."""
        return self.sshd.get("pamservicename", "sshd")


def ask(tree: Tree, kernel: Kernel | None) -> Host:
    """Ask the host, or the image, what is in effect. No kernel: not this host."""
    return Host(
        live=kernel is not None,
        sshd=sshd_program.settings(tree) if sshd.main_file(tree) else {},
        sysctl=kernel.values() if kernel else {},
        services=effective.service_limit(tree) if kernel else "",
    )


def confs(tree: Tree, services: list[str]) -> list[str]:
    """The limits files that the services' pam_limits lines name, "" for the usual ones."""
    named = {conf for name in services for conf in pam_plan.reach(pam.session(tree, name)).confs}
    return sorted(named) or [""]


def has_limits(tree: Tree, services: list[str]) -> bool:
    """Whether there is a pam_limits to read limits files, in its usual place or named by a PAM stack."""
    return pam_plan.has_module(tree) or any(
        pam_plan.reach(pam.session(tree, name)).module is not None for name in services
    )


def items(tree: Tree, request: Request, host: Host, reasons: dict[str, str]) -> list[Item]:
    """All items. `reasons`: why the plan could not help, by PAM service and for sshd_config."""
    services = [host.service(), LOGIN_SERVICE]
    found = [
        pam_plan.inspect(tree, services[0], "sshd", reasons.get(services[0], "")),
        pam_plan.inspect(tree, LOGIN_SERVICE, "login", reasons.get(LOGIN_SERVICE, "")),
    ]
    if has_limits(tree, services):
        found.append(sshd.inspect(tree, host.sshd, reasons.get("sshd_config", "")))
        found += limits_plan.inspect(tree, request, confs(tree, services))
    else:
        found.append(Item(name="core limit of logins", state=ABSENT, found="pam_limits is not installed"))
    if request.mode == "pipe":
        found.append(directory.inspect_handler(tree))
    else:
        found.append(directory.inspect(tree))
    found += sysctl_plan.inspect(tree, request.mode, host.sysctl)
    found.append(systemd_manager.inspect(tree, host.services, requested=request.services))
    found += rivals.inspect(tree, live=host.live)
    return found + profile.inspect(tree, request.core_limit)


def logins(tree: Tree, request: Request) -> list[Item]:
    """The soft limit of a real login session of each named user, of this host."""
    service = "su-l" if pam.service_file(tree, "su-l") else "su"
    if not pam_plan.reach(pam.session(tree, service)).always:
        return [
            Item(name="login session", state=NOTE, found=f"PAM service {service} does not pass pam_limits")
        ]

    return [
        _login(tree, name, request) for name in request.domains if name != "*" and not name.startswith("@")
    ]


def _login(tree: Tree, user: str, request: Request) -> Item:
    name = f"login session of {user}"
    limit = effective.login(user, profile=True)
    if limit is None:
        if os.geteuid() != 0:
            return Item(name=name, state=NOTE, found="not tried", hint="only root can open one")

        hint = "the system's log says why"
        return Item(name=name, state=NOTE, found=f"su - {user} opens no session", hint=hint)

    good = limit >= request.core_limit
    by_pam = limit if good else effective.login(user, profile=False)
    spoilt = by_pam is not None and by_pam >= request.core_limit
    return Item(
        name=name,
        state=OK if good else WRONG,
        wanted=kilobytes(request.core_limit),
        found=f"su - {user}",
        effective=f"ulimit -c: {kilobytes(limit)}",
        hint="" if good else _spoilt_by(tree, request) if spoilt else _capped(request),
    )


def _capped(request: Request) -> str:
    hard = effective.inherited()[1]
    if hard >= request.core_limit:
        return ""

    return (
        f"PID 1 has a hard limit of {kilobytes(hard)} and logins could not raise it: raise it where this host, "
        "or container, is started"
    )


def _spoilt_by(tree: Tree, request: Request) -> str:
    found = profile.lowerings(tree, request.core_limit // 1024)
    if not found:
        return "PAM sets it, a shell profile lowers it: look for ulimit in it"

    return f"PAM sets it, {found[0].place()} lowers it: remove {found[0].text!r}"


def lost(before: list[Item], now: list[Item]) -> list[Item]:
    """The logins that could be tried before and cannot now: they would be refused."""
    tried = {item.name for item in before if item.state != NOTE}
    return [item for item in now if item.state == NOTE and item.name in tried]


def failed(predicted: list[Item], now: list[Item]) -> list[Item]:
    """What should hold after the plan was carried out, and does not."""
    expected = {item.name for item in predicted if item.holds()}
    return [item for item in now if not item.holds() and item.name in expected]
