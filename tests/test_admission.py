from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import admission
from pycoredump.config import Config
from pycoredump.crash import Crash

GIB = 1 << 30
INFINITY = 2**64 - 1
CRASH = Crash(pid=4711, signal=11, timestamp=1700000000, comm="prog", uid=1000, gid=1000, dumpable=1)
# AT_UID, AT_EUID, AT_GID, AT_EGID, AT_SECURE (linux/auxvec.h)
ORDINARY = {11: 1000, 12: 1000, 13: 1000, 14: 1000, 23: 0}


@pytest.mark.parametrize(
    ("config", "total", "expected"),
    [
        (Config(), 100 * GIB, 4 * GIB),
        (Config(), 10 * GIB, GIB),
        (Config(), 1 << 20, 1 << 20),
        (Config(max_use=0), 10 * GIB, 0),
        (Config(max_use=INFINITY), 10 * GIB, 0),
        (Config(max_use=123456), 10 * GIB, 123456),
    ],
)
def test_max_use_is_a_tenth_of_the_file_system_or_what_is_asked_for(
    config: Config, total: int, expected: int
) -> None:
    assert admission.max_use(config, total) == expected


@pytest.mark.parametrize(
    ("config", "total", "expected"),
    [
        (Config(), 100 * GIB, 4 * GIB),
        (Config(), 10 * GIB, 1610612736),
        (Config(keep_free=0), 10 * GIB, 0),
        (Config(keep_free=4096), 10 * GIB, 4096),
    ],
)
def test_keep_free_is_fifteen_hundredths_of_the_file_system_or_what_is_asked_for(
    config: Config, total: int, expected: int
) -> None:
    assert admission.keep_free(config, total) == expected


def admit(
    config: Config | None = None, *, rlimit: int | None = None, free: int = 50 * GIB
) -> admission.Admission:
    return admission.admit(CRASH.replace(rlimit=rlimit), config or Config(), free=free, total=100 * GIB)


def test_an_ordinary_crash_may_be_kept_up_to_the_quota() -> None:
    assert admit() == admission.Admission(
        external=True, journal=False, memory_max=INFINITY, file_max=4 * GIB, floor=4 * GIB
    )


@pytest.mark.parametrize(("limit", "kept"), [(0, False), (1, False), (4095, False), (4096, True)])
def test_below_one_page_of_rlimit_core_nothing_is_kept(limit: int, kept: bool) -> None:
    found = admit(rlimit=limit)
    assert found.external is kept
    assert found.reason == ("" if kept else f"RLIMIT_CORE of the process is {limit} bytes")


def test_rlimit_core_bounds_the_memory() -> None:
    assert admit(rlimit=GIB).memory_max == GIB
    assert admit(Config(storage="none"), rlimit=GIB).memory_max == GIB
    assert admit(Config(storage="journal"), rlimit=8192).memory_max == 8192


def test_storage_none_keeps_memory_for_the_analysis_only() -> None:
    assert admit(Config(storage="none")) == admission.Admission(
        external=False, journal=False, memory_max=32 * GIB, file_max=0, floor=4 * GIB
    )


def test_storage_journal_is_bounded_by_what_journald_takes() -> None:
    assert admit(Config(storage="journal")) == admission.Admission(
        external=False, journal=True, memory_max=804257792, file_max=0, floor=4 * GIB
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            Config(storage="none", process_size_max=0),
            "Storage=none, and ProcessSizeMax= allows no backtrace",
        ),
        (Config(storage="journal", journal_size_max=0), "JournalSizeMax= is 0 bytes"),
        (Config(max_use=1), "MaxUse= is 1 bytes"),
    ],
)
def test_a_limit_that_leaves_nothing_is_the_reason(config: Config, reason: str) -> None:
    found = admit(config)
    assert found.reason == reason
    assert not found.external
    assert not found.journal


@pytest.mark.parametrize(
    ("config", "free", "file_max"),
    [
        (Config(keep_free=GIB, max_use=0), 3 * GIB, 2 * GIB),
        (Config(keep_free=0, max_use=0), 3 * GIB, 3 * GIB),
        (Config(keep_free=0, max_use=GIB), 3 * GIB, GIB),
        (Config(keep_free=0, max_use=0, external_size_max=8192), 3 * GIB, 8192),
    ],
)
def test_a_file_is_bounded_by_free_space_quota_and_its_own_limit(
    config: Config, free: int, file_max: int
) -> None:
    assert admit(config, free=free).file_max == file_max


def test_a_full_disk_keeps_nothing_and_says_so() -> None:
    found = admit(Config(keep_free=GIB), free=GIB)
    assert not found.external
    assert found.reason == "The file system has 1073741824 bytes free, and KeepFree= asks for 1073741824"


def test_a_size_limit_of_zero_keeps_nothing_and_says_so() -> None:
    assert admit(Config(external_size_max=0)).reason == "ExternalSizeMax= is 0 bytes"


