"""The note that names the package an ELF file was built for (.note.package, systemd.io/PACKAGE_METADATA_FOR_EXECUTABLE_FILES)."""

from __future__ import annotations

from pycoredump import quickjson
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.wire import clean

FIELDS_MAX = 16
VALUE_MAX = 256  # characters


def read(file: Elf | None) -> dict[str, str] | None:
    """Its fields (type, name, version, architecture, osCpe, ...), None if there is no note that can be read."""
    note = file.package_note if file is not None else b""
    if not note:
        return None
    try:
        value = quickjson.loads(note)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    fields = {
        clean(str(name), VALUE_MAX): clean(text, VALUE_MAX)
        for name, text in list(value.items())[:FIELDS_MAX]
        if isinstance(text, str)
    }
    return fields or None
