"""The configuration of this machine: defaults, files, drop-ins. A bad line costs a warning, never a core.
Runs before the release: tests/test_hot_path.py lists what this module may import.
"""

from __future__ import annotations

import os

from pycoredump.errors import ConfigError
from pycoredump.options import BY_NAME
from pycoredump.record import Record
from pycoredump.values import AUTOMATIC, GIB, JOURNAL_SIZE_MAX, KIB, MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_MAX = 1 * MIB  # bytes read of one configuration file
VALUE_MAX = 2048  # characters of one value; warnings quote it


class Config(Record):
    """What the files say; options.py says what each means."""

    storage: str = "external"
    compress: bool = True
    compression_level: int = 1
    directory: str = "/var/core"
    process_size_max: int = 32 * GIB
    external_size_max: int = 32 * GIB
    journal_size_max: int = JOURNAL_SIZE_MAX
    max_use: int = AUTOMATIC
    keep_free: int = AUTOMATIC
    content: tuple[tuple[str, str], ...] = (("*", "full"),)
    budget: int = 64 * MIB
    stack_size_max: int = 256 * KIB
    locked_memory: bool = True
    close_threshold: int = 0
    rate_limit_interval: int = 600
    rate_limit_burst: int = 500
    keep_per_program: int = 0
    max_age: int = 14 * 86400
    redact_environment: tuple[str, ...] = (
        "*PASSWORD*",
        "*PASSWD*",
        "*SECRET*",
        "*TOKEN*",
        "*API_KEY*",
        "*PRIVATE_KEY*",
    )
    analysis: bool = True
    analysis_seconds: int = 20


class Setting(Record):
    """One assignment, with where it stands."""

    where: str  # file:line
    name: str
    value: str


def settings(text: str, path: str) -> Iterator[Setting | str]:
    """The assignments of section [Coredump]; a string is a warning about a line that is none."""
    section = ""
    for line_number, raw in enumerate(text.splitlines(), 1):
        line, where = raw.strip(), f"{path}:{line_number}"
        if not line or line[0] in "#;":
            continue

        name, equals, value = line.partition("=")
        if line[0] == "[" and line[-1] == "]":
            section = line[1:-1]
        elif not equals:
            yield f"{where}: {line[:80]!r} is not an assignment, ignoring it"
        elif section != "Coredump":
            yield f"{where}: {name.strip()[:80]!r} stands outside section [Coredump], ignoring it"
        else:
            yield Setting(where=where, name=name.strip(), value=value.strip())


def apply(config: Config, setting: Setting) -> Config:
    """The configuration with one assignment made. ConfigError names file, line and value."""
    option = BY_NAME.get(setting.name)
    if option is None:
        raise ConfigError(f"{setting.where}: {setting.name[:80]!r} is not an option, ignoring it")

    if len(setting.value) > VALUE_MAX:
        raise ConfigError(
            f"{setting.where}: {setting.name}= is longer than {VALUE_MAX} characters, ignoring it"
        )
    try:
        return config.replace(**{option.field: option.parse(setting.value)})
    except ConfigError as e:
        if (
            not setting.value
        ):  # brings the default back, unless nothing is a value, as with RedactEnvironment=
            return config.replace(**{option.field: getattr(Config(), option.field)})
        raise ConfigError(f"{setting.where}: {setting.name}={e}, ignoring it", hint=e.hint) from None


def load(*, etc: str = "/etc", lib: str = "/usr/lib") -> tuple[Config, list[str]]:
    """The configuration of this machine and the warnings about what was ignored in its files."""
    config, warnings = Config(), []
    for path in files(etc=etc, lib=lib):
        try:
            text = _read(path)
        except OSError as e:
            warnings += (
                []
                if isinstance(e, FileNotFoundError)
                else [f"Cannot read {path}: {e.strerror}, ignoring it"]
            )
            continue
        for found in settings(text, path):
            if isinstance(found, str):
                warnings.append(found)
                continue
            try:
                config = apply(config, found)
            except ConfigError as e:
                warnings.append(f"{e}. {e.hint}".removesuffix(" "))
    return config, warnings


def files(*, etc: str = "/etc", lib: str = "/usr/lib") -> list[str]:
    """The files in the order they are read: later ones win. A drop-in in /etc hides one of the same name in /usr/lib."""
    drop_ins: dict[str, str] = {}
    for directory in (f"{lib}/pycoredump.conf.d", f"{etc}/pycoredump.conf.d"):
        try:
            names = os.listdir(directory)
        except OSError:
            continue  # the usual case: nobody made the directory
        drop_ins |= {name: f"{directory}/{name}" for name in names if name.endswith(".conf")}
    return [
        f"{lib}/pycoredump.conf",
        f"{etc}/pycoredump.conf",
        *(drop_ins[name] for name in sorted(drop_ins)),
    ]


def _read(path: str) -> str:
    # O_NONBLOCK: a FIFO in place of the file must not hold up the handler.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, FILE_MAX).decode("utf-8", "backslashreplace")
    finally:
        os.close(fd)
