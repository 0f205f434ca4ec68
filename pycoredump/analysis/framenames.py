"""Which frames say how a process died instead of why, and names freed of what a build or a processor adds to them."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions that send the signal. Whatever calls them, directly or by way of a few others, has decided to.
RAISING = _words(
    """
    raise gsignal abort kill tgkill tkill pthread_kill __pthread_kill_implementation __pthread_kill_internal
    pthread_sigqueue sigqueue killpg __libc_do_syscall __kernel_vsyscall os::abort
    runtime.raise runtime.raise.abi0 runtime.dieFromSignal
    """
)

# Functions that end the process once somebody else has found the fault. The way from there to the signal is
# the same for every crash.
ENDING = _words(
    """
    __assert __assert_fail __assert_fail_base __assert_perror_fail __assert_fail_impl __assert_rtn
    __libc_message __libc_message_impl __libc_fatal malloc_printerr malloc_printerr_tail munmap_chunk
    unlink_chunk malloc_consolidate _int_free _int_free_chunk _int_free_merge_chunk _int_malloc _int_realloc
    _int_memalign tcache_put tcache_double_free_verify
    __fortify_fail __fortify_fail_abort __stack_chk_fail __stack_chk_fail_local __chk_fail __explicit_bzero_chk_fail
    std::terminate __cxa_throw __cxa_rethrow __cxa_pure_virtual __cxa_deleted_virtual __cxa_call_terminate
    __cxa_call_unexpected __cxa_bad_cast __cxa_bad_typeid __gxx_personality_v0 _Unwind_RaiseException
    _Unwind_Resume _Unwind_Resume_or_Rethrow std::unexpected std::rethrow_exception std::__terminate
    __gnu_cxx::__verbose_terminate_handler __cxxabiv1::__terminate __cxxabiv1::__unexpected
    std::__glibcxx_assert_fail std::__replacement_assert demangling_terminate_handler abort_message
    g_assertion_message g_assertion_message_expr g_assertion_message_error g_assertion_message_cmpnum
    g_assertion_message_cmpint g_assertion_message_cmpstr g_abort g_log g_logv g_log_structured
    g_log_structured_array g_log_structured_standard g_log_default_handler g_log_writer_default _g_log_abort
    g_return_if_fail_warning g_warn_message
    log_assert_failed log_assert_failed_realm log_assert_failed_unreachable
    rust_panic rust_begin_unwind __rust_start_panic __rust_panic __rust_foreign_exception __rustc::rust_panic
    __rustc::rust_begin_unwind __rustc::__rust_start_panic core::option::expect_failed
    core::option::Option::expect core::option::Option::unwrap core::result::Result::expect
    core::result::Result::unwrap core::result::Result::expect_err core::result::Result::unwrap_err
    core::option::unwrap_failed core::result::unwrap_failed core::str::slice_error_fail
    core::slice::index::slice_index_order_fail core::cell::panic_already_borrowed
    core::cell::panic_already_mutably_borrowed
    runtime.sigfwdgo runtime.sighandler runtime.sigtrampgo
    runtime.sigtramp runtime.crash runtime.fatalpanic runtime.gopanic runtime.throw runtime.fatalthrow
    runtime.panicmem runtime.sigpanic runtime.goPanicIndex runtime.panicdivide runtime.panicIndex
    runtime.sigreturn__sigaction runtime.goPanicSliceAlen runtime.fatal
    Py_FatalError _Py_FatalErrorFunc _Py_FatalErrorFormat fatal_error_exit _Py_FatalRefcountErrorFunc
    _PyObject_AssertFailed
    ruby_abort rb_bug rb_bug_for_fatal_signal rb_fatal rb_assert_failure
    node::Abort node::Assert node::OnFatalError node::FatalError node::OOMErrorHandler
    v8::Utils::ReportApiFailure V8_Fatal v8::internal::V8::FatalProcessOutOfMemory
    zend_signal_handler_defer php_error_cb
    v8::base::OS::Abort VMError::report_and_die report_vm_error JVM_handle_linux_signal
    """
)
ENDING_PREFIXES = (
    "std::__throw_",
    "std::panicking::",
    "std::panic::panic_",
    "core::panicking::",
    "std::sys::abort_internal",
    "std::sys::unix::abort_internal",
    "std::sys::pal::unix::abort_internal",
    "std::sys::backtrace::__rust_end_short_backtrace",
    "std::sys_common::backtrace::__rust_end_short_backtrace",
    "std::process::abort",
    "__rustc::__rust_abort",
    "std::alloc::rust_oom",
    "std::rt::",
    "alloc::alloc::handle_alloc_error",
    "__chk_fail",
    "__ubsan_",
    "__sanitizer::",
    "__asan",
    "google::LogMessage",
    "google::DumpStackTraceAndExit",
    "absl::log_internal::",
)

# Where every thread begins: no news.
STARTING = _words(
    """
    _start main __libc_start_main __libc_start_main_impl __libc_start_call_main generic_start_main
    start_thread clone clone3 __clone __clone3 thread_start runtime.main runtime.goexit runtime.goexit.abi0
    runtime.rt0_go runtime.rt0_go.abi0 std::rt::lang_start std::rt::lang_start_internal
    __libc_start_main_stage2 libc_start_main_stage2 start_c _start_c __restore_rt __restore
    std::sys::backtrace::__rust_begin_short_backtrace std::sys_common::backtrace::__rust_begin_short_backtrace
    std::rt::lang_start::{{closure}} execute_native_thread_routine
    """
)

# Library functions that take the caller's pointers: their fault is the caller's.
SERVING = _words(
    """
    memcpy memmove mempcpy memset memcmp memchr memrchr rawmemchr memmem memccpy bcmp bcopy bzero explicit_bzero
    strlen strnlen strcpy strncpy strlcpy strlcat stpcpy stpncpy strcat strncat strcmp strncmp strcasecmp
    strncasecmp strchr strrchr strchrnul strstr strcasestr strspn strcspn strpbrk strdup strndup strcoll strtok
    strtok_r strxfrm wcslen wcsnlen wcscpy wcsncpy wcscmp wcsncmp wcschr wcsrchr wmemset wmemcmp wmemchr wmemcpy
    strtol strtoul strtoll strtoull strtod atoi atol
    malloc free calloc realloc memalign posix_memalign aligned_alloc cfree reallocarray malloc_usable_size
    puts fputs fwrite fread fgets printf fprintf sprintf snprintf vprintf vfprintf vsprintf vsnprintf fclose
    fflush qsort bsearch syscall
    """
)

_VARIANT = re.compile(
    r"_(?:avx(?:2|512)?(?:_unaligned)?|evex(?:256|512)?(?:_unaligned)?|sse(?:2|3|4_1|4_2|42)?(?:_unaligned)?|ssse3(?:_back|_rep)?"
    r"|i[3-6]86|generic|asimd|advsimd|neon|sve|mops|mte|thunderx2?|falkor|kunpeng\d*|a64fx|nosimd|oryon\d*|zva\d*|emag"
    r"|unaligned|erms|rtm|no_vzeroupper|power\d+|vx|z13|z196|rvv|lsx|lasx)(?=_|$)"
)
_PREFIX = re.compile(r"^(?:__GI_|__libc_|__redirect_|__old_|__new_|_IO_(?=[fvp]))")
_CLONE = re.compile(
    r"(?:\.(?:constprop|isra|part|cold|lto_priv|llvm|localalias|clone|thunk|startup|exit|actor|destroy|resume|\d+)"
    r"(?:\.\d+)*)+$|\s*\[(?:clone|abi)[^\]]*\]"
)
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_VERSION = re.compile(r"@.*$")
_OPERATOR = re.compile(r"\boperator(?:\(\)|<=>|<<=?|>>=?|->\*?|[<>]=?|\s?\w+|[^\w\s(]+)")
_LAMBDA_ARGUMENTS = re.compile(r"\([^()]*\)")
SYMBOL_MAX = 2000  # characters looked at
NAME_MAX = 300  # characters


def plain(symbol: str) -> str:
    """The function's name without arguments, template arguments, compiler's clones and processor's variants."""
    name = _CLONE.sub("", _VERSION.sub("", symbol[:SYMBOL_MAX]))
    name = _RUST_HASH.sub("", name)
    if ".(*" in name:  # a method of Go
        return name[:NAME_MAX]
    name = _without_arguments(name)
    return common(name)[:NAME_MAX] or symbol[:NAME_MAX]


