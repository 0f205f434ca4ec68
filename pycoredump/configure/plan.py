"""Everything that would be changed, worked out before the first write."""

from __future__ import annotations

from pycoredump.configure import (
    directory,
    effective,
    inspect,
    limits_plan,
    lines,
    pam,
    pam_plan,
    sshd,
    sshd_program,
    sysctl,
    sysctl_plan,
    systemd_manager,
    transaction,
    undo,
)
from pycoredump.configure.inspect import Host
from pycoredump.configure.item import Item
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.record import PATH, Changed
from pycoredump.configure.request import Request
from pycoredump.configure.tree import Change, Tree
from pycoredump.errors import ConfigError, PycoredumpError
from pycoredump.record import Record

LATE = ("/etc/pam.d/", "/etc/ssh/")


class Plan(Record):
    """What apply does."""

    changes: list[Change]
    before: Changed  # the record as it is
    after: Changed  # the record as it will be
    made: list[str]  # directories to create, parents first
    mode: int | None  # that the directory of file mode gets; None: it stays
    kernel: dict[str, tuple[str, str]]  # running values to set: key -> (now, wanted)
    back: dict[str, tuple[str, str]]  # running values of an earlier mode to restore
    predicted: list[Item]
    reasons: dict[str, str]

    def idle(self) -> bool:
        """Whether there is nothing to do."""
        same = self.before == self.after and self.mode is None
        return same and not (self.changes or self.made or self.kernel or self.back)

    def systemd_changes(self) -> bool:
        """Whether systemd must read its files again."""
        return any(change.path.startswith("/etc/systemd/") for change in self.changes)

    def sshd_changes(self) -> bool:
        """Whether sshd must read its files again."""
        return any(change.path.startswith("/etc/ssh/") for change in self.changes)


def build(tree: Tree, request: Request, before: Changed, host: Host, kernel: Kernel | None) -> Plan:
    """Plan on the tree. Raises for bad input; nothing is written."""
    check_sshd(tree)
    undo.undo(tree, before)
    reasons = _edit(tree, request, host)
    mode = directory.plan(tree, request.mode)
    opened = (
        request.mode == "pipe" and directory.PATH in before.modes and directory.mode(tree) == directory.MODE
    )
    if opened:  # by an earlier --mode file
        mode = before.modes[directory.PATH] or directory.CLOSED
    changes = ordered(tree.changes())
    if any(change.path.startswith("/etc/ssh/") for change in changes):
        _check_new_sshd(tree)

    wanted = sysctl.wanted(tree, request.mode)
    pending = kernel.pending(wanted) if kernel else {}
    paths = [change.path for change in changes if change.after is not None]
    made = transaction.missing(tree, [*paths, PATH]) if changes or pending or mode else []
    return Plan(
        changes=changes,
        before=before,
        after=_record(tree, before, request, pending, made, wanted),
        made=made,
        mode=mode,
        kernel=pending,
        back={key: pair for key, pair in before.sysctl.items() if key not in wanted},
        predicted=inspect.items(tree, request, Host(), reasons),
        reasons=reasons,
    )


def ordered(changes: list[Change]) -> list[Change]:
    """So that no login is refused between two of them: PAM lines come after what their modules read, UsePAM last."""
    return sorted(changes, key=lambda change: _rank(change.path))


def _rank(path: str) -> int:
    return next((rank for rank, top in enumerate(LATE, start=1) if path.startswith(top)), 0)


def _edit(tree: Tree, request: Request, host: Host) -> dict[str, str]:
    if request.mode == "pipe" and not directory.inspect_handler(tree).holds():
        program = sysctl.handler(sysctl.wanted(tree, "pipe")[sysctl.CORE_PATTERN])
        raise PycoredumpError(
            f"The handler {tree.real(program)} cannot be run: every crash would be lost",
            hint="make install first, or --mode file",
        )

    reasons = logins(tree, host)
    hard = effective.inherited()[1] if host.live else None
    services = [host.service(), inspect.LOGIN_SERVICE]
    for conf in inspect.confs(tree, services) if inspect.has_limits(tree, services) else []:
        limits_plan.plan(tree, request, conf=conf, inherited_hard=hard)
    sysctl_plan.plan(tree, request.mode)
    if request.services:
        systemd_manager.plan(tree)
    return reasons


def logins(tree: Tree, host: Host) -> dict[str, str]:
    """Plan what makes logins pass pam_limits; why not, by PAM service and for sshd_config, where it cannot be."""
    reasons = {name: pam_plan.plan(tree, name) for name in (host.service(), inspect.LOGIN_SERVICE)}
    return reasons | {"sshd_config": _plan_sshd(tree, host)}


def _plan_sshd(tree: Tree, host: Host) -> str:
    if sshd.enabled(tree) or not inspect.has_limits(tree, [host.service(), inspect.LOGIN_SERVICE]):
        return ""

    if pam.service_file(tree, host.service()) is None:  # libpam takes "other" then, which denies
        return f"there is no PAM service {host.service()}: with UsePAM sshd would refuse every login"

    return sshd.plan(tree, host.sshd)


def check_sshd(tree: Tree) -> None:
    """Refuse to work on a configuration that sshd refuses already."""
    main = sshd.main_file(tree)
    verdict = sshd_program.judge(tree, tree.read(main) or "") if main else None
    if verdict is not None and verdict.good is False:
        raise ConfigError(verdict.complaint, hint="sshd would not start: correct that first")


def _check_new_sshd(tree: Tree) -> None:
    verdict = sshd_program.judge(tree, sshd.flattened(tree))
    if verdict.good is False:
        raise PycoredumpError(f"The planned sshd configuration is refused: {verdict.complaint}")


def _record(
    tree: Tree,
    before: Changed,
    request: Request,
    pending: dict[str, tuple[str, str]],
    made: list[str],
    wanted: dict[str, str],
) -> Changed:
    after = Changed()
    for path, text in tree.planned():
        if lines.is_whole(text):
            after.files[path] = text
        elif lines.marked(text):
            after.files[path] = ""
    after.made = before.made + [path for path in made if path not in before.made]
    after.modes = dict(before.modes)
    if request.mode == "file" and directory.mode(tree) != directory.MODE:
        after.modes.setdefault(directory.PATH, directory.mode(tree))
    earlier = {key: (pair[0], wanted[key]) for key, pair in before.sysctl.items() if key in wanted}
    after.sysctl = pending | earlier
    after.files.pop(PATH, None)
    return after