@given(
    st.one_of(st.none(), st.integers(0, INFINITY)),
    st.integers(0, INFINITY),
    st.integers(0, INFINITY),
    st.integers(-1, INFINITY),
    st.integers(-1, INFINITY),
    st.sampled_from(["external", "journal", "none"]),
)
def test_no_limit_is_ever_exceeded(
    rlimit: int | None, free: int, external: int, max_use: int, keep_free: int, storage: str
) -> None:
    config = Config(storage=storage, external_size_max=external, max_use=max_use, keep_free=keep_free)
    found = admission.admit(CRASH.replace(rlimit=rlimit), config, free=free, total=1 << 40)
    assert 0 <= found.file_max <= external
    assert found.file_max <= free
    assert rlimit is None or found.memory_max <= rlimit
    assert not (found.external and found.journal)
    assert not (found.reason and (found.external or found.journal or found.memory_max))


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (None, False),
        (0, False),
        (33, False),
        (999, False),
        (1000, True),
        (61183, True),
        (61184, False),  # DynamicUser=
        (65519, False),
        (65520, True),
        (65534, False),  # nobody
        (65535, False),  # (uid_t) -1 of 16 bits
        (65536, True),
        (4294967294, True),
    ],
)
def test_regular_users_are_people(uid: int | None, expected: bool) -> None:
    assert admission.is_regular_user(uid) is expected


def test_the_user_of_an_ordinary_process_may_read_its_core() -> None:
    assert admission.may_read(CRASH, ORDINARY)


@pytest.mark.parametrize("dumpable", [None, 0, 2])
def test_nobody_may_read_the_core_of_a_process_that_is_not_dumpable_or_not_known_to_be(
    dumpable: int | None,
) -> None:
    assert not admission.may_read(CRASH.replace(dumpable=dumpable), ORDINARY)


@pytest.mark.parametrize("uid", [None, 0, 33, 61184, 65534])
def test_users_that_are_no_people_get_no_access(uid: int | None) -> None:
    assert not admission.may_read(CRASH.replace(uid=uid), ORDINARY)


@pytest.mark.parametrize(
    ("key", "value"),
    [(23, 1), (12, 0), (14, 0), (11, 0), (13, 5)],
    ids=["AT_SECURE", "euid", "egid", "uid", "gid"],
)
def test_privileges_that_changed_forbid_access(key: int, value: int) -> None:
    assert not admission.may_read(CRASH, ORDINARY | {key: value})


@pytest.mark.parametrize("key", [11, 12, 13, 14, 23])
def test_an_auxiliary_vector_that_lacks_an_entry_forbids_access(key: int) -> None:
    assert not admission.may_read(CRASH, {k: v for k, v in ORDINARY.items() if k != key})


def test_no_auxiliary_vector_forbids_access() -> None:
    assert not admission.may_read(CRASH, {})


def test_cores_beyond_the_burst_within_the_interval_are_too_many() -> None:
    config = Config(rate_limit_burst=2, rate_limit_interval=100)
    assert admission.within_rate([], 1000, config)
    assert admission.within_rate([990], 1000, config)
    assert not admission.within_rate([990, 999], 1000, config)


def test_old_stamps_and_those_of_the_future_do_not_count() -> None:
    config = Config(rate_limit_burst=1, rate_limit_interval=100)
    assert admission.within_rate([900, 1001], 1000, config)
    assert not admission.within_rate([901], 1000, config)
    assert not admission.within_rate([1000], 1000, config)


@pytest.mark.parametrize("config", [Config(rate_limit_burst=0), Config(rate_limit_interval=0)])
def test_without_burst_or_interval_there_is_no_limit(config: Config) -> None:
    assert admission.within_rate([1000] * 10000, 1000, config)


@pytest.mark.parametrize(
    ("exe", "expected"),
    [
        ("/usr/bin/qemu-system-x86_64", "stacks"),
        ("/usr/lib/jvm/17/bin/java", "budget"),
        ("/usr/bin/nginx", "full"),
        ("", "full"),
    ],
)
def test_the_first_pattern_that_matches_path_or_name_decides(exe: str, expected: str) -> None:
    config = Config(content=(("qemu-*", "stacks"), ("/usr/lib/jvm/*", "budget"), ("*", "full")))
    assert admission.content_for(config, exe) == expected


def test_an_executable_that_no_pattern_matches_is_kept_in_full() -> None:
    assert admission.content_for(Config(content=(("java", "stacks"),)), "/bin/sh") == "full"


globs = st.text(st.sampled_from("ab*?[/\n"), max_size=10)


@given(globs, st.text(st.sampled_from("ab[/\n"), max_size=14))
def test_patterns_match_as_fnmatch_has_it(glob: str, text: str) -> None:
    expected = fnmatch.fnmatchcase(text, glob.replace("[", "[[]"))
    assert admission.matches(glob, text) is expected


@given(globs, st.text(st.sampled_from("ab[/\n"), max_size=14))
def test_patterns_match_as_a_regular_expression_has_it(glob: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in glob)
    assert admission.matches(glob, text) is bool(re.fullmatch(expression, text, re.DOTALL))


class Counted(str):
    """A text that counts how often one looks at it."""

    looks = 0

    def __getitem__(self, key: object) -> str:
        Counted.looks += 1
        return str.__getitem__(self, key)  # type: ignore[index]  # whatever str takes


def test_a_pattern_of_many_stars_takes_at_most_length_times_pattern() -> None:
    text, glob = Counted("a" * 2000), "*a" * 30 + "b"
    Counted.looks = 0
    assert not admission.matches(glob, text)
    assert Counted.looks < 3 * len(text) * len(glob)
