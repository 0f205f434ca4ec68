"""The core limit in limits.conf(5) and limits.d, resolved as pam_limits does it (modules/pam_limits/pam_limits.c).

The seed document asks for a line in limits.conf itself, so that is where it goes; a drop-in of ours that
sorts last is written only where a later file would win over it, or where there is no limits.conf.
"""

from __future__ import annotations

import functools
import os
import re

from pycoredump.configure import lines
from pycoredump.configure.accounts import Account
from pycoredump.configure.number import natural
from pycoredump.configure.request import UNLIMITED, Request, kilobytes
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError
from pycoredump.record import Record

MAIN = "/etc/security/limits.conf"
VENDOR_MAIN = "/usr/etc/security/limits.conf"  # openSUSE: read only where MAIN is missing
DROP_INS = "/etc/security/limits.d"
VENDOR_DROP_INS = "/usr/etc/security/limits.d"  # since Linux-PAM 1.6, where it knows a vendor's directory
OURS = re.compile(r"\S+ (soft|hard) core (\d+|unlimited)")
OWN_NAME = "60-pycoredump.conf"

# Precedence of the domains, the first wins (LIMITS_DEF_* in pam_limits.c).
USER, GROUP, DEFAULT, NONE = range(4)
VALUE = re.compile(r"[0-9]+|-1|-|unlimited|infinity")


class Rule(Record):
    """A line of a limits file. `item` empty: "DOMAIN -", which switches all limits off for the domain."""

    file: str
    line: int
    domain: str
    kind: str  # soft, hard or -
    item: str = ""
    value: str = ""

    def text(self) -> str:
        """The line, one space between its words."""
        return " ".join(word for word in (self.domain, self.kind, self.item, self.value) if word)


class Resolution(Record):
    """What pam_limits will set, in bytes; None: nothing, the limit is inherited."""

    soft: int | None = None
    hard: int | None = None
    rule: Rule | None = None  # that decided about the soft limit
    hard_rule: Rule | None = None
    off: Rule | None = None  # the "DOMAIN -" line that switched everything off

    def effective(self) -> int | None:
        """The soft limit of a login; a soft limit above the hard one is cut to it."""
        if self.off or self.soft is None:
            return None

        return self.soft if self.hard is None else min(self.soft, self.hard)


