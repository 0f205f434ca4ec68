"""Whose a file is: by dpkg's and rpm's databases in a directory, and by a note in the file itself."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import struct
from collections.abc import Iterator

import pytest

from pycoredump.analysis import dpkg, packagenote, packages, rpm
from pycoredump.analysis.elf import Elf
from pycoredump.analysis.model import Module, Report
from pycoredump.analysis.source import BytesSource

STATUS = """\
Package: shop
Status: install ok installed
Architecture: amd64
Version: 1:2.0-1
Description: sells things
 Version: 9

Package: libshop
Architecture: i386
Version: 1.0

Package: libshop
Architecture: amd64
Version: 1.5
"""


class Host:
    """A root directory with files and a database."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.fds: list[int] = []

    def file(self, name: str) -> int:
        path = self.root / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        self.fds.append(os.open(path, os.O_RDONLY))
        return self.fds[-1]

    def dpkg(self, **lists: str) -> None:
        info = self.root / "var/lib/dpkg/info"
        info.mkdir(parents=True)
        for name, paths in lists.items():
            (info / f"{name.replace('_', ':')}.list").write_text(
                "/.\n/usr\n" + paths.replace(" ", "\n") + "\n"
            )
        (info.parent / "status").write_text(STATUS)

    def owners(self, **files: int) -> packages.Owners:
        return packages.owners({f"/{name}": fd for name, fd in files.items()}, root=os.fspath(self.root))


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for fd in made.fds:
        os.close(fd)


def owner_of(host: Host, path: str, fd: int) -> dict[str, str]:
    return packages.owners({path: fd}, root=os.fspath(host.root)).get(path, {})


def test_the_package_of_a_list_is_described_by_the_status_file(host: Host) -> None:
    host.dpkg(shop="/usr/bin/shop", libshop_amd64="/usr/lib/libshop.so.1")
    expected = {"type": "deb", "name": "shop", "version": "1:2.0-1", "architecture": "amd64"}
    assert owner_of(host, "/usr/bin/shop", host.file("/usr/bin/shop")) == expected
    found = owner_of(host, "/usr/lib/libshop.so.1", host.file("/usr/lib/libshop.so.1"))
    assert (found["name"], found["version"], found["architecture"]) == ("libshop", "1.5", "amd64")


def test_a_merged_usr_has_two_names_for_one_file(host: Host) -> None:
    host.dpkg(shop="/bin/shop")
    fd = host.file("/usr/bin/shop")
    (host.root / "bin").symlink_to("usr/bin")
    assert owner_of(host, "/usr/bin/shop", fd)["name"] == "shop"


def test_a_file_that_was_replaced_is_nobodys(host: Host) -> None:
    host.dpkg(shop="/usr/bin/shop")
    fd = host.file("/usr/bin/shop")
    (host.root / "usr/bin/shop").unlink()
    host.file("/usr/bin/shop")
    assert owner_of(host, "/usr/bin/shop", fd) == {}


@pytest.mark.parametrize(
    "path", ["/usr/local/bin/shop", "/home/me/shop", "/usr/bin/../bin/shop", "shop", "/a\nb"]
)
def test_what_is_not_installed_by_packages_is_not_looked_for(path: str, host: Host) -> None:
    host.dpkg(shop="/usr/local/bin/shop /home/me/shop /usr/bin/shop shop")
    assert owner_of(host, path, host.file("/usr/bin/shop")) == {}


def test_without_a_database_nobody_is_named(host: Host) -> None:
    assert owner_of(host, "/usr/bin/shop", host.file("/usr/bin/shop")) == {}


def test_a_damaged_status_file_leaves_the_name(host: Host) -> None:
    host.dpkg(shop="/usr/bin/shop")
    (host.root / "var/lib/dpkg/status").write_bytes(b"\nPackage: shop\n\xff\0: \nVers")
    assert owner_of(host, "/usr/bin/shop", host.file("/usr/bin/shop")) == {"type": "deb", "name": "shop"}


def test_modules_with_a_note_keep_it() -> None:
    noted = Module(path="/a", start=0, end=1, bias=0, package={"name": "noted"})
    report = Report(modules=(noted, noted.replace(path="/b", package=None)))
    found = packages.complete(report, {"/a": {"name": "owner"}, "/b": {"name": "owner"}})
    assert [module.package for module in found.modules] == [{"name": "noted"}, {"name": "owner"}]


