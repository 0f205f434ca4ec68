"""Fixtures of the tests on the real kernel. Where that cannot be had, they skip and say why."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import crashers
import launchers
import pytest
import services
from machine import Machine, Unavailable, machine

Program = Callable[..., pathlib.Path]
MakeHandler = Callable[..., launchers.Handler]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Machine]:
    """The kernel's settings are ours, and a journald runs, for one module."""
    try:
        with machine() as taken, services.journald():
            yield taken
    except Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def program() -> Program:
    """Paths of the compiled programs of tests/programs."""

    def compiled(name: str, **arguments: tuple[str, ...]) -> pathlib.Path:
        try:
            return crashers.program(name, **arguments)  # type: ignore[arg-type]  # flags= alone is used
        except crashers.CannotBuild as e:
            pytest.skip(str(e))

    return compiled


@pytest.fixture
def handler(kernel: Machine, request: pytest.FixtureRequest) -> Iterator[MakeHandler]:
    """Makes handlers and registers them; what they stored goes away after the test."""
    made: list[launchers.Handler] = []

    def make(
        *, specifiers: str | None = None, register: bool = True, **options: object
    ) -> launchers.Handler:
        name = f"h{abs(hash(request.node.nodeid)) % 10**8}-{len(made)}"  # the kernel keeps 127 characters
        one = launchers.Handler(kernel.directory, name=name, **options)  # type: ignore[arg-type]  # its own to check
        made.append(one)
        if register:
            kernel.register(one.path, specifiers)
        return one

    yield make
    for one in made:
        one.clear()