@functools.lru_cache(maxsize=64)  # the rules are resolved again for each domain
def parse(text: str, file: str) -> tuple[Rule, ...]:
    """The rules of a file. ConfigError names the first line that pam_limits would skip as invalid."""
    rules = []
    for number, line in enumerate(lines.split(text), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue

        kind = words[1].lower() if len(words) > 1 else ""
        if kind not in ("soft", "hard", "-") or not (len(words) >= 4 or (len(words) == 2 and kind == "-")):
            raise ConfigError(
                f"{file}:{number}: {line.strip()!r} is not a limits.conf line",
                hint="it needs a domain, soft, hard or -, an item and a value: see limits.conf(5)",
            )

        item, value = (words[2].lower(), words[3].lower()) if len(words) > 2 else ("", "")
        if item == "core" and not VALUE.fullmatch(value):
            raise ConfigError(
                f"{file}:{number}: {value!r} is not a core limit", hint="a number of KB, or unlimited"
            )
        rules.append(Rule(file=file, line=number, domain=words[0], kind=kind, item=item, value=value))
    return tuple(rules)


def files(tree: Tree, conf: str = "") -> list[str]:
    """The files in the order pam_limits reads them. `conf`: its conf= argument, which excludes all others."""
    if conf:
        return [conf]

    main = [path for path in (MAIN, VENDOR_MAIN) if tree.read(path) is not None][:1]
    places: dict[str, str] = {}
    for directory in (DROP_INS, VENDOR_DROP_INS):  # the first that has a name masks it in the other
        for name in tree.files(directory, ".conf"):
            places.setdefault(name, f"{directory}/{name}")
    return main + [places[name] for name in sorted(places, key=os.fsencode)]


def rules(tree: Tree, conf: str = "") -> list[Rule]:
    """All rules in the order pam_limits reads them."""
    return [rule for path in files(tree, conf) for rule in parse(tree.read(path) or "", path)]


def resolve(found: list[Rule], account: Account, *, root_by_name_only: bool) -> Resolution:
    """What pam_limits sets for the account. Debian's applies * and @group to root never (root_by_name_only)."""
    result = Resolution()
    ranks = {"soft": NONE, "hard": NONE}
    for rule in found:
        rank = _rank(rule, account, root_by_name_only)
        if rank is None:
            continue

        if not rule.item:
            if rank != DEFAULT:  # "* -" is not looked at
                return Resolution(off=rule)
            continue

        if rule.item != "core":
            continue

        for side in ("soft", "hard") if rule.kind == "-" else (rule.kind,):
            if ranks[side] < rank:
                break  # as in process_limit(): "-" gives up both when the soft one is taken
            ranks[side] = rank
            value = _bytes(rule.value)
            result = (
                result.replace(soft=value, rule=rule)
                if side == "soft"
                else result.replace(hard=value, hard_rule=rule)
            )
    return result


def _bytes(value: str) -> int:
    kilobytes = natural(value)
    return UNLIMITED if kilobytes is None else min(kilobytes * 1024, UNLIMITED)


def _rank(rule: Rule, account: Account, root_by_name_only: bool) -> int | None:
    """USER, GROUP, DEFAULT; None where the rule is about others."""
    domain = rule.domain
    # A "DOMAIN -" line takes no notice of Debian's exception, and of % only where a range follows.
    wild = not (root_by_name_only and account.uid == 0 and rule.item)
    if not rule.item and ":" in domain:
        domain = domain.removeprefix("%")
    if domain == account.name:
        return USER

    if domain == "*":
        return DEFAULT if wild else None

    if not wild and domain[:1] in ("@", "%"):
        domain = domain[1:]  # Debian's patch passes root's group ranges on as ranges of user ids
        if ":" not in domain:
            return None

    if domain.startswith("@"):
        return GROUP if _in_group(domain[1:], account) else None

    if ":" in domain and account.uid is not None and _in_range(domain, account.uid):
        return USER

    return None


def _in_group(name: str, account: Account) -> bool:
    if ":" not in name:
        return name in account.groups

    if name.startswith(":"):
        return natural(name[1:]) in account.gids

    return account.gid is not None and _in_range(name, account.gid)


def _in_range(text: str, number: int) -> bool:
    low, _, high = text.partition(":")
    # ":N" is exactly N, "N:" is N and above.
    least, most = natural(low or high), natural(high) if high else UNLIMITED
    return least is not None and most is not None and least <= number <= most


def debian_rules(tree: Tree) -> bool:
    """Whether pam_limits is Debian's, which does not apply * and @group to root (its limits.conf(5))."""
    release = tree.read("/etc/os-release") or tree.read("/usr/lib/os-release") or ""
    identity = [line for line in release.split("\n") if line.startswith(("ID=", "ID_LIKE="))]
    return any(word in line for line in identity for word in ("debian", "ubuntu"))


def undo(text: str) -> str:
    """The text without our lines."""
    return lines.remove(text, OURS)


def edit(text: str, added: list[str]) -> str:
    """The text with our lines at its end, but before a closing "# End of file"."""
    clean = undo(text)
    present = lines.split(clean)
    at = len(present)
    while at and (not present[at - 1].strip() or present[at - 1].strip().lower() == "# end of file"):
        at -= 1
    if not any(line.strip() for line in present[at:]):
        at = len(present)
    return lines.insert(clean, at, added) if added else clean


def needed(found: Resolution, domain: str, request: Request, inherited_hard: int | None) -> list[str]:
    """The lines that give the domain its limit; a hard one only where the hard limit is too low."""
    wanted = request.core_limit
    effective = found.effective()
    hard = found.hard if found.hard is not None else inherited_hard
    low = hard is not None and hard < wanted
    if effective is not None and effective >= wanted and not low:
        return []

    size = kilobytes(wanted)
    return ([f"{domain} hard core {size}"] if low else []) + [f"{domain} soft core {size}"]
