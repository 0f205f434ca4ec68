"""apply and revert: a plan carried out as one transaction, checked afterwards, taken back if it fails."""

from __future__ import annotations

import functools

from pycoredump.configure import directory, effective, inspect, plan, record, sshd_program, sysctl, undo
from pycoredump.configure.disk import Disk
from pycoredump.configure.item import Item
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.plan import Plan
from pycoredump.configure.record import Changed
from pycoredump.configure.request import Request
from pycoredump.configure.transaction import Transaction, locked
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError, PycoredumpError


def check(root: str, request: Request, kernel: Kernel | None) -> list[Item]:
    """Every item as it is."""
    tree = Tree(root)
    plan.check_sshd(tree)
    host = inspect.ask(tree, kernel)
    items = inspect.items(tree, request, host, plan.logins(tree.copy(), host))
    return items + (inspect.logins(tree, request) if host.live else [])


def planned(root: str, request: Request, kernel: Kernel | None) -> Plan:
    """What apply would do."""
    tree = Tree(root)
    return plan.build(tree, request, record.load(tree), inspect.ask(tree, kernel), kernel)


def apply(root: str, request: Request, kernel: Kernel | None, *, disk: Disk) -> tuple[list[str], list[Item]]:
    """Carry the plan out; what was done and how the items are then. On any failure everything is put back."""
    tree = Tree(root)
    with locked(tree):
        todo = planned(root, request, kernel)
        done: list[str] = []
        _clean(tree, todo.before, disk)
        if not todo.idle():
            opened = inspect.logins(tree, request) if kernel else []
            with Transaction(tree, disk) as transaction:
                done = carry_out(transaction, todo, kernel)
                items = _verify(root, request, kernel, todo, opened)
                _finish_record(transaction, todo.after)
        else:
            items = check(root, request, kernel)
    if todo.sshd_changes() and kernel is not None:
        done.append(sshd_program.reload(inspect.ask(Tree(root), kernel).sshd))
    return done, items


def _clean(tree: Tree, before: Changed, disk: Disk) -> None:
    """Remove what a power cut has left beside the files."""
    Transaction(tree, disk).clean([record.PATH, *before.files])


def carry_out(transaction: Transaction, todo: Plan, kernel: Kernel | None) -> list[str]:
    """Every step of the plan, each with its way back; what was done."""
    transaction.write_record(todo.before.merged(todo.after))
    transaction.make(todo.made)
    done = _set_mode(transaction, todo.mode)
    if todo.systemd_changes() and kernel is not None:
        transaction.on_failure(lambda: effective.reload_systemd(transaction.tree))  # once the files are back
    transaction.change(todo.changes)
    transaction.unmake(todo.before.made)  # what an earlier apply needed and nothing needs now
    done += [f"{'removed' if c.after is None else 'wrote'} {c.path}" for c in todo.changes]
    if todo.systemd_changes() and kernel is not None:
        effective.reload_systemd(transaction.tree)
    if kernel is not None:
        for key, (now, wanted) in todo.kernel.items():
            transaction.on_failure(functools.partial(kernel.restore, {key: (now, wanted)}))
            kernel.write(key, wanted)
            done.append(f"set {key} = {wanted}")
        done += _restore(transaction, kernel, todo.back)
    return done


def _restore(transaction: Transaction, kernel: Kernel, before: dict[str, tuple[str, str]]) -> list[str]:
    """Running values as they were before us, suid_dumpable first; what was done."""
    done = []
    for key in reversed(sysctl.ORDER):
        if key in before and kernel.read(key) == before[key][1]:
            old, ours = before[key]
            transaction.on_failure(functools.partial(kernel.restore, {key: (ours, old)}))
            done += [f"set {line}" for line in kernel.restore({key: (old, ours)})]
    return done


