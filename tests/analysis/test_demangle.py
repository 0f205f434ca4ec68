"""Readable names. Expected values are those of c++filt (without --verbose) and of rustc's own demangler."""

from __future__ import annotations

import pytest

from pycoredump.analysis.demangle import demangle

NAMES = {
    "main": "main",
    "_start": "_start",
    "_Z3fooi": "foo(int)",
    "_Z3foov": "foo()",
    "_ZL3runPKcz": "run(char const*, ...)",
    "_ZSt9terminatev": "std::terminate()",
    "_ZNSt6vectorIiSaIiEE9push_backERKi": "std::vector<int, std::allocator<int> >::push_back(int const&)",
    "_ZNKSt8functionIFliEEclEi": "std::function<long (int)>::operator()(int) const",
    "_ZN3FooC2Ev": "Foo::Foo()",
    "_ZN3FooD0Ev": "Foo::~Foo()",
    "_ZN3FooIiEC1ES0_": "Foo<int>::Foo(Foo<int>)",
    "_ZNSsC1Ev": "std::basic_string<char, std::char_traits<char>, std::allocator<char> >::basic_string()",
    "_ZZ4mainENKUliE0_clEi": "main::{lambda(int)#2}::operator()(int) const",
    "_Z1fPFivE": "f(int (*)())",
    "_Z1fRA3_KcS1_": "f(char const (&) [3], char const (&) [3])",
    "_Z1fM1AFivE": "f(int (A::*)())",
    "_Z1fM1Ai": "f(int A::*)",
    "_ZN12_GLOBAL__N_11fEv": "(anonymous namespace)::f()",
    "_Z3addIiET_S0_S0_": "int add<int>(int, int)",
    "_Z1fIJidEEvDpT_": "void f<int, double>(int, double)",
    "_ZSt8__invokeIZ4mainEUlvE_JEENSt15__invoke_resultIT_JDpT0_EE4typeEOS2_DpOS3_": (
        "std::__invoke_result<main::{lambda()#1}>::type "
        "std::__invoke<main::{lambda()#1}>(main::{lambda()#1}&&)"
    ),
    "_ZNSt6threadC1IZ4mainEUlvE_JEvEEOT_DpOT0_": (
        "std::thread::thread<main::{lambda()#1}, , void>(main::{lambda()#1}&&)"
    ),
    "_Z1fIJidEEvDpRKT_": "void f<int, double>(int const&, double const&)",
    "_ZN1AcvbEv": "A::operator bool()",
    "_ZlsRSoRK1A": "operator<<(std::ostream&, A const&)",
    "_ZnwmPv": "operator new(unsigned long, void*)",
    "_ZTV3Foo": "vtable for Foo",
    "_ZThn8_N3Foo3barEv": "non-virtual thunk to Foo::bar()",
    "_ZGVZ3foovE1x": "guard variable for foo()::x",
    "_Z3foov.cold": "foo() [clone .cold]",
    "_Z3foov.constprop.0": "foo() [clone .constprop.0]",
    "_Z3foov.part.0.isra.3": "foo() [clone .part.0] [clone .isra.3]",
    "_ZN1A1fB5cxx11Ev": "A::f[abi:cxx11]()",
    "_Z1fILb1ELi5ELm7EEvv": "void f<true, 5, 7ul>()",
    "_ZNKR1A1fEv": "A::f() const &",
    "_ZN4core3ops8function6FnOnce9call_once17h0123456789abcdefE": "core::ops::function::FnOnce::call_once",
    "_ZN53_$LT$panic..Shop$LT$T$GT$$u20$as$u20$panic..Price$GT$5price17h0c198de1fff3c93eE": (
        "<panic::Shop<T> as panic::Price>::price"
    ),
    "_RNvNtCsjrHSEGnQ3l9_3std7process5abort": "std::process::abort",
    "_RNCNvNtCsjrHSEGnQ3l9_3std9panicking13panic_handler0B5_": "std::panicking::panic_handler::{closure#0}",
    "_RNvMs0_NtNtNtCsjrHSEGnQ3l9_3std3sys6thread4unixNtB5_6Thread4join": "<std::sys::thread::unix::Thread>::join",
}

NOT_NAMES = [
    "_Z",
    "_ZN",
    "_Z9999999f",
    "_Z1fS_",
    "_Z1fT_",
    "_Z1fDpT_",
    "_ZNE",
    "_R",
    "_RB_",
    "_RNvB0_3foo",
    "_RYYYYYYYY",
    "_ZN3foo17h0123456789abcdeE",
    "_Z1f" + "P" * 5000,
    "_Z1f" + "N" * 5000,
    "_RNv" * 3000,
    "_Z1fI" + "J" * 4000,
    "_Zé",
    "_Z1fSt",
]


@pytest.mark.parametrize("name", NAMES)
def test_name(name: str) -> None:
    assert demangle(name) == NAMES[name]


@pytest.mark.parametrize("name", NOT_NAMES, ids=range(len(NOT_NAMES)))
def test_what_is_not_a_mangled_name_stays(name: str) -> None:
    assert demangle(name) == name


def test_names_that_double_with_every_letter_stay() -> None:
    name = "_Z1fI" + "1AIiE" + "S0_IS0_S0_E" * 40 + "Evv"
    assert len(demangle(name)) < 100_000
    name = "_Z1fFviE" + "".join(f"F S{i}_S{i}_E".replace(" ", "v") for i in "_0123456789ABCDEFGH")
    assert len(demangle(name)) < 100_000
