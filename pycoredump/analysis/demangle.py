"""Readable names of C++ and Rust functions."""

from __future__ import annotations


def demangle(name: str) -> str:
    return name
