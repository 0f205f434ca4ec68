"""Calls of the C library that Python's own modules do not offer, by ctypes' C part: the package costs 3 ms.

Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import _ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Argument = int | bytes | None


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # generic for mypy only
    _type_ = "i"


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "L"


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


_library = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: the program itself


def call(name: str, *arguments: Argument) -> int:
    """What the function returns, an int; numbers are passed as long. OSError if it is -1, AttributeError if there is none."""
    try:
        make: Any = _Function
        function = make(_ctypes.dlsym(_library, name))
    except OSError as e:
        raise AttributeError(f"The C library has no {name}") from e

    values = [_Long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result: int = function(*values)
    if result == -1:
        number = _ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


class Buffer:
    """Memory of a fixed size at an address that stays: for calls that fill it, or want a pointer in a structure."""

    def __init__(self, size: int, data: bytes = b"") -> None:
        kind: Any = type("Bytes", (_ctypes.Array,), {"_type_": _Byte, "_length_": size})
        self._array = kind()
        self.address: int = _ctypes.addressof(self._array)
        self.view = memoryview(self._array).cast("B")
        self.view[: len(data)] = data
