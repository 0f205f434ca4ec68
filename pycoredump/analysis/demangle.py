"""Readable names of C++ and Rust functions; every other name stays as it is."""

from __future__ import annotations

from pycoredump.analysis import itanium, rust


def demangle(name: str) -> str:
    """The readable form of a mangled name, the name itself if there is none."""
    try:
        if name.startswith("_R"):
            return rust.v0(name)
        if name.startswith("_ZN"):
            try:
                return rust.legacy(name)
            except rust.Unreadable:
                pass
        if name.startswith("_Z"):
            return itanium.demangle(name)
    except (
        rust.Unreadable,
        itanium.Unreadable,
        RecursionError,
    ):  # the last: called deep in somebody's recursion
        return name
    return name
