"""coredumpctl, unmodified, takes what we store and log; the core it gives back is the kernel's to the byte."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import launchers
import pytest
import services
from conftest import MakeHandler, Program
from machine import Machine

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("coredumpctl") is None, reason="needs coredumpctl"),
]
MIB = 1 << 20


def coredumpctl(*arguments: str) -> str:
    done = subprocess.run(
        ["coredumpctl", "--no-pager", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


@pytest.fixture
def crashed(kernel: Machine, program: Program, handler: MakeHandler) -> int:
    """The PID of a process of three threads that wrote to NULL; its entry is there."""
    handler()
    death = kernel.crash([program("threads"), "3", "1", "mixed", "null"])
    services.wait_for_entry(death.pid, death.stamp)
    return death.pid


def test_list_shows_the_crash_with_its_core(crashed: int) -> None:
    (shown,) = json.loads(coredumpctl("list", "--json=short", str(crashed)))
    assert shown["pid"] == crashed
    assert shown["sig"] == 11
    assert shown["corefile"] == "present"
    assert shown["exe"].endswith("/threads")
    assert shown["uid"] == 0
    assert shown["size"] > 0


def test_info_tells_the_facts(crashed: int) -> None:
    shown = coredumpctl("info", str(crashed))
    assert f"PID: {crashed} (threads)" in shown
    assert "Signal: 11 (SEGV)" in shown
    assert "Command Line:" in shown
    assert "(present)" in shown
    assert f"Process {crashed} (threads) of user 0 dumped core." in shown


@pytest.mark.skipif(shutil.which("gdb") is None, reason="needs gdb")
def test_debug_shows_the_crashing_function(crashed: int) -> None:
    shown = coredumpctl("debug", str(crashed), "--debugger-arguments=-batch -nx -ex bt")
    assert "crash_here" in shown
    assert "main" in shown


@pytest.mark.skipif(shutil.which("gdb") is None, reason="needs gdb")
def test_debugger_sees_every_thread_and_what_is_known_of_it(
    crashed: int, program: Program, tmp_path: pathlib.Path
) -> None:
    core = tmp_path / "core"
    coredumpctl("dump", str(crashed), "-o", str(core))
    commands = [
        "info threads",
        "print known_global",
        "thread apply all print known_local",
        "thread apply all bt",
    ]
    shown = subprocess.run(
        ["gdb", "-batch", "-nx", *(f"-ex={command}" for command in commands), program("threads"), core],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1234605616436508552" in shown.stdout  # 0x1122334455667788
    assert shown.stdout.count("wait_at_the_bottom") >= 2
    for value in ("1000", "1001", "1002"):
        assert f"= {value}\n" in shown.stdout, shown.stdout
    # gdb 13 says so of every core from a processor with more state than it knows.
    complaints = [line for line in shown.stderr.splitlines() if line.strip() and ".reg-xstate/" not in line]
    assert complaints == []


@pytest.mark.parametrize(
    ("arguments", "timeout"),
    [
        pytest.param(["threads", "1", "0", "zero"], 60, id="small"),
        pytest.param(["threads", "5", "64", "mixed"], 60, id="mixed"),
        pytest.param(["threads", "40", "16", "zero"], 60, id="many-threads"),
        pytest.param(["sparse", "1", "128"], 60, id="sparse"),
        pytest.param(["threads", "5", "1024", "mixed"], 300, id="1G", marks=pytest.mark.slow),
    ],
)
def test_dump_gives_back_the_stream_of_the_kernel(
    arguments: list[str],
    timeout: int,
    kernel: Machine,
    program: Program,
    handler: MakeHandler,
    tmp_path: pathlib.Path,
) -> None:
    """The process holds still while both are made: the recorder keeps the stream open until the handler is done."""
    one = handler()
    kernel.register(launchers.recorder(kernel.directory, one.path))
    death = kernel.crash([program(arguments[0]), *arguments[1:]])
    entry = services.wait_for_entry(death.pid, death.stamp, seconds=timeout)
    assert "COREDUMP_TRUNCATED" not in entry
    stream, core = kernel.directory / f"stream-{death.pid}", tmp_path / "core"
    try:
        coredumpctl("dump", str(death.pid), "-o", str(core))
        assert same(stream, core)
    finally:
        stream.unlink()
        core.unlink(missing_ok=True)


def same(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two files have the same bytes; cmp(1) names the first that differs."""
    done = subprocess.run(["cmp", one, other], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr} ({one.stat().st_size} and {other.stat().st_size} bytes)"
    )
    return True
