"""pyelftools' DWARF reader without what it imports in vain.

For a debugger of its own grammars, a pretty printer and one test of a name, pyelftools imports pdb, inspect,
pprint, logging and what these want: 37 ms of each crash, 9 without. So these stand aside while it is imported. A
release of it that needs more of them gets the real ones.
"""

from __future__ import annotations

import sys
from types import ModuleType

WANTED = ("elftools.construct", "elftools.dwarf.dwarfinfo", "elftools.dwarf.lineprogram")

# Modules, and what pyelftools takes from them without using it for what we ask.
ASIDE: dict[str, dict[str, object]] = {
    "elftools.construct.debug": {"Probe": object, "Debugger": object},
    "logging": {},
    "logging.config": {"valid_ident": lambda _name: True},
    "pathlib": {"Path": str},
    "pprint": {"pformat": repr},
}


def load() -> None:
    """Import it. ImportError if it is not installed."""
    aside = {name: _module(name, names) for name, names in ASIDE.items() if name not in sys.modules}
    before = set(sys.modules)
    sys.modules.update(aside)
    try:
        for name in WANTED:
            __import__(name)
    except Exception:
        for name in set(sys.modules) - before - aside.keys():
            if name.partition(".")[0] == "elftools":
                del sys.modules[name]
        _remove(aside)
        for name in WANTED:
            __import__(name)
    finally:
        _remove(aside)


def _module(name: str, names: dict[str, object]) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(names)
    return module


def _remove(aside: dict[str, ModuleType]) -> None:
    for name, module in aside.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
