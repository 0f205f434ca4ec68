"""status: each finding, and what to do about it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from cli_system import System

from pycoredump import crash
from pycoredump.cli import health, status
from pycoredump.cli.health import BAD, NOTE, OK, Item
from pycoredump.cli.incidents import Incidents, Place
from pycoredump.cli.matches import Matches
from pycoredump.cli.screen import Style
from pycoredump.config import Config
from pycoredump.configure.kernel import Kernel
from pycoredump.configure.tree import Tree

T = 1_795_400_000
PATTERN = f"|{crash.HANDLER} %P %s %t %e"


def kernel(tmp_path: pathlib.Path, **values: str) -> Kernel:
    """A /proc/sys with these values."""
    for name, value in {
        "core_pattern": PATTERN,
        "core_pipe_limit": "16",
        "suid_dumpable": "2",
        **values,
    }.items():
        path = tmp_path / "sys" / ("fs" if name == "suid_dumpable" else "kernel") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return Kernel(os.fspath(tmp_path / "sys"))


def tree(tmp_path: pathlib.Path, **files: str) -> Tree:
    """A root whose sysctl.d has these files, by name without .conf."""
    place = tmp_path / "root/usr/lib/sysctl.d"
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / f"{name}.conf").write_text(text)
    return Tree(os.fspath(tmp_path / "root"))


def one(items: list[Item], name: str) -> Item:
    return next(item for item in items if item.name == name)


def test_a_handler_that_is_registered_now_and_at_boot_is_well(tmp_path: pathlib.Path) -> None:
    found = list(health.handler(tree(tmp_path, b=f"kernel.core_pattern={PATTERN}\n"), kernel(tmp_path)))
    assert one(found, "core_pattern").state == OK
    assert one(found, "at boot") == Item(name="at boot", state=OK, found="set by /usr/lib/sysctl.d/b.conf:1")


def test_another_file_that_wins_at_boot_is_named(tmp_path: pathlib.Path) -> None:
    files = {
        "a": f"kernel.core_pattern={PATTERN}\n",
        "z": "# apport\nkernel.core_pattern=|/usr/share/apport/apport %p\n",
    }
    at_boot = one(list(health.handler(tree(tmp_path, **files), kernel(tmp_path))), "at boot")
    assert at_boot.state == BAD
    assert at_boot.found == "/usr/lib/sysctl.d/z.conf:2 sets '|/usr/share/apport/apport %p'"
    assert at_boot.hint == "pycoredump-configure apply"


def test_nobody_sets_the_pattern(tmp_path: pathlib.Path) -> None:
    found = list(health.handler(tree(tmp_path), kernel(tmp_path, core_pattern="core")))
    assert one(found, "core_pattern").found == "'core' is not the handler"
    assert one(found, "at boot").state == BAD


@pytest.mark.parametrize(
    ("values", "name", "state"),
    [
        ({"core_pipe_limit": "0"}, "core_pipe_limit", BAD),
        ({"core_pipe_limit": "64"}, "core_pipe_limit", OK),
        ({"suid_dumpable": "0"}, "suid_dumpable", NOTE),
        ({"suid_dumpable": "2"}, "suid_dumpable", OK),
    ],
)
def test_each_setting_is_judged(
    tmp_path: pathlib.Path, values: dict[str, str], name: str, state: str
) -> None:
    assert one(list(health.settings(kernel(tmp_path, **values))), name).state == state


def test_the_socket_service_of_systemd_262_is_a_rival(tmp_path: pathlib.Path) -> None:
    place = tree(tmp_path)
    wants = tmp_path / "root/etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    (wants / "systemd-coredumpd.service").symlink_to("/usr/lib/systemd/system/systemd-coredumpd.service")
    item = one(list(health.others(place)), "systemd-coredumpd")
    assert item.state == BAD
    assert item.hint == "systemctl disable --now systemd-coredumpd.service"


def test_the_libraries_of_the_handler_are_loaded_as_it_loads_them() -> None:
    found = {item.name: item.state for item in health.libraries()}
    assert found == {"zstandard": OK, "systemd": OK}


def test_the_interpreter_is_that_of_the_handler(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "handler"
    script.write_text("#!/usr/bin/python3 -IS\n")
    assert health.shebang(os.fspath(script)) == "/usr/bin/python3"
    assert health.shebang(os.fspath(tmp_path / "none")) == ""


def test_a_directory_that_others_may_change_is_bad(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o777)
    item = one(list(health.disk(Config(directory=os.fspath(tmp_path)))), "directory")
    assert item.state == BAD
    assert "mode 777" in item.found


def test_use_is_told_against_the_limits(tmp_path: pathlib.Path) -> None:
    system = System(tmp_path / "root")
    system.crash(1, time=T, entry=False)
    found = list(health.disk(Config(directory=os.fspath(system.cores), max_use=4096, keep_free=1 << 60)))
    assert one(found, "archives").state == NOTE
    assert one(found, "archives").found.startswith("1 in ")
    assert one(found, "free space").state == BAD


def test_the_last_crash_and_its_problems_are_told(tmp_path: pathlib.Path) -> None:
    system = System(tmp_path / "root")
    system.crash(1, time=T, entry=False, problems="No pidfd\nNo maps")
    found = list(
        health.last(Incidents(Place(root=os.fspath(system.root), cores=os.fspath(system.cores)), Matches()))
    )
    assert "prog[1] SIGSEGV" in found[0].found
    assert found[1].found == "No pidfd; No maps"


@pytest.mark.parametrize(
    "line",
    [
        "4,100,5000,-;Pid 12(a) over core_pipe_limit",
        "6,100,5000,-;coredump: 12(a): over core_pipe_limit, skipping core dump",
    ],
    ids=["until-6.9", "since"],
)
def test_crashes_that_the_kernel_skipped_are_counted(tmp_path: pathlib.Path, line: str) -> None:
    log = tmp_path / "kmsg"
    log.write_text(f"6,1,1,-;Linux version\n{line}\n{line}\n2,5,6,-;pycoredump[9]: Process 1 (a) \n")
    found = list(health.kernel_log(path=os.fspath(log)))
    assert found[0].state == BAD
    assert found[0].found.startswith("2 in the kernel log, the last ")
    assert found[1].found == "1 message of the handler, the last: Process 1 (a) "


def test_a_kernel_log_that_may_not_be_read_is_told(tmp_path: pathlib.Path) -> None:
    (item,) = health.kernel_log(path=os.fspath(tmp_path / "none"))
    assert item.state == NOTE
    assert "not known" in item.found


def test_what_is_bad_comes_with_what_to_do() -> None:
    items = [
        Item(name="a", state=OK, found="x", hint="not shown"),
        Item(name="long", state=BAD, found="y\x1b", hint="do"),
    ]
    lines = list(status.text(items, Style(colour=False)))
    assert lines[0].endswith("    a: x")
    assert lines[1].endswith(" long: y\\x1b")
    assert lines[2].endswith(" do")
    assert lines[-1] == "1 of 2 findings are bad"


def test_long_findings_are_folded_at_the_width_of_the_terminal() -> None:
    items = [Item(name="name", state=BAD, found="word " * 30, hint="what to do " * 10)]
    lines = list(status.text(items, Style(colour=False), width=60))
    assert max(map(len, lines)) <= 60
    assert len(lines) > 6
    assert lines[1].startswith(" " * 8 + "word")


def test_a_directory_that_others_may_list_is_noted(tmp_path: pathlib.Path) -> None:
    os.chmod(tmp_path, 0o755)
    first = next(health.disk(Config(directory=os.fspath(tmp_path))))
    assert (first.name, first.state) == ("directory", NOTE)
    os.chmod(tmp_path, 0o711)
    assert next(health.disk(Config(directory=os.fspath(tmp_path)))).name == "archives"


def test_the_exit_status_says_whether_something_is_bad(tmp_path: pathlib.Path) -> None:
    done: subprocess.CompletedProcess[bytes] = System(tmp_path / "root").run(
        "status", "--json=short", root=False
    )
    items = json.loads(done.stdout)
    assert done.returncode == int(any(item["state"] == "bad" for item in items))
    assert {
        "core_pattern",
        "at boot",
        "handler",
        "core_pipe_limit",
        "zstandard",
        "journald",
        "last crash",
    } <= {item["name"] for item in items}
