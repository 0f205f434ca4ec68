"""PAM stacks: how they are read, whether a session passes pam_limits, where our line goes."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pycoredump.configure import lines, pam, pam_plan
from pycoredump.configure.pam import Module
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError

LIMITS = "session required pam_limits.so\n"


def tree_of(sshd: str, **others: str) -> Tree:
    """A tree in memory with a service sshd and what it includes."""
    tree = Tree("/nonexistent")
    tree.write("/etc/pam.d/sshd", sshd)
    for name, text in others.items():
        tree.write(f"/etc/pam.d/{name}", text)
    tree.write("/usr/lib/security/pam_limits.so", "")
    return tree


def reach(sshd: str, **others: str) -> pam_plan.Reach:
    return pam_plan.reach(pam.session(tree_of(sshd, **others), "sshd"))


@pytest.mark.parametrize(
    ("sshd", "inner"),
    [
        (LIMITS, ""),
        ("-session\toptional /lib/security/pam_limits.so conf=/etc/x # comment\n", ""),
        ("SESSION Required pam_limits.so", ""),
        ("session required \\\n  pam_limits.so\n", ""),
        ("session [success=ok default=ignore] pam_limits.so\n", ""),
        ("@include inner\n", LIMITS),
        ("session include inner\n", LIMITS),
        ("session substack inner\n", LIMITS),
        ("session [default=1] pam_permit.so\nsession requisite pam_deny.so\n" + LIMITS, ""),
        ("session requisite pam_x.so\n" + LIMITS, ""),
        ("session substack inner\n" + LIMITS, "session sufficient pam_x.so\n"),
        ("session [success=1 default=ignore] pam_x.so\nsession optional pam_y.so\n" + LIMITS, ""),
        ("session [success=1 default=ignore] pam_x.so\nsession substack inner\n" + LIMITS, LIMITS + LIMITS),
    ],
)
def test_every_login_passes_it(sshd: str, inner: str) -> None:
    assert reach(sshd, inner=inner).always


@pytest.mark.parametrize(
    ("sshd", "inner"),
    [
        ("session sufficient pam_x.so\n" + LIMITS, ""),
        ("session [success=1 default=ignore] pam_x.so\n" + LIMITS + "session optional pam_y.so\n", ""),
        ("session [success=done default=ignore] pam_x.so\n" + LIMITS, ""),
        ("session include inner\n" + LIMITS, "session sufficient pam_x.so\n"),
        ("session substack inner\n", "session sufficient pam_x.so\n" + LIMITS),
        (
            "session [success=1 default=ignore] pam_x.so\nsession include inner\n",
            LIMITS + "session optional pam_y.so",
        ),
    ],
)
def test_some_logins_skip_it(sshd: str, inner: str) -> None:
    found = reach(sshd, inner=inner)
    assert (found.always, found.module is not None, found.skipper is not None) == (False, True, True)


@pytest.mark.parametrize(
    "sshd",
    [
        "session required pam_unix.so\n",
        "#" + LIMITS,
        "auth required pam_limits.so\nsession optional pam_x.so\n",
        "",
    ],
)
def test_no_login_passes_it(sshd: str) -> None:
    found = reach(sshd)
    assert (found.always, found.module) == (False, None)


def test_a_service_without_session_lines_has_those_of_other() -> None:
    assert reach("auth required pam_unix.so\n", other=LIMITS).always


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auth required pam_unix.so\nsesion required pam_x.so\n", "sshd:2: 'sesion' is not a module type"),
        ("\n\nsession required\n", "sshd:3: the line names no module"),
        ("session maybe pam_x.so\n", "sshd:1: 'maybe' is not a control value"),
        ("session [success=far] pam_x.so\n", "sshd:1: 'success=far' in"),
        ("# x\n@include\n", "sshd:2: @include names no file"),
        ("@include sshd\n", "sshd:1: 'sshd' includes itself"),
        ("@include inner\n", "inner:1: 'sshd' includes itself"),
        ("session include nosuch\n", "sshd:1: 'nosuch' does not exist"),
        ("session required pam_x.so \\\n", "sshd:1: the line is continued, but the file ends"),
        ("session required pam_x.so\r\n", "sshd:1: the line ends in CR LF"),
    ],
)
def test_bad_input_is_named_by_file_and_line(text: str, message: str) -> None:
    tree = tree_of(text, inner="session include sshd\n")
    with pytest.raises(ConfigError, match=r"/etc/pam\.d/") as caught:
        pam_plan.plan(tree, "sshd")
    assert message in str(caught.value)


def test_it_is_not_added_where_the_module_is_not_installed() -> None:
    tree = tree_of("session required pam_unix.so\n")
    tree.write("/usr/lib/security/pam_limits.so", None)
    assert "not installed" in pam_plan.plan(tree, "sshd")
    assert tree.read("/etc/pam.d/sshd") == "session required pam_unix.so\n"


@pytest.mark.parametrize(
    ("selected", "base", "select"),
    [
        (
            "sssd\nwith-fingerprint\nwith-mkhomedir\n",
            "sssd",
            "custom/pycoredump with-fingerprint with-mkhomedir",
        ),
        ("custom/site\n", "custom/site", "custom/pycoredump"),
        (None, "local", "custom/pycoredump"),
    ],
)
def test_authselect_files_are_left_alone_with_the_commands_to_use(
    selected: str | None, base: str, select: str
) -> None:
    text = "# Generated by authselect\nsession required pam_unix.so\n"
    tree = tree_of(text)
    tree.write(pam_plan.AUTHSELECT, selected)
    assert pam_plan.plan(tree, "sshd") == (
        f"authselect owns this file: authselect create-profile pycoredump --base-on={base}; add 'session required "
        f"pam_limits.so' to /etc/authselect/custom/pycoredump/sshd; authselect select {select}"
    )
    assert tree.read("/etc/pam.d/sshd") == text


def test_the_place_of_a_commented_line_is_taken() -> None:
    tree = tree_of("session required pam_a.so\n#session required pam_limits.so\nsession required pam_b.so\n")
    assert pam_plan.plan(tree, "sshd") == ""
    assert [m.name for m in pam.session(tree, "sshd")] == ["pam_a.so", "pam_limits.so", "pam_b.so"]


def test_it_goes_above_what_may_end_the_stack() -> None:
    tree = tree_of(
        "session required pam_a.so\nsession include inner\n", inner="session sufficient pam_b.so\n"
    )
    assert pam_plan.plan(tree, "sshd") == ""
    assert [m.name for m in pam.session(tree, "sshd")] == ["pam_a.so", "pam_limits.so", "pam_b.so"]


def test_a_jump_still_skips_what_it_skipped() -> None:
    text = "session [success=1 default=ignore] pam_a.so\nsession required pam_b.so"
    tree = tree_of(text)
    assert pam_plan.plan(tree, "sshd") == ""
    stack = pam.session(tree, "sshd")
    assert pam_plan.jump(stack, 0, 1) == 2
    assert stack[1].name == "pam_b.so"
    assert pam_plan.undo(tree.read("/etc/pam.d/sshd") or "") == text


def test_a_vendor_file_is_included_not_copied() -> None:
    tree = Tree("/nonexistent")
    tree.write("/usr/lib/pam.d/sshd", "session sufficient pam_a.so\n")
    tree.write("/usr/lib64/security/pam_limits.so", "")
    assert pam_plan.plan(tree, "sshd") == ""
    text = tree.read("/etc/pam.d/sshd") or ""
    assert text.index(pam_plan.LINE) < text.index("session include /usr/lib/pam.d/sshd")


MODULES = ["pam_a.so", "pam_permit.so", "pam_deny.so", "pam_limits.so", "/lib/security/pam_b.so x=1"]
CONTROLS = [
    "required", "requisite", "optional", "sufficient", "[default=1]", "[success=2 default=ignore]",
    "[success=ok ignore=ignore default=bad]", "[success=done new_authtok_reqd=3 default=die]", "[default=ignore]",
]  # fmt: skip
module_lines = st.builds(
    lambda dash, control, module, end: f"{dash}session {control} {module}{end}",
    st.sampled_from(["", "-"]),
    st.sampled_from(CONTROLS),
    st.sampled_from(MODULES),
    st.sampled_from(["\n", " # comment\n", "\n\n", " \\\n  arg\n"]),
)
other_lines = st.sampled_from(
    ["# note\n", "auth required pam_unix.so\n", "\n", "#session required pam_limits.so\n"]
)
includes = st.sampled_from(
    ["session include one\n", "session substack two\n", "@include one\n", "@include two\n"]
)
inner_texts = st.lists(module_lines | other_lines, max_size=5).map("".join)
service_texts = st.builds(
    lambda parts, cut: "".join(parts)[: -1 if cut else None],
    st.lists(module_lines | other_lines | includes, min_size=1, max_size=7),
    st.booleans(),
)

RESULTS = ("success", "ignore", "session_err", "new_authtok_reqd")


def simulate(stack: list[Module], results: list[str]) -> tuple[bool, bool]:
    """libpam's dispatch (pam_dispatch.c), written anew: whether the session is opened, and pam_limits was run."""
    granted, failed, limits = False, False, False
    at = 0
    states: dict[int, tuple[bool, bool]] = {}
    while at < len(stack):
        module = stack[at]
        if not module.name:  # the head of a substack
            states[module.level + 1] = (granted, failed)
            at += 1
            continue

        result = {"pam_permit.so": "success", "pam_deny.so": "session_err"}.get(module.name, results[at])
        limits = limits or module.name == "pam_limits.so"
        action = action_of(module, result)
        after = at + 1
        if action in ("ok", "done") and not failed:
            granted = True
        if action in ("bad", "die"):
            failed = True
        if action == "reset":
            granted, failed = states.get(module.level, (False, False))
        if (action == "done" and granted and not failed) or action == "die":
            while after < len(stack) and stack[after].level >= module.level:
                after += 1
        if action.isdecimal():
            count = int(action)
            while count and after < len(stack) and stack[after].level >= module.level:
                after += 1
                while after < len(stack) and stack[after].level > module.level:
                    after += 1
                count -= 1
            failed = failed or count > 0
        at = after
    return granted and not failed, limits


