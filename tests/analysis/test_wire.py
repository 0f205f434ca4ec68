"""What comes out of the sandbox is checked as if somebody had broken into it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycoredump.analysis import wire
from pycoredump.analysis.model import Facts, Frame, Module, Report, ScriptFrame, ScriptTrace, ThreadTrace
from pycoredump.analysis.wire import Job

FRAME = Frame(pc=1 << 63, symbol="f<int>(char)", module="a.so", module_path="/a.so", line=7, guess=True)
REPORT = Report(
    threads=(ThreadTrace(tid=7, name="w", frames=(FRAME, FRAME), end="why", same_as=(8, 9)),),
    modules=(Module(path="/a.so", start=1, end=2, bias=-4096, package={"name": "a"}), Module(path="b", start=0, end=0, bias=0)),
    words=("It was so.",),
    script="x.py",
    scripts=(ScriptTrace(tid=7, frames=(ScriptFrame(language="Python", function="f", file="x.py", line=1),)),),
    signature="0123456789abcdef",
    title="SIGSEGV in f (a)",
    architecture="AMD x86-64",
    problems=("No script.",),
)  # fmt: skip


def test_a_report_comes_through_whole() -> None:
    assert wire.report(wire.encode(REPORT)) == REPORT
    assert wire.report(wire.encode(Report())) == Report()


def test_a_job_comes_through_whole() -> None:
    facts = Facts(
        signal=11, comm="\udcff", exe="/x", arguments=("a", ""), maps="1-2 r\n3-4 w\n", sizes={"/x": 5}
    )
    job = Job(facts=facts, modules=("/x", "/y\udc80"), debug=("ab12",), base=17, seconds=3)
    assert wire.job(wire.encode(job)) == job


def answer(**fields: object) -> bytes:
    return json.dumps({"version": 1} | fields).encode()


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    found = wire.report(answer(title="a\x1b[2J\r\n\u202eb\u2028", words=["x\x07"]))
    assert found.title == "a\ufffd[2J\ufffd\ufffd\ufffdb\ufffd"
    assert found.words == ("x\ufffd",)


def test_texts_and_lists_have_an_end() -> None:
    found = wire.report(answer(title="a" * 100_000, words=["w"] * 100_000))
    assert len(found.title) == wire.TEXT_MAX
    assert len(found.words) == wire.LIST_MAX


def test_what_is_not_known_here_is_left_out() -> None:
    assert wire.report(answer(title="t", other=[1, {}])) == Report(title="t")


WRONG = {
    "no-json": b"\xff\xfe{",
    "nothing": b"",
    "a-list": b"[]",
    "another-version": b'{"version":2}',
    "no-version": b"{}",
    "deep": b"[" * 100_000,
    "number-for-text": answer(title=7),
    "text-for-number": answer(threads=[{"tid": "7"}]),
    "true-for-number": answer(threads=[{"tid": True}]),
    "float-for-number": answer(threads=[{"tid": 7.5}]),
    "huge-number": answer(threads=[{"tid": 1 << 70}]),
    "text-for-list": answer(words="abc"),
    "missing-field": answer(threads=[{"name": "w"}]),
    "text-for-record": answer(threads=["w"]),
    "number-for-flag": answer(threads=[{"tid": 1, "frames": [{"pc": 1, "guess": 1}]}]),
    "list-for-package": answer(modules=[{"path": "", "start": 0, "end": 0, "bias": 0, "package": []}]),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=list(WRONG))
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.report(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_refused(data: bytes) -> None:
    for text in (data, b'{"version":1,' + data):
        try:
            assert isinstance(wire.report(text), Report)
        except wire.WireError:
            continue
