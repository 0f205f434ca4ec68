from __future__ import annotations

import pytest

from pycoredump.analysis import framenames, signature
from pycoredump.analysis.model import Frame, Report, ScriptFrame, ScriptTrace, ThreadTrace

SIGABRT, SIGSEGV = 6, 11


def frames(*names: str, base: int = 0x5500_0000_0000) -> tuple[Frame, ...]:
    """`name`, `module+offset`, `!name` of a signal trampoline, `~name` guessed, `` in no module."""
    return tuple(frame(name, base + at) for at, name in enumerate(names))


def frame(name: str, pc: int) -> Frame:
    guess, signal = name.startswith("~"), name.startswith("!")
    name = name.lstrip("~!")
    if "+0x" in name:
        module, _, offset = name.rpartition("+")
        return Frame(pc=pc, module=module, module_offset=int(offset, 16), guess=guess, signal_frame=signal)
    module = "libc.so.6" if name in ("raise", "__libc_start_main") else "nginx" if name else ""
    return Frame(pc=pc, symbol=name, module=module, guess=guess, signal_frame=signal)


def identity(*names: str, signal: int = SIGSEGV, base: int = 0x5500_0000_0000) -> signature.Identity:
    report = Report(threads=(ThreadTrace(tid=1, frames=frames(*names, base=base)),))
    return signature.identify(report, signal=signal, program="nginx")


def culprits(*names: str) -> list[str]:
    return list(signature.culprits(frames(*names)))


def test_title_names_signal_function_and_program() -> None:
    assert identity("parse_header", "handle", "main").title == "SIGSEGV in parse_header (nginx)"


def test_id_has_sixteen_hexadecimal_digits() -> None:
    one = identity("parse_header", "main").id
    assert len(one) == 16
    assert int(one, 16)


def test_id_survives_another_load_address() -> None:
    assert identity("f", "nginx+0x10", "main", base=0x1000) == identity(
        "f", "nginx+0x10", "main", base=0x7000
    )


def test_id_without_any_symbol_is_module_and_offset() -> None:
    one = identity("nginx+0x1234", "libfoo.so.1+0x88")
    assert one.title == "SIGSEGV in nginx+0x1234 (nginx)"
    assert one.id != identity("nginx+0x1238", "libfoo.so.1+0x88").id


def test_ten_different_bugs_have_ten_ids() -> None:
    bugs = [
        ("parse", "main"), ("parse", "reload", "main"), ("send", "main"), ("main",), ("nginx+0x10", "main"),
        ("nginx+0x20", "main"), ("", "call", "main"), ("abort", "check", "main"), ("memcpy", "copy", "main"),
        ("memcpy", "paste", "main"),
    ]  # fmt: skip
    assert len({identity(*bug).id for bug in bugs}) == 10


def test_another_signal_is_another_crash() -> None:
    assert identity("f", signal=SIGABRT).id != identity("f", signal=SIGSEGV).id


@pytest.mark.parametrize(
    "names",
    [
        ("libc.so.6+0x8aeec", "raise", "abort"),
        ("__pthread_kill_implementation", "__GI_raise", "__GI_abort"),
        ("raise", "abort", "__assert_fail_base", "__assert_fail"),
        ("raise", "abort", "__libc_message", "malloc_printerr", "_int_free"),
        ("raise", "abort", "__libc_message", "__fortify_fail", "__stack_chk_fail"),
        (
            "raise",
            "abort",
            "libstdc++.so.6+0x9d919",
            "libstdc++.so.6+0xa8e1a",
            "std::terminate()",
            "__cxa_throw",
        ),
        (
            "raise",
            "abort",
            "std::sys::pal::unix::abort_internal",
            "std::panicking::panic_with_hook::h0123456789abcdef",
        ),
        ("raise", "abort", "on_signal", "!__restore_rt"),
        ("raise", "abort", "on_signal", "!libc.so.6+0x3c050"),
    ],
    ids=[
        "stripped",
        "with-symbols",
        "assert",
        "heap",
        "stack-smashing",
        "c++",
        "rust",
        "handler",
        "stripped-handler",
    ],
)
def test_frames_that_only_end_the_process_are_dropped(names: tuple[str, ...]) -> None:
    assert culprits(*names, "parse_header", "main")[0] == "parse_header"


def test_a_fault_inside_of_a_signal_handler_stays_the_handlers() -> None:
    assert culprits("on_signal", "!__restore_rt", "loop", "main") == ["on_signal", "loop"]


def test_a_fault_while_an_exception_is_thrown_is_not_the_throwers() -> None:
    assert culprits("Buffer::~Buffer()", "_Unwind_RaiseException", "__cxa_throw", "load", "main")[
        0
    ].startswith("Buffer")


