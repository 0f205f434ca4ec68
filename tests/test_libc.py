from __future__ import annotations

import errno
import os
import struct

import pytest

from pycoredump import libc


def test_a_call_gives_its_result() -> None:
    assert libc.call("getpid") == os.getpid()


def test_an_error_is_an_os_error_with_number_and_name() -> None:
    with pytest.raises(OSError, match="umount2: ") as caught:
        libc.call("umount2", b"/nothing/here", 0)
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)


def test_a_function_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no pivot_the_moon"):
        libc.call("pivot_the_moon")


def test_numbers_are_passed_whole() -> None:
    assert libc.call("labs", 5) == 5
    buffer = libc.Buffer(8)
    libc.call("memset", buffer.address, 0x41, 8)
    assert bytes(buffer.view) == b"A" * 8


def test_text_and_nothing_are_passed_as_pointers() -> None:
    assert libc.call("strlen", b"four") == 4
    assert libc.call("time", None) != 0


def test_a_buffer_keeps_its_data_where_its_address_says() -> None:
    buffer = libc.Buffer(16, struct.pack("II", 1, 2))
    copy = libc.Buffer(16)
    libc.call("memcpy", copy.address, buffer.address, 16)
    assert struct.unpack("4I", copy.view) == (1, 2, 0, 0)
