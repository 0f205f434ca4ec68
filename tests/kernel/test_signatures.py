"""Signatures of real crashes, of a program without symbols and with ASLR: one for one bug, another for another."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import services
from conftest import MakeHandler, Program
from machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.root]

CHECKOUT = pathlib.Path(__file__).parents[2]
# The first seven die of the same signal.
BUGS = ["null", "address", "read-only", "call-null", "call-data", "overflow", "thread"]
BUGS += ["division", "bus", "illegal", "breakpoint", "seccomp", "abort"]
RUNS = 2
TOOL = f"""
import sys
sys.path.insert(0, {os.fspath(CHECKOUT)!r})
from pycoredump.cli.main import main
sys.exit(main())
"""


def tool(*arguments: str) -> str:
    command = [sys.executable, "-c", TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_one_bug_has_one_signature_and_another_has_another(
    kernel: Machine, program: Program, handler: MakeHandler
) -> None:
    handler({"Storage": "none"})  # they are told apart by the entry alone
    exe = program("signals", flags=("-s", "-pie", "-fPIE"))
    deaths = [(bug, kernel.crash([exe, bug])) for bug in BUGS for _ in range(RUNS)]
    signatures: dict[str, set[str]] = {}
    places = set()
    for bug, death in deaths:
        entry = services.wait_for_entry(death.pid, death.stamp)
        signatures.setdefault(bug, set()).add(entry["COREDUMP_SIGNATURE"].decode())
        place = re.search(rb"\brip=(0x\w+)|\bpc=(0x\w+)", entry["COREDUMP_EXPLANATION"])
        places.add(place.group() if place else b"")
    assert len(places) > len(BUGS) + 1, "address space layout is not random here"
    assert {bug: len(found) for bug, found in signatures.items()} == dict.fromkeys(BUGS, 1)
    assert len(set.union(*signatures.values())) == len(BUGS)

    first = int(deaths[0][1].stamp)
    counted = json.loads(tool("stats", "--json=short", "-q", f"--since=@{first}", os.fspath(exe)))
    groups = {row["name"]: row["crashes"] for row in counted["signatures"]}
    assert groups == dict.fromkeys(set.union(*signatures.values()), RUNS)
    pid = deaths[-1][1].pid
    told = tool("info", "-q", "--no-pager", f"COREDUMP_PID={pid}", f"--since=@{first}")
    assert re.search(r"^ *(Signature|Known): .*\b\d+ (crashes|times)", told, re.MULTILINE), told