@pytest.mark.parametrize(
    ("symbol", "plain"),
    [
        ("__memcpy_avx_unaligned_erms", "memcpy"),
        ("__memmove_avx512_unaligned_erms", "memmove"),
        ("__strlen_evex", "strlen"),
        ("__strcmp_sse42", "strcmp"),
        ("__strlen_asimd", "strlen"),
        ("__memset_kunpeng", "memset"),
        ("__GI___libc_free", "free"),
        ("_IO_fwrite", "fwrite"),
        ("parse.constprop.0", "parse"),
        ("die.cold", "die"),
        ("run(std::function<long (int)>, int) [clone .constprop.0]", "run"),
        ("shop::Basket<std::string, long>::operator[](std::string const&) const", "shop::Basket::operator[]"),
        ("std::function<long (int)>::operator()(int) const", "std::function::operator()"),
        ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"),
        ("void ns::g<int, char>(int) const", "ns::g"),
        ("core::option::expect_failed::h0123456789abcdef", "core::option::expect_failed"),
        ("<panic::Shop<T> as panic::Price>::price", "<panic::Shop<T> as panic::Price>::price"),
        ("main.(*shop).set", "main.(*shop).set"),
        ("memcpy_generic_parser", "memcpy_generic_parser"),
        ("foo@plt", "foo"),
        ("operator new(unsigned long)", "operator new"),
        ("}>)(((", "}>)((("),
    ],
)  # fmt: skip
def test_names_are_freed_of_what_builds_and_processors_add(symbol: str, plain: str) -> None:
    assert framenames.plain(symbol) == plain


def test_processors_variants_of_a_string_function_are_one_crash() -> None:
    assert identity("__strlen_avx2", "f", "main").id == identity("__strlen_evex", "f", "main").id


def test_a_library_function_is_named_with_its_caller() -> None:
    assert identity("__strlen_avx2", "parse", "main").title == "SIGSEGV in strlen, called by parse (nginx)"


def test_a_call_of_no_function_is_its_callers() -> None:
    assert identity("", "notify", "main").title == "SIGSEGV in notify, calling what is no function (nginx)"


def test_a_recursion_is_one_crash_wherever_the_stack_was_full() -> None:
    deep = ["eval", "apply"] * 30
    one, other = identity("malloc", *deep), identity(*deep[1:], "eval")
    assert one.id == other.id
    assert one.title == "SIGSEGV in endless recursion of apply (nginx)"


def test_how_deep_a_small_recursion_was_does_not_matter() -> None:
    assert identity("f", "walk", "walk", "main").id == identity("f", "walk", "walk", "walk", "main").id


def test_guesses_are_not_believed() -> None:
    assert culprits("f", "~g", "~h") == ["f"]


def test_how_every_thread_begins_does_not_matter() -> None:
    assert culprits("f", "main", "libc.so.6+0x2724a", "__libc_start_main", "_start") == ["f"]
    assert culprits("f", "libc.so.6+0x2724a", "__libc_start_main", "exe+0x10") == ["f"]
    assert culprits("main", "libc.so.6+0x2724a", "__libc_start_main") == ["main"]


def test_no_frames_still_have_an_id_and_a_title() -> None:
    one = signature.identify(Report(), signal=SIGSEGV, program="nginx")
    assert one.title == "SIGSEGV (nginx)"
    assert one.id


def test_a_signal_from_outside_is_said_to_be_one() -> None:
    report = Report(threads=(ThreadTrace(tid=1, frames=frames("epoll_wait", "main")),))
    title = signature.identify(report, signal=SIGABRT, program="nginx", sent=True).title
    assert title == "SIGABRT from outside in epoll_wait (nginx)"


def test_python_frames_stand_for_the_interpreters_loop() -> None:
    native = frames(
        "abort", "os_abort", "_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault", "Py_RunMain", "main"
    )
    script = tuple(
        ScriptFrame(language="Python", function=function, file="/srv/app.py", line=line)
        for function, line in (("stop", 7), ("<module>", 9))
    )
    report = Report(
        threads=(ThreadTrace(tid=1, frames=native),),
        scripts=(ScriptTrace(tid=2, frames=()), ScriptTrace(tid=1, frames=script)),
        script="/srv/app.py",
    )
    assert list(signature.culprits(native, script)) == ["os_abort", "stop:app.py", "<module>:app.py"]
    assert (
        signature.identify(report, signal=SIGABRT, program="python3.11").title
        == "SIGABRT in os_abort, called by stop:app.py (python3.11, app.py)"
    )


def test_without_symbols_of_the_interpreter_the_script_is_the_place() -> None:
    nameless = Frame(pc=1, module="python3.11", module_offset=0xF0A79)
    native = (*frames("abort"), nameless, *frames("_PyEval_EvalFrameDefault", "main"))
    script = (ScriptFrame(language="Python", function="stop", file="/srv/app.py", line=7),)
    report = Report(
        threads=(ThreadTrace(tid=1, frames=native),),
        scripts=(ScriptTrace(tid=1, frames=script),),
        script="app.py",
    )
    title = signature.identify(report, signal=SIGABRT, program="python3.11").title
    assert title == "SIGABRT in stop:app.py (python3.11, app.py)"


def test_hostile_names_are_cut() -> None:
    one = identity("A<" * 100_000, "main")
    assert len(one.title) < 1000
