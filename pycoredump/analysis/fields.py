"""A report as fields of the journal entry, and as the text of its message."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from pycoredump.analysis import stacktrace
from pycoredump.analysis.model import Report, ScriptTrace

PACKAGE_KEYS = ("type", "name", "version", "architecture", "osCpe", "os", "osVersion", "debugInfoUrl")


def journal(report: Report) -> dict[str, str]:
    """Field names as journal.py lists them; what is not known is left out."""
    main = next((module for module in report.modules if module.main), None)
    package = (main.package if main else None) or {}
    fields = {
        "COREDUMP_SIGNATURE": report.signature,
        "COREDUMP_TITLE": report.title,
        "COREDUMP_EXPLANATION": "\n".join(report.words),
        "COREDUMP_SCRIPT": report.script,
        "COREDUMP_SCRIPT_TRACE": "\n".join(script_lines(report)),
        "COREDUMP_MODULES": "\n".join(f"{m.build_id or '-'} {m.path}" for m in report.modules),
        "COREDUMP_PACKAGE_JSON": package_json(report),
        "COREDUMP_PACKAGE_NAME": package.get("name", ""),
        "COREDUMP_PACKAGE_VERSION": package.get("version", ""),
    }
    return {name: value for name, value in fields.items() if value}


def message(report: Report) -> str:
    """What follows the first line of MESSAGE; "" if there is no backtrace."""
    lines = list(stacktrace.lines(report, report.architecture)) if report.threads else []
    return "\n".join(lines)


def package_json(report: Report) -> str:
    """As systemd-coredump writes it: build id and package of each module, by base name; "" without modules.

    coredumpctl looks for the executable's base name in it.
    """
    if not report.modules:
        return ""
    modules: dict[str, object] = {"elfType": "coredump"}
    if report.architecture:
        modules["elfArchitecture"] = report.architecture
    for module in report.modules:
        known = {
            key: module.package[key] for key in PACKAGE_KEYS if module.package and key in module.package
        }
        if module.build_id:
            known["buildId"] = module.build_id
        if known:
            modules.setdefault(os.path.basename(module.path), known)
    return json.dumps(modules)


def script_lines(report: Report) -> Iterator[str]:
    """The interpreter's stacks, the crashing thread's first, worded as Python words its own."""
    first = report.threads[0].tid if report.threads else 0
    for trace in sorted(report.scripts, key=lambda trace: trace.tid != first):
        yield from _trace(trace)


def _trace(trace: ScriptTrace) -> Iterator[str]:
    language = trace.frames[0].language if trace.frames else ""
    yield f"{language} stack of thread {trace.tid}:"
    for number, frame in enumerate(trace.frames):
        where = f"{frame.file}:{frame.line}" if frame.line else frame.file
        yield f"#{number:<2} {frame.function} ({where})"
