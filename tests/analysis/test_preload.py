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


def test_pyelftools_comes_without_what_it_does_not_need() -> None:
    code = """
from pycoredump.analysis import lines
print(*sys.modules)
import logging, pathlib, pprint
print(logging.getLogger.__name__, pathlib.Path("/a").name, pprint.pformat(1))
"""
    loaded, real = run(code).splitlines()
    assert {"elftools.dwarf.dwarfinfo"} <= set(loaded.split())
    assert not {"pdb", "inspect", "logging", "pathlib", "pprint", "urllib.parse"} & set(loaded.split())
    assert real == "getLogger a 1"


def test_a_pyelftools_that_needs_more_gets_it(tmp_path: pathlib.Path) -> None:
    package = tmp_path / "elftools"
    for name in ("construct/debug", "dwarf/dwarfinfo", "dwarf/lineprogram"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text("")
        (package / name).with_name("__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "construct/__init__.py").write_text("from pathlib import PurePosixPath\n")
    code = f"""
sys.path.insert(0, {os.fspath(tmp_path)!r})
from pycoredump.analysis import pyelftools
pyelftools.load()
print(sys.modules["elftools.construct"].PurePosixPath)
"""
    assert run(code) == "<class 'pathlib.PurePosixPath'>\n"


def test_without_pyelftools_only_source_lines_are_lost() -> None:
    code = """
sys.modules["elftools"] = None
from pycoredump.analysis import service
service.prepare()
print("pycoredump.analysis.unwind" in sys.modules, "pycoredump.analysis.lines" in sys.modules)
"""
    assert run(code) == "True False\n"
