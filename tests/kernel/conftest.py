"""Fixtures of the tests on the real kernel. Where that cannot be had, they skip and say why."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping

import crashers
import launchers
import pytest
import services
from machine import Machine, Unavailable, machine

Program = Callable[..., pathlib.Path]
MakeHandler = Callable[..., launchers.Handler]
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Machine]:
    """The kernel's settings are ours, and a journald runs, for one module."""
    try:
        with machine() as taken, services.journald():
            yield taken
    except Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def library(kernel: Machine) -> pathlib.Path:
    """The package as it gets installed; a change to the checkout does not reach the running tests."""
    return launchers.installed_package(kernel.directory)


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
def handler(kernel: Machine, library: pathlib.Path) -> Iterator[MakeHandler]:
    """Makes handlers and registers them; what they stored goes away after the test."""
    made: list[launchers.Handler] = []

    def make(
        options: Mapping[str, str] | None = None,
        *,
        specifiers: str | None = None,
        without: tuple[str, ...] = (),
        suid_dumpable: int | None = None,
    ) -> launchers.Handler:
        name = f"handler-{next(NUMBERS)}"  # short: the kernel keeps 127 characters
        one = launchers.Handler(
            kernel.directory, name=name, library=library, without=without, options=options
        )
        made.append(one)
        kernel.register(one.path, specifiers, suid_dumpable=suid_dumpable)
        return one

    yield make
    kernel.close()
    for one in made:
        one.clear()