def common(name: str) -> str:
    """memcpy for __memcpy_avx_unaligned_erms and the like; other names as they are."""
    stripped = _VARIANT.sub("", name)
    if stripped != name or name.startswith(("__", "_IO_")):
        bare = _PREFIX.sub("", stripped).lstrip("_")
        if bare in SERVING:
            return bare
    without = _PREFIX.sub("", _PREFIX.sub("", name))
    return without if is_ending(without) or without in SERVING or without in STARTING else name


def is_ending(name: str) -> bool:
    return name in RAISING or name in ENDING or name.startswith(ENDING_PREFIXES)


# ns::f<int>(char const*) const -> ns::f; operator() and operator< keep what belongs to them, and what begins
# with a bracket ("<T as Trait>::f", "(anonymous namespace)::f", "{lambda(int)#1}") its first part.
def _without_arguments(name: str) -> str:
    out: list[str] = []
    depth = 0
    at = 0
    while at < len(name):
        if depth == 0 and (found := _OPERATOR.match(name, at)):
            out.append(found.group())
            at = found.end()
            continue
        if depth == 0 and name.startswith("(anonymous namespace)", at):
            out.append("(anonymous namespace)")
            at += 21
            continue
        character = name[at]
        at += 1
        if character in "<({[":
            if depth == 0 and (character == "{" or (character == "<" and not out)):
                end = _closing(name, at - 1)
                inner = name[at - 1 : end]
                out.append(_LAMBDA_ARGUMENTS.sub("", inner) if character == "{" else inner)
                at = end
                continue
            depth += 1
        elif character in ">)}]":
            if character == ">" and name[at - 2 : at - 1] == "-":
                continue
            depth = max(0, depth - 1)
        elif depth == 0:
            if character == " " and name[at : at + 5] in ("const", "volat"):
                break
            out.append(character)
    return _without_type("".join(out).strip())


# "void ns::f": a template's name comes with its return type.
def _without_type(name: str) -> str:
    if " " not in name or "operator" in name or name[0] in "<(":
        return name
    return name.rsplit(" ", 1)[-1]


def _closing(name: str, start: int) -> int:
    depth = 0
    for at in range(start, len(name)):
        if name[at] in "<({[":
            depth += 1
        elif name[at] in ">)}]" and name[at - 1 : at + 1] != "->":
            depth -= 1
            if depth == 0:
                return at + 1
    return len(name)
