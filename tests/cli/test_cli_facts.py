"""The lines of info: every field may be missing, or hold anything."""

from __future__ import annotations

import os

import pytest

from pycoredump.cli import facts
from pycoredump.cli.incident import BACKTRACE_ID, Incident, Known, Presence


def lines(known: Known | None = None, /, **fields: str) -> dict[str, str]:
    values = {
        name if name.startswith(("_", "MESS")) else f"COREDUMP_{name}": v for name, v in fields.items()
    }
    one = Incident(0, {}, lambda name: values.get(name, ""), names=lambda: list(values))
    return dict(facts.lines(one, Presence("none"), now=2_000_000, known=known))


def test_an_incident_without_facts_has_nothing_but_no_core() -> None:
    assert lines() == {"Storage": "none"}


@pytest.mark.parametrize("junk", ["", "x", "-1", "9" * 40, "\x1b[2J", "\udcff", "{", "[[[[", "1\n2"])
def test_any_field_may_hold_anything(junk: str) -> None:
    names = (
        "PID", "UID", "GID", "TID", "SIGNAL", "CODE", "CODE_NAME", "TIMESTAMP", "RLIMIT", "CORE_SIZE", "KEPT_SIZE",
        "DROPPED", "PACKAGE_JSON", "EXE", "THREADS", "OWNER_UID", "SENDER_PID", "SYSCALL", "MODULES", "ENVIRON",
    )  # fmt: skip
    found = lines(_UID=junk, MESSAGE=junk, **dict.fromkeys(names, junk))
    for label, value in found.items():
        for line in facts.text(label, value).split("\n"):
            assert line.isprintable()
            assert line.startswith((" " * 16, f"{label:>14}: "))


@pytest.mark.parametrize("depth", [10, 100_000])
def test_nested_json_is_no_build_id(depth: int) -> None:
    assert "build-id" not in lines(EXE="/x", PACKAGE_JSON="[" * depth)
    assert lines(EXE="/bin/x", PACKAGE_JSON='{"x":{"buildId":"ab"}}')["build-id"] == "ab"


@pytest.mark.parametrize(
    ("sender", "claimed"),
    [("0", False), ("1000", False), ("1001", True), ("4294967294", True), ("", False)],
    ids=["root", "the user", "another", "nobody known", "not told"],
)
def test_an_entry_of_another_user_is_a_claim(sender: str, claimed: bool) -> None:
    assert ("Not Trusted" in lines(UID="1000", _UID=sender)) == claimed


def test_a_user_without_account_is_a_number() -> None:
    assert lines(UID="3999999")["UID"] == "3999999 (3999999)"
    assert lines(UID="0")["UID"] == "0 (root)"


def test_a_signal_is_told_in_words() -> None:
    found = lines(SIGNAL="11", CODE_NAME="SEGV_MAPERR", CODE="1", FAULT_ADDRESS="0x8")
    assert found["Signal"] == "11 (SEGV)"
    assert found["Meaning"] == "memory that is not there, or not for this use"
    assert found["Code"] == "SEGV_MAPERR: nothing is mapped at the address"
    assert found["Fault Address"] == "0x8"
    assert lines(SIGNAL="SIGSEGV")["Signal"] == "SIGSEGV"


def test_a_program_that_logs_its_own_end_has_a_reason() -> None:
    found = lines(SIGNAL="KeyError: 'x'", MESSAGE_ID=BACKTRACE_ID)
    assert found["Reason"] == "KeyError: 'x'"
    assert "Signal" not in found


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (Known(), "ab"),
        (Known(crashes=1, first=5), "ab (no other crash like this is known)"),
        (
            Known(crashes=3, first=1_000_000),
            "ab (3 crashes like this, the first Thu 1970-01-01 00:00:01 UTC, 1s ago)",
        ),
    ],
    ids=["not known", "the only one", "several"],
)
def test_a_signature_tells_how_often_it_was_seen(
    known: Known, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "TZ", "UTC")
    assert lines(known, SIGNATURE="ab")["Signature"] == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"CORE_SIZE": "2048", "KEPT_SIZE": "2048"}, "2.0K, kept whole"),
        ({"CORE_SIZE": "2048"}, "2.0K, nothing kept"),
        ({"CORE_SIZE": "2048", "KEPT_SIZE": "1024", "TRUNCATED": "1"}, "2.0K, 1.0K kept, truncated"),
        (
            {
                "CORE_SIZE": "2048",
                "KEPT_SIZE": "1024",
                "CONTENT": "stacks",
                "DROPPED": "0x0-0x200\n0x400-0x600",
            },
            "2.0K, 1.0K kept by Content=stacks, 1.0K of used memory left out",
        ),
    ],
    ids=["whole", "nothing", "truncated", "reduced"],
)
def test_it_is_told_what_of_the_core_is_kept(fields: dict[str, str], text: str) -> None:
    assert lines(**fields)["Core"] == text


def test_long_lists_are_cut_and_say_so() -> None:
    text = lines(ENVIRON="\n".join(["x" * 500, *(f"V{i}=1" for i in range(20))]))["Environment"].split("\n")
    assert text[0] == "x" * 200 + "…"
    assert text[-1] == "… and 13 more (--all-fields)"