def _set_mode(transaction: Transaction, mode: int | None) -> list[str]:
    """Give the directory of file mode its mode; make it where it is missing. What was done."""
    if mode is None:
        return []

    before = directory.mode(transaction.tree)
    real = transaction.tree.real(directory.PATH)
    if before is None and mode == directory.MODE:
        transaction.on_failure(lambda: transaction.disk.rmdir(real))
        transaction.disk.mkdir(real, mode)
        return [f"made {directory.PATH}, mode {mode:04o}"]

    if before is not None:
        transaction.set_mode(real, mode)
    return [f"set the mode of {directory.PATH} to {mode:04o}"]


def _verify(
    root: str, request: Request, kernel: Kernel | None, todo: Plan, opened: list[Item]
) -> list[Item]:
    """How the items are now. Raises if one that was to hold does not, or a login that was `opened` before is not."""
    tree = Tree(root)
    host = inspect.ask(tree, kernel)
    if todo.sshd_changes():
        plan.check_sshd(tree)
    items = inspect.items(tree, request, host, todo.reasons)
    logins = inspect.logins(tree, request) if host.live else []
    wrong = inspect.failed(todo.predicted, items)
    wrong += [item for item in logins if not item.holds() and not item.hint]
    wrong += inspect.lost(opened, logins)
    if wrong:
        raise PycoredumpError(
            f"{wrong[0].name} is not in effect after the change ({wrong[0].effective or wrong[0].found})",
            hint="everything was put back",
        )

    return items + logins


def _finish_record(transaction: Transaction, after: Changed) -> None:
    if after:
        transaction.write_record(after)
    else:
        transaction.remove_record()


def unplanned(root: str) -> Plan:
    """What revert would do to the files."""
    tree = Tree(root)
    before = record.load(tree)
    undo.undo(tree, before)
    return Plan(
        changes=plan.ordered(tree.changes())[::-1],
        before=before,
        after=Changed(),
        made=[],
        mode=None,
        kernel={},
        back=before.sysctl,
        predicted=[],
        reasons={},
    )


def revert(root: str, kernel: Kernel | None, *, disk: Disk) -> list[str]:
    """Take back everything of ours; what was done, [] if there was nothing."""
    tree = Tree(root)
    with locked(tree):
        todo = unplanned(root)
        _clean(tree, todo.before, disk)
        if not todo.changes and not todo.before:
            return []

        with Transaction(tree, disk) as transaction:
            done = _take_back(transaction, todo, kernel)
    if todo.systemd_changes() and kernel is not None:
        effective.reload_systemd(tree)
    if todo.sshd_changes() and kernel is not None:
        done.append(_reload(root, kernel))
    return done


def _reload(root: str, kernel: Kernel) -> str:
    """Tell sshd to reload what is back, unless others have made it wrong meanwhile; what was done."""
    after = Tree(root)
    try:
        plan.check_sshd(after)
    except ConfigError as e:
        return f"sshd was not told to reload: {e}"

    return sshd_program.reload(inspect.ask(after, kernel).sshd)


def _take_back(transaction: Transaction, todo: Plan, kernel: Kernel | None) -> list[str]:
    before = todo.before
    if before:
        transaction.write_record(before)
    done = _restore(transaction, kernel, before.sysctl) if kernel else []
    transaction.change(todo.changes)
    done += [f"{'removed' if c.after is None else 'restored'} {c.path}" for c in todo.changes]
    done += _close_directory(transaction, before)
    transaction.unmake(before.made)  # all but the record's own directory, as long as there is a record
    transaction.remove_record()
    transaction.unmake(before.made)
    return done


def _close_directory(transaction: Transaction, before: Changed) -> list[str]:
    """The directory of file mode as it was; kept, but closed, if there are cores in one that we made."""
    now = directory.mode(transaction.tree)
    if directory.PATH not in before.modes or now is None:
        return []

    real = transaction.tree.real(directory.PATH)
    mode = before.modes[directory.PATH]
    if mode is None and transaction.remove_directory(real):
        return [f"removed {directory.PATH}"]

    if now != directory.MODE:
        return []

    mode = directory.CLOSED if mode is None else mode
    transaction.set_mode(real, mode)
    return [f"set the mode of {directory.PATH} to {mode:04o}"]