def header(**values: str | list[str] | list[int]) -> bytes:
    """A header of rpm's database."""
    tags = {
        "name": rpm.NAME, "version": rpm.VERSION, "release": rpm.RELEASE, "epoch": rpm.EPOCH, "arch": rpm.ARCH,
        "indexes": rpm.DIRECTORY_INDEXES, "bases": rpm.BASE_NAMES, "directories": rpm.DIRECTORY_NAMES,
    }  # fmt: skip
    entries, data = [], b""
    for key, value in values.items():
        if isinstance(value, str):
            kind, count, packed = rpm.STRING, 1, value.encode() + b"\0"
        elif all(isinstance(one, int) for one in value):
            kind, count = rpm.INT32, len(value)
            data += bytes(-len(data) % 4)
            packed = struct.pack(f">{count}I", *value)
        else:
            kind, count = rpm.STRING_ARRAY, len(value)
            packed = b"".join(f"{one}\0".encode() for one in value)
        entries.append(struct.pack(">IIII", tags[key], kind, len(data), count))
        data += packed
    return struct.pack(">II", len(entries), len(data)) + b"".join(entries) + data


SHOP = header(
    name="shop", version="2.0", release="3.fc40", epoch=[1], arch="x86_64", directories=["/usr/bin/", "/etc/"],
    bases=["shop", "shop"], indexes=[0, 1],
)  # fmt: skip


def test_rpms_header_names_the_package_of_its_files() -> None:
    assert rpm.owner(SHOP, "/usr/bin/shop") == {
        "type": "rpm", "name": "shop", "version": "1:2.0-3.fc40", "architecture": "x86_64",
    }  # fmt: skip
    assert rpm.owner(SHOP, "/etc/shop") is not None
    assert rpm.owner(SHOP, "/usr/sbin/shop") is None


def test_rpms_database_is_read_without_rpm(host: Host) -> None:
    path = host.root / "usr/lib/sysimage/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        database.execute("CREATE TABLE Basenames (key TEXT NOT NULL, hnum INTEGER, idx INTEGER)")
        database.execute("INSERT INTO Packages VALUES (1, ?), (2, ?)", (header(name="other"), SHOP))
        database.execute("INSERT INTO Basenames VALUES ('shop', 1, 0), ('shop', 2, 0)")
    database.close()
    assert owner_of(host, "/usr/bin/shop", host.file("/usr/bin/shop"))["version"] == "1:2.0-3.fc40"


@pytest.mark.parametrize("cut", range(0, len(SHOP), 7))
def test_a_damaged_header_of_rpm_names_nobody_wrong(cut: int) -> None:
    damaged = SHOP[:cut] + b"\xff" * 3 + SHOP[cut + 3 :]
    for blob in (SHOP[:cut], damaged):
        try:
            found = rpm.owner(blob, "/usr/bin/shop")
        except rpm.RpmError:
            continue
        assert found is None or found["type"] == "rpm"


def test_a_database_of_rpm_that_is_none_is_passed_over(host: Host) -> None:
    path = host.root / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"SQLite format 3\0" + bytes(100))
    assert owner_of(host, "/usr/bin/shop", host.file("/usr/bin/shop")) == {}


def noted(text: bytes) -> Elf:
    """An ELF file with a note of systemd's package metadata."""
    note = struct.pack("<III", 4, len(text), 0xCAFE1A7E) + b"FDO\0" + text
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 4, 4, 120, 120, 120, len(note), len(note), 4)
    return Elf(BytesSource(head + note))


def test_the_note_in_a_file_is_read() -> None:
    text = b'{"type":"rpm","name":"shop","version":"2.0","architecture":"x86_64","osCpe":"cpe:/o:x"}'
    found = packagenote.read(noted(text))
    assert found is not None
    assert (found["type"], found["name"], found["osCpe"]) == ("rpm", "shop", "cpe:/o:x")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b'{"name":7}', b"\xff\xfe", b"[" * 5000])
def test_a_note_that_is_damaged_is_none(text: bytes) -> None:
    assert packagenote.read(noted(text)) is None


def test_a_notes_text_cannot_move_the_terminal() -> None:
    found = packagenote.read(noted(b'{"name":"a\\u001b[2J"}'))
    assert found == {"name": "a\ufffd[2J"}


def test_the_status_stanza_of_the_right_architecture_is_taken() -> None:
    assert dpkg.describe(b"\n" + STATUS.encode(), "libshop:i386")["version"] == "1.0"