def action_of(module: Module, result: str) -> str:
    control = module.line.words[1]
    table = {
        "required": "success=ok new_authtok_reqd=ok ignore=ignore default=bad",
        "requisite": "success=ok new_authtok_reqd=ok ignore=ignore default=die",
        "optional": "success=ok new_authtok_reqd=ok default=ignore",
        "sufficient": "success=done new_authtok_reqd=done default=ignore",
    }
    pairs = dict(pair.split("=") for pair in table.get(control, control.strip("[]")).split())
    return pairs.get(result, pairs.get("default", "bad"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(service_texts, inner_texts, inner_texts, st.lists(st.sampled_from(RESULTS), min_size=40, max_size=40))
def test_always_means_that_no_session_is_opened_without_it(
    sshd: str, one: str, two: str, results: list[str]
) -> None:
    stack = pam.session(tree_of(sshd, one=one, two=two, other=LIMITS), "sshd")
    opened, limited = simulate(stack, results)
    found = pam_plan.reach(stack)
    assert not (opened and found.always and not limited)
    assert not (limited and found.module is None)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(service_texts, inner_texts, inner_texts, st.lists(st.sampled_from(RESULTS), min_size=40, max_size=40))
def test_the_line_makes_every_login_pass_and_changes_no_decision(
    sshd: str, one: str, two: str, results: list[str]
) -> None:
    tree = tree_of(sshd, one=one, two=two, other="")
    before = pam.session(tree, "sshd")
    reason = pam_plan.plan(tree, "sshd")
    after = pam.session(tree, "sshd")
    text = tree.read("/etc/pam.d/sshd") or ""
    assert pam_plan.undo(text) == sshd
    assert pam_plan.reach(after).always or reason != ""
    pam_plan.plan(tree, "sshd")
    assert tree.read("/etc/pam.d/sshd") == text

    assume(before and len(after) == len(before) + 1)
    ours = next(i for i, m in enumerate(after) if m.line.file.endswith("sshd") and is_ours(m, text))
    # With our line's result taken as success, the other modules decide as they did.
    opened, _ = simulate(before, results)
    again, limited = simulate(after, [*results[:ours], "success", *results[ours:]])
    assert limited or not again
    if opened:
        assert again


def is_ours(module: Module, text: str) -> bool:
    above = lines.split(text)[module.line.start - 1].rstrip("\n") if module.line.start else ""
    return above in (lines.MARK, lines.MARK_BREAK)
