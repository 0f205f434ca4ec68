"""What is imported for the analysis before it is confined, and how dear that is."""

from __future__ import annotations

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parents[2]

BEGIN = f"""\
import sys
sys.path[:0] = [{os.fspath(ROOT)!r}]
sys.path.append("/usr/lib/python3/dist-packages")
"""


def run(code: str) -> str:
    """Output of a fresh interpreter as the kernel's handler has one."""
    command = ["/usr/bin/python3", "-IS", "-c", BEGIN + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_handlers_process_imports_little_for_the_analysis() -> None:
    code = "import pycoredump.explain; print(*sorted(sys.modules))"
    loaded = set(run(code).split())
    for dear in ("re", "enum", "typing", "socket", "json", "ctypes", "collections", "zstandard", "signal"):
        assert dear not in loaded


def test_nothing_is_left_to_import_in_the_sandbox() -> None:
    # Each module of the analysis is loaded, but for those that work outside of the sandbox.
    code = """
from pycoredump.analysis import confine, seccomp, service
service.prepare()
print(*sys.modules)
"""
    loaded = set(run(code).split())
    outside = {"debugfiles", "dpkg", "packages", "rpm", "separate", "stacktrace"}
    for path in (ROOT / "pycoredump" / "analysis").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if path.stem not in outside:
            assert name in loaded


def test_nothing_of_the_analysis_wants_a_library_to_read_elf_files() -> None:
    code = """
from pycoredump.analysis import service
service.prepare()
print(*sys.modules)
"""
    assert not {"elftools", "pathlib", "typing", "logging"} & set(run(code).split())
