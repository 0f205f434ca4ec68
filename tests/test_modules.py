"""Modules of a process, found in its maps and opened through map_files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pycoredump import modules, procfs
from pycoredump.procfs import Process, ProcessDirectory

MAPS = b"""\
00400000-0041f000 r--p 00000000 fe:00 42 /usr/bin/python3.11
0041f000-006c3000 r-xp 0001f000 fe:00 42 /usr/bin/python3.11
7f0000000000-7f0000001000 r--p 00000000 fe:00 7 /usr/share/locale/data
7f0000002000-7f0000003000 r--p 00000000 00:2d 9 /mnt/own file system/plugin.so
7f0000003000-7f0000004000 r-xp 00001000 00:2d 9 /mnt/own file system/plugin.so
7f0000005000-7f0000006000 r-xp 00000000 fe:00 8 /tmp/gone (deleted)
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0 [stack]
"""
MOUNTS = b"36 25 0:45 / /mnt/own\\040file\\040system rw - fuse.sshfs me@there: rw\n22 27 254:0 / / rw - ext4 /dev/vda rw\n"


def test_a_module_is_a_file_of_which_something_is_executable() -> None:
    assert [m.path for m in modules.executables(MAPS)] == [
        b"/usr/bin/python3.11",
        b"/mnt/own file system/plugin.so",
        b"/tmp/gone",
    ]


def test_low_addresses_are_named_as_map_files_names_them() -> None:
    assert next(modules.executables(MAPS)).range == "400000-41f000"


def test_file_systems_that_may_not_answer_are_known_by_their_device() -> None:
    assert modules.remote_devices(MOUNTS) == {b"00:2d"}


@pytest.mark.parametrize(
    "maps", [b"", b"\n\n", b"nonsense", b"x-y r-xp 0 fe:00 1 /a"], ids=["none", "empty", "word", "no-range"]
)
def test_hostile_maps_name_no_module(maps: bytes) -> None:
    assert not any(m.range for m in modules.executables(maps))


@pytest.mark.skipif(os.geteuid() != 0, reason="map_files of another process needs root")
@pytest.mark.root
def test_the_files_of_a_living_process_are_opened() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        directory = ProcessDirectory(child.pid)
        maps = b""
        while b"libc.so" not in maps:
            maps = directory.read("maps", procfs.FILES["maps"])
        opened = modules.open_modules(
            directory, Process(maps=maps, mountinfo=directory.read("mountinfo", 1 << 20))
        )
        child.communicate(b"\n")

    paths = {os.path.basename(os.fsdecode(module.path)) for module in opened}
    assert "libc.so.6" in paths
    assert os.path.basename(os.path.realpath(sys.executable)) in paths
    assert all(os.pread(module.fd, 4, 0) == b"\x7fELF" for module in opened)
    modules.close(opened)
