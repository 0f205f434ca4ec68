"""Where the core limit's lines go, so that they win, and whether they do."""

from __future__ import annotations

from pycoredump.configure import accounts, limits, lines
from pycoredump.configure.item import NOTHING, OK, WRONG, Item
from pycoredump.configure.limits import Resolution
from pycoredump.configure.request import UNLIMITED, Request, kilobytes
from pycoredump.configure.tree import Tree


def resolve(tree: Tree, domain: str, conf: str = "") -> Resolution:
    """What pam_limits sets for the domain."""
    return limits.resolve(
        limits.rules(tree, conf),
        accounts.subject(tree, domain),
        root_by_name_only=limits.debian_rules(tree),
    )


def plan(tree: Tree, request: Request, *, conf: str = "", inherited_hard: int | None = None) -> None:
    """Add to the tree what the domains need, where it wins."""
    added = []
    for domain in request.domains:
        found = resolve(tree, domain, conf)
        if not found.off:  # a "DOMAIN -" line cannot be beaten by adding one
            added += limits.needed(found, domain, request, inherited_hard)
    main = conf or limits.MAIN
    text = None if tree.masked(main) else tree.read(main)
    if text is None and not tree.masked(main) and (conf or tree.read(limits.VENDOR_MAIN) is None):
        # Up to Linux-PAM 1.5 pam_limits refuses every session where its file is missing.
        tree.write(main, lines.whole(added))
        if conf or all(_served(tree, domain, request, conf) for domain in request.domains):
            return

        tree.write(main, lines.whole([]))
    if not added:
        return

    if text is not None:
        trial = tree.copy()
        trial.write(main, limits.edit(text, added))
        if conf or all(_served(trial, domain, request, conf) for domain in request.domains):
            tree.write(main, limits.edit(text, added))
            return

    others = [path.rpartition("/")[2] for path in limits.files(tree) if path.startswith(limits.DROP_INS)]
    tree.write(f"{limits.DROP_INS}/{lines.last_name(limits.OWN_NAME, others)}", lines.whole(added))


def _served(tree: Tree, domain: str, request: Request, conf: str) -> bool:
    found = resolve(tree, domain, conf)
    return found.off is not None or not limits.needed(found, domain, request, None)


def inspect(tree: Tree, request: Request, confs: list[str]) -> list[Item]:
    """One item for each domain and each limits file that a login's PAM stack names."""
    return [_item(tree, request, domain, conf) for domain in request.domains for conf in confs]


def _item(tree: Tree, request: Request, domain: str, conf: str) -> Item:
    found = resolve(tree, domain, conf)
    size = kilobytes(request.core_limit)
    effective = found.effective()
    good = effective is not None and effective >= request.core_limit
    cause = found.off or _cause(found)
    return Item(
        name=f"core limit of {domain}" + (f" ({conf})" if conf else ""),
        state=OK if good else WRONG,
        wanted=f"{domain} soft core {size}",
        found=cause.text() if cause else NOTHING,
        effective=_effect(found),
        file=cause.file if cause else conf or limits.MAIN,
        line=cause.line if cause else 0,
        hint="" if good else _hint(found, domain),
    )


def _cause(found: Resolution) -> limits.Rule | None:
    # A hard limit alone also cuts the soft one that is inherited.
    cut = found.hard is not None and (found.soft is None or found.hard < found.soft)
    return found.hard_rule if cut else found.rule


def _effect(found: Resolution) -> str:
    effective = found.effective()
    if effective is not None:
        return kilobytes(effective)

    cut = not found.off and found.hard is not None and found.hard < UNLIMITED
    return f"inherited, at most {kilobytes(found.hard or 0)}" if cut else "inherited"


def _hint(found: Resolution, domain: str) -> str:
    if found.off:
        return f"{found.off.text()!r} switches every limit off for {domain}: remove that line"

    return ""
