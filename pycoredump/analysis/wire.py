"""Reports and facts as JSON: out of the sandbox into the handler, and into the metadata.

Whatever is read here may have been written by somebody who broke into the sandbox: every value is checked for
its type, cut to its size, and freed of what a terminal could obey.
"""

from __future__ import annotations

from pycoredump import quickjson
from pycoredump.analysis.model import Facts, Frame, Module, Report, ScriptFrame, ScriptTrace, ThreadTrace
from pycoredump.errors import PycoredumpError
from pycoredump.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Converter = Callable[[object], object]

VERSION = 1
TEXT_MAX = 4096  # characters
MAPS_MAX = 8 << 20  # characters of /proc/PID/maps
LIST_MAX = 65536  # entries of any list; a thread of the kernel's largest process has one each
NUMBER_MAX = 1 << 64


class WireError(PycoredumpError):
    """The bytes are not a report."""


class Job(Record):
    """What the sandbox is asked: core, modules and debug files come as descriptors in the same order."""

    facts: Facts = Facts()
    modules: tuple[str, ...] = ()  # paths as in NT_FILE
    debug: tuple[str, ...] = ()  # build ids
    base: int = 0  # where in its file a plain core begins
    seconds: int = 10


def encode(record: Record) -> bytes:
    """A report, or a job, as JSON. Undecodable bytes of the process are lone surrogates and stay so."""
    return quickjson.dumps({"version": VERSION, **_plain(record)}).encode("ascii")


def report(data: bytes) -> Report:
    """WireError if it is none."""
    return Report().replace(**_read(data, REPORT))


def job(data: bytes) -> Job:
    """WireError if it is none."""
    return Job().replace(**_read(data, JOB))


def _plain(record: Record) -> dict[str, object]:
    """What differs from the defaults, as JSON knows it."""
    defaults = type(record)._defaults
    return {
        name: _value(value)
        for name, value in record.__dict__.items()
        if name not in defaults or value != defaults[name]
    }


def _value(value: object) -> object:
    if isinstance(value, Record):
        return _plain(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return value


def _read(data: bytes, schema: dict[str, Converter]) -> dict[str, object]:
    try:
        value = quickjson.loads(data)
    except (ValueError, RecursionError) as e:
        raise WireError("The analysis did not answer in JSON") from e

    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise WireError("The analysis answered in a form that is not known here")
    return _fields(value, schema)


def _fields(value: object, schema: dict[str, Converter]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise WireError(f"The analysis answered {type(value).__name__} instead of an object")
    return {name: convert(value[name]) for name, convert in schema.items() if name in value}


def clean(text: str, limit: int = TEXT_MAX) -> str:
    """The text without control characters; what cannot be decoded stays as it is (surrogateescape)."""
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else "\ufffd" for c in text)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise WireError(f"The analysis answered {type(value).__name__} instead of text")
    return clean(value)


def _lines(value: object) -> str:
    if not isinstance(value, str):
        raise WireError(f"The analysis answered {type(value).__name__} instead of text")
    return "\n".join(clean(line) for line in value[:MAPS_MAX].split("\n"))


def _number(value: object) -> int:
    if type(value) is not int or not -NUMBER_MAX < value < NUMBER_MAX:
        raise WireError("The analysis answered something else instead of a number")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise WireError("The analysis answered something else instead of true or false")
    return value


def _list(convert: Converter) -> Converter:
    def converted(value: object) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise WireError(f"The analysis answered {type(value).__name__} instead of a list")
        return tuple(convert(item) for item in value[:LIST_MAX])

    return converted


def _mapping(convert: Converter) -> Converter:
    def converted(value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise WireError(f"The analysis answered {type(value).__name__} instead of an object")
        return {clean(name): convert(item) for name, item in list(value.items())[:LIST_MAX]}

    return converted


def _record(record: type[Record], schema: dict[str, Converter]) -> Converter:
    def converted(value: object) -> Record:
        try:
            return record(**_fields(value, schema))
        except TypeError as e:  # a field without default is missing
            raise WireError(f"The analysis left something out: {e}") from e

    return converted


def _package(value: object) -> object:
    return None if value is None else _mapping(_text)(value)


def _schema(fields: Iterable[str], convert: Converter) -> dict[str, Converter]:
    return dict.fromkeys(fields, convert)


FRAME = (
    _schema(("symbol", "module", "module_path", "build_id", "file"), _text)
    | _schema(("pc", "symbol_offset", "module_offset", "line"), _number)
    | _schema(("guess", "signal_frame", "inline"), _boolean)
)
MODULE = (
    _schema(("path", "build_id", "error"), _text)
    | _schema(("start", "end", "bias"), _number)
    | {"main": _boolean, "package": _package}
)
THREAD = _schema(("name", "end"), _text) | {
    "tid": _number,
    "frames": _list(_record(Frame, FRAME)),
    "same_as": _list(_number),
}
SCRIPT_FRAME = _schema(("language", "function", "file"), _text) | {"line": _number}
SCRIPT = {"tid": _number, "frames": _list(_record(ScriptFrame, SCRIPT_FRAME))}
REPORT = _schema(("script", "signature", "title", "architecture"), _text) | {
    "threads": _list(_record(ThreadTrace, THREAD)),
    "modules": _list(_record(Module, MODULE)),
    "words": _list(_text),
    "scripts": _list(_record(ScriptTrace, SCRIPT)),
    "problems": _list(_text),
}
FACTS = _schema(("comm", "exe"), _text) | {
    "signal": _number,
    "arguments": _list(_text),
    "maps": _lines,
    "sizes": _mapping(_number),
}
JOB = {
    "facts": _record(Facts, FACTS),
    "modules": _list(_text),
    "debug": _list(_text),
    "base": _number,
    "seconds": _number,
}
