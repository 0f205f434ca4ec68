"""Our reading of PAM files and limits against the host's own libpam and pam_limits, on random files."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

from pycoredump.configure import accounts, effective, limits, pam, pam_plan
from pycoredump.configure.tree import Tree

pytestmark = pytest.mark.root
USERS = ("root", "daemon")

if os.geteuid() != 0:
    pytest.skip("needs root, as a login does", allow_module_level=True)
try:
    ctypes.CDLL("libpam.so.0").pam_start_confdir  # noqa: B018 - since Linux-PAM 1.4
except (OSError, AttributeError):
    pytest.skip("libpam has no pam_start_confdir", allow_module_level=True)


def sessions(cases: list[dict[str, str]]) -> list[list[int]]:
    program = pathlib.Path(__file__).with_name("real_pam.py")
    done = subprocess.run(
        [sys.executable, os.fspath(program)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[int]] = json.loads(done.stdout)
    return found


def random_limits(source: random.Random) -> str:
    domains = ("root", "daemon", "*", "@root", "@daemon", "1:", ":0", "0:5", "@:1", "@0:3", "%", "nobody")
    kinds = ("soft", "hard", "-", "Hard")
    values = (
        "0",
        "4",
        "77",
        "1048576",
        "unlimited",
        "-1",
        "infinity",
        "18014398509481984",
        "9" * 30,
        "9" * 5000,
    )
    rows = []
    for _ in range(source.randint(0, 7)):
        row = f"{source.choice(domains)} {source.choice(kinds)} core {source.choice(values)}"
        rows.append(source.choice([row, row, row, f"\t{row}  # note", f"#{row}", row + "\r"]))
    if source.random() < 0.1:
        rows.insert(source.randint(0, len(rows)), f"{source.choice((*domains, '%0:3'))} -")
    return "\n".join(rows) + source.choice(["\n", ""])


def test_pam_limits_sets_what_we_resolve(tmp_path: pathlib.Path) -> None:
    source = random.Random(3)
    debian = limits.debian_rules(Tree("/"))
    # Debian's pam_limits begins with PID 1's limits, upstream's with the process's own.
    base = effective.inherited() if debian else (0, 2**64 - 1)
    cases, expected = [], []
    for number in range(200):
        text = random_limits(source)
        (tmp_path / f"{number}.conf").write_text(text, newline="")
        (tmp_path / f"s{number}").write_text(
            f"session required pam_limits.so conf={tmp_path}/{number}.conf\n"
        )
        for user in USERS:
            account = accounts.user(Tree("/"), user)
            assert account is not None
            found = limits.resolve(list(limits.parse(text, "f")), account, root_by_name_only=debian)
            hard = base[1] if found.hard is None else found.hard
            soft = min(base[0] if found.soft is None else found.soft, hard)
            cases.append({"confdir": os.fspath(tmp_path), "service": f"s{number}", "user": user})
            expected.append((text, user, [0, 2**64 - 1] if found.off else [soft, hard]))
    for (text, user, limit), result in zip(expected, sessions(cases), strict=True):
        assert result == [0, *limit], (user, text)


def random_stack(source: random.Random, inner: list[str], conf: str) -> str:
    results = ("success", "ignore", "session_err", "new_authtok_reqd")
    controls = ("required", "requisite", "optional", "sufficient", "[default=1]", "[success=2 default=ignore]",
                "[success=ok ignore=ignore default=bad]", "[success=done new_authtok_reqd=1 default=die]")  # fmt: skip
    rows = []
    for _ in range(source.randint(1, 6)):
        module = source.choice(
            [
                f"pam_debug.so open_session={source.choice(results)}",
                "pam_permit.so",
                "pam_deny.so",
                f"pam_limits.so conf={conf}",
            ]
        )
        rows.append(f"session {source.choice(controls)} {module}")
        if inner and source.random() < 0.4:
            rows.append(f"session {source.choice(['include', 'substack'])} {source.choice(inner)}")
        if source.random() < 0.2:
            rows[-1] = rows[-1].replace(" ", " \\\n  ", 1)
        if source.random() < 0.2:
            rows.append("# session required pam_limits.so")
    return "\n".join(rows) + source.choice(["\n", ""])


def test_libpam_passes_pam_limits_where_we_say_so(tmp_path: pathlib.Path) -> None:
    source = random.Random(5)
    conf = tmp_path / "limits.conf"
    conf.write_text("root - core 5\n")
    limited = [5 * 1024, 5 * 1024]
    cases, reached = [], []
    for number in range(300):
        inner = [os.fspath(tmp_path / f"inner{number}-{one}") for one in range(2)]
        for path in inner:
            pathlib.Path(path).write_text(random_stack(source, [], os.fspath(conf)))
        text = random_stack(source, inner, os.fspath(conf))
        tree = Tree("/")
        for service, planned in ((f"s{number}", False), (f"t{number}", True)):
            tree.write(f"/etc/pam.d/{service}", text)
            if planned:
                pam_plan.plan(tree, service)
            written = tree.read(f"/etc/pam.d/{service}") or ""
            written = written.replace(pam_plan.LINE, f"{pam_plan.LINE} conf={conf}")
            (tmp_path / service).write_text(written)
            reached.append((written, pam_plan.reach(pam.session(tree, service))))
            cases.append({"confdir": os.fspath(tmp_path), "service": service, "user": "root"})
    (tmp_path / "other").write_text("session required pam_permit.so\n")
    seen = set()
    results = sessions(cases)
    for (text, found), (status, *limit) in zip(reached, results, strict=True):
        seen.add((status == 0, limit == limited, found.always))
        assert not (status == 0 and found.always and limit != limited), text
        assert not (limit == limited and found.module is None), text
    assert {(True, True, True), (True, False, False), (False, False, False)} <= seen
    for before, after in zip(results[::2], results[1::2], strict=True):
        assert not (before[0] == 0 and after[0] != 0)  # our line never refuses a login that was possible
