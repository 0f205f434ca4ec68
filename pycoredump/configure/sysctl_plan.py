"""Which sysctl files must be written so that the settings win, and what the kernel runs with now."""

from __future__ import annotations

from pycoredump.configure import lines, sysctl
from pycoredump.configure.item import NOTHING, OK, WRONG, Item
from pycoredump.configure.sysctl import Setting
from pycoredump.configure.tree import Tree

ETC = "/etc/sysctl.d"


def plan(tree: Tree, mode: str) -> None:
    """Write to the tree what is missing. In file mode ours masks the shipped file, as sysctl.d(5) has it."""
    wanted = sysctl.wanted(tree, mode)
    own = f"{ETC}/{sysctl.NAME}"
    if losing(tree, wanted) and tree.read(own) is None and (mode == "file" or not sysctl.vendor(tree)):
        tree.write(own, sysctl.own(wanted))

    late = losing(tree, wanted)
    conf = tree.read(sysctl.CONF)
    by_conf = {key: wanted[key] for key in late if any(_is_conf(tree, s.file) for s in late[key])}
    if conf is not None and by_conf:
        tree.write(sysctl.CONF, sysctl.edit(conf, by_conf))

    rest = losing(tree, wanted)
    if rest:
        others = [path.rpartition("/")[2] for path in sysctl.files(tree)]
        name = lines.last_name("zz-pycoredump.conf", others)
        tree.write(f"{ETC}/{name}", sysctl.own({key: wanted[key] for key in rest}))


def losing(tree: Tree, wanted: dict[str, str]) -> dict[str, list[Setting]]:
    """The keys for which another file wins with another value, or none sets them, with the winners."""
    found = {}
    for key, right in wanted.items():
        winners = sysctl.resolve(tree, key)
        if not winners or not all(sysctl.accepts(key, winner.value, right) for winner in winners):
            found[key] = winners
    return found


def _is_conf(tree: Tree, path: str) -> bool:
    return tree.resolve(path) == tree.resolve(sysctl.CONF)


def inspect(tree: Tree, mode: str, running: dict[str, str]) -> list[Item]:
    """One item for each key. `running`: the kernel's values; {} where it is not this host's kernel."""
    wanted = sysctl.wanted(tree, mode)
    late = losing(tree, wanted)
    return [_item(tree, key, right, key in late, running) for key, right in wanted.items()]


def _item(tree: Tree, key: str, right: str, late: bool, running: dict[str, str]) -> Item:
    winners = sysctl.resolve(tree, key)
    winner = next((w for w in winners if not sysctl.accepts(key, w.value, right)), None) or (
        winners[-1] if winners else None
    )
    now = running.get(key)
    good = not late and (now is None or sysctl.accepts(key, now, right))
    return Item(
        name=key,
        state=OK if good else WRONG,
        wanted=right,
        found=winner.value if winner else NOTHING,
        effective="" if now is None else f"running: {now}",
        file=winner.file if winner else "",
        line=winner.line if winner else 0,
        hint="" if good or late else "the files are right, but the running kernel is not: apply sets it",
    )
