from __future__ import annotations

import os
import pathlib
import signal as signals

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import crash
from pycoredump.errors import ArgumentError

ROOT = pathlib.Path(__file__).parent.parent
WHOLE = ["4711", "11", "1700000000", "nginx", "33", "34", "18446744073709551615", "1", "3", "4712", "web"]


def test_all_arguments_become_fields_in_the_order_of_the_specifiers() -> None:
    assert crash.parse(WHOLE) == crash.Crash(
        pid=4711,
        signal=11,
        timestamp=1700000000,
        comm="nginx",
        uid=33,
        gid=34,
        rlimit=2**64 - 1,
        dumpable=1,
        pidfd=3,
        tid=4712,
        hostname="web",
    )


def test_the_four_of_the_design_card_are_enough() -> None:
    found = crash.parse(["1", "6", "0", "x"])
    assert found == crash.Crash(pid=1, signal=6, timestamp=0, comm="x")
    assert found.dumpable is None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_fewer_than_four_arguments_are_refused_with_a_hint(count: int) -> None:
    with pytest.raises(ArgumentError, match="need at least 4 ") as caught:
        crash.parse(WHOLE[:count])
    assert "kernel.core_pattern" in caught.value.hint


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "0"),
        (0, "-1"),
        (0, "2147483648"),
        (0, "12a"),
        (0, " 7"),
        (0, "1_0"),
        (0, "٣"),
        (1, "0"),
        (1, "128"),
        (2, "1.5"),
        (2, "9" * 400),
    ],
)
def test_a_required_number_that_is_none_is_refused(at: int, text: str) -> None:
    arguments = list(WHOLE)
    arguments[at] = text
    with pytest.raises(ArgumentError, match="which is not a"):
        crash.parse(arguments)


@pytest.mark.parametrize(("at", "name"), [(0, "pid"), (1, "signal"), (2, "timestamp")])
def test_an_empty_required_number_is_refused(at: int, name: str) -> None:
    arguments = list(WHOLE)
    arguments[at] = ""
    with pytest.raises(ArgumentError, match=f"The {name} is empty"):
        crash.parse(arguments)


def test_an_empty_comm_is_a_comm() -> None:
    assert crash.parse(["1", "6", "0", ""]).comm == ""


@pytest.mark.parametrize(
    ("at", "text", "problem"),
    [
        (4, "root", "%u is 'root', which is not a uid: ignored"),
        (4, "4294967296", "%u is '4294967296', which is not a uid: ignored"),
        (7, "3", "%d is '3', which is not a dumpable: ignored"),
        (8, "-1", "%F is '-1', which is not a pidfd: ignored"),
        (9, "0", "%I is '0', which is not a tid: ignored"),
    ],
)
def test_a_bad_optional_argument_costs_itself_only(at: int, text: str, problem: str) -> None:
    arguments = list(WHOLE)
    arguments[at] = text
    found = crash.parse(arguments)
    assert found.problems == (problem,)
    assert getattr(found, crash.SPECIFIERS[at][1]) is None
    assert found.hostname == "web"


def test_specifiers_that_an_older_kernel_drops_leave_empty_arguments_that_mean_unknown() -> None:
    found = crash.parse([*WHOLE[:8], "", "", "web"])
    assert (found.pidfd, found.tid, found.hostname, found.problems) == (None, None, "web", ())


def test_further_arguments_are_ignored() -> None:
    assert crash.parse([*WHOLE, "more"]) == crash.parse(WHOLE)


@given(st.lists(st.text(max_size=12), max_size=14))
def test_any_arguments_give_a_crash_or_an_argument_error(arguments: list[str]) -> None:
    try:
        found = crash.parse(arguments)
    except ArgumentError:
        return
    assert found.pid > 0


def test_a_comm_of_any_bytes_is_kept() -> None:
    comm = os.fsdecode(b"\xff\x1b[31m\n")
    assert crash.parse(["1", "6", "0", comm]).comm == comm


def test_the_pattern_begins_with_the_design_cards_own_line() -> None:
    assert crash.pattern(optional=False) == "|/usr/libexec/pycoredump %P %s %t %e"
    assert crash.pattern() == "|/usr/libexec/pycoredump %P %s %t %e %u %g %c %d %F %I %h"


def test_a_pattern_of_127_characters_is_taken_and_of_128_refused() -> None:
    fixed = len(crash.pattern("", optional=False))
    assert len(crash.pattern("h" * (127 - fixed), optional=False)) == 127
    with pytest.raises(ArgumentError, match="has 128 characters; the kernel keeps 127"):
        crash.pattern("h" * (128 - fixed), optional=False)


def test_the_shipped_sysctl_file_has_this_pattern() -> None:
    text = (ROOT / "sysctl.d" / "60-pycoredump.conf").read_text()
    lines = [line.replace(" ", "") for line in text.splitlines()]
    assert f"kernel.core_pattern={crash.pattern()}".replace(" ", "") in lines


@pytest.mark.parametrize(("number", "name"), sorted(crash.SIGNALS.items()))
def test_signal_numbers_are_those_of_this_machine(number: int, name: str) -> None:
    assert signals.Signals[name] == number


def test_the_signals_are_those_of_the_kernels_mask() -> None:
    assert sorted(crash.SIGNALS.values()) == [
        "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGQUIT", "SIGSEGV", "SIGSYS", "SIGTRAP", "SIGXCPU", "SIGXFSZ",
    ]  # fmt: skip


def test_a_signal_without_name_is_shown_by_number() -> None:
    assert crash.signal_name(35) == "SIG35"
    assert crash.parse(WHOLE).signal_name == "SIGSEGV"
