from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump import cgroup
from pycoredump.cgroup import Placement


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"0::/system.slice/nginx.service\n", "/system.slice/nginx.service"),
        (b"1:name=systemd:/system.slice/a.service\n", "/system.slice/a.service"),
        (b"12:cpu:/x\n1:name=systemd:/user.slice\n0::/\n", "/user.slice"),
        (b"1:name=systemd:/old\n0::/new\n", "/new"),
        (b"4:memory:/x\n", ""),
        (b"0::/\n", "/"),
        (b"", ""),
        (b"0::/a:b/c\n", "/a:b/c"),
        (b"garbage", ""),
        (b"0::/\xff.service\n", "/\udcff.service"),
    ],
)
def test_the_path_is_that_of_the_unified_hierarchy_or_of_systemds_own(text: bytes, path: str) -> None:
    assert cgroup.path(text) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/nginx.service", Placement(unit="nginx.service", slice="system.slice")),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            Placement(unit="getty@tty1.service", slice="system-getty.slice"),
        ),
        ("/init.scope", Placement(unit="init.scope", slice="-.slice")),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            Placement(unit="session-3.scope", session="3", slice="user-1000.slice", owner_uid="1000"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.scope",
            Placement(
                unit="user@1000.service",
                user_unit="app-foo.scope",
                slice="user-1000.slice",
                user_slice="app.slice",
                owner_uid="1000",
            ),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            Placement(
                unit="user@1000.service", user_unit="init.scope", slice="user-1000.slice", owner_uid="1000"
            ),
        ),
        (
            "/machine.slice/docker-1234.scope/init.scope",
            Placement(unit="docker-1234.scope", slice="machine.slice"),
        ),
        ("/system.slice/a.service/inner.service", Placement(unit="a.service", slice="system.slice")),
        ("/system.slice/_cpu.service", Placement(unit="cpu.service", slice="system.slice")),
        ("/user.slice/user-x.slice/session-3.scope", Placement(unit="session-3.scope", session="3", slice="user-x.slice")),
        ("/", Placement(slice="-.slice")),
        ("/docker/0123", Placement(slice="-.slice")),
        ("/.service", Placement(slice="-.slice")),
    ],
)  # fmt: skip
def test_the_parts_of_a_path_are_named_as_systemd_names_them(path: str, expected: Placement) -> None:
    assert cgroup.placement(f"0::{path}\n".encode()) == expected.replace(path=path)


def test_no_cgroup_is_no_placement() -> None:
    assert cgroup.placement(b"") == Placement()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_placement(text: bytes) -> None:
    assert "/" not in cgroup.placement(text).unit


@given(st.lists(st.sampled_from(["a.service", "user@1.service", "b.slice", "session-1.scope", "x", ""])))
def test_any_path_has_its_unit_among_its_parts(parts: list[str]) -> None:
    found = cgroup.placement(b"0::/" + "/".join(parts).encode())
    assert found.unit in ["", *parts]
    assert found.user_unit in ["", *parts]
