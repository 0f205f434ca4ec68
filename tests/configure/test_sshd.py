"""UsePAM: which line decides, and a place for ours that wins and never lands in a Match block."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import distributions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycoredump.configure import change, lines, sshd
from pycoredump.configure.request import Request
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError

MAIN = "/etc/ssh/sshd_config"


def host(text: str, **drop_ins: str) -> Tree:
    tree = Tree("/nonexistent")
    tree.write(MAIN, text)
    for name, body in drop_ins.items():
        tree.write(f"/etc/ssh/sshd_config.d/{name}.conf", body)
    return tree


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UsePAM yes\nUsePAM no\n", True),
        ("usepam=yes", True),
        ('UsePAM "yes"\r\n', True),
        ("  UsePAM\tYES # words\n", True),
        ("#UsePAM yes\n", False),
        ("", False),
        ("Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n", False),
        ("Include sshd_config.d/b*.conf\n", True),
        ("Match User anna\nBanner none\nMatch ALL\nUsePAM yes\n", True),
        ("UsePAM yes\nInclude /etc/ssh/sshd_config.d/*.conf\n", True),
    ],
)
def test_the_first_value_decides(text: str, expected: bool) -> None:
    assert sshd.enabled(host(text, a="UsePAM no\n", b="UsePAM yes\n")) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/etc/ssh/*.d/site.conf", ["/etc/ssh/a.d/site.conf", "/etc/ssh/b.d/site.conf"]),
        ("?.d/[s]*.conf", ["/etc/ssh/a.d/site.conf", "/etc/ssh/b.d/site.conf"]),
        ("a.d/*", ["/etc/ssh/a.d/other", "/etc/ssh/a.d/site.conf"]),
        ("a.d/.*", ["/etc/ssh/a.d/.hidden"]),
        ("a.d/nothing", []),
    ],
)
def test_included_files_are_those_of_glob(tmp_path: pathlib.Path, pattern: str, expected: list[str]) -> None:
    for name in ("a.d/site.conf", "a.d/other", "a.d/.hidden", "b.d/site.conf", "b.d/dir.conf/x"):
        file = tmp_path / "etc/ssh" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("Port 22\n")
    tree = Tree(os.fspath(tmp_path))
    tree.write(MAIN, f"Include {pattern}\n")
    assert [one.file for one in sshd.directives(tree, MAIN)[1:]] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Port 22\nUsePAM maybe\n", "sshd_config:2: UsePAM is neither yes nor no"),
        ("UsePAM\n", "sshd_config:1: UsePAM is neither"),
        ("Match User a\nUsePAM yes\n", "sshd_config:2: UsePAM inside a Match block"),
        ("Match all\nMatch User a\nUsePAM yes\n", "sshd_config:3: UsePAM inside a Match block"),
        ("Include /etc/ssh/sshd_config\n", "sshd_config:1: /etc/ssh/sshd_config includes itself"),
    ],
)
def test_bad_input_is_named_by_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sshd.plan(host(text), {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Port 22", "Port 22\n{}"),
        ("# x\nMatch User a\n  X no", "# x\n{}Match User a\n  X no"),
        ("Port 22\nUsePAM no\nMatch all\n", "Port 22\n{}UsePAM no\nMatch all\n"),
        ("Include a\nUsePAM no\n", "{}Include a\nUsePAM no\n"),
    ],
    ids=["at the end", "above Match", "above UsePAM no", "above Include"],
)
def test_the_line_goes_above_the_first_that_matters(text: str, expected: str) -> None:
    mark = lines.MARK_BREAK if text == "Port 22" else lines.MARK
    assert sshd.edit(text) == expected.format(f"{mark}\nUsePAM yes\n")


def test_a_drop_in_is_preferred_where_it_wins(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/ssh/sshd_config.d").mkdir(parents=True)
    (tmp_path / "etc/ssh/sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\nUsePAM no\n")
    tree = Tree(os.fspath(tmp_path))
    sshd.plan(tree, {})
    assert [change.path for change in tree.changes()] == [sshd.DROP_IN]
    assert sshd.flattened(tree).endswith("UsePAM yes\nInclude /etc/ssh/sshd_config.d/*.conf\nUsePAM no\n")


def test_a_drop_in_that_would_lose_is_not_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/ssh/sshd_config.d").mkdir(parents=True)
    (tmp_path / "etc/ssh/sshd_config.d/00-first.conf").write_text("UsePAM no\n")
    (tmp_path / "etc/ssh/sshd_config").write_text("Include /etc/ssh/sshd_config.d/*.conf\n")
    tree = Tree(os.fspath(tmp_path))
    sshd.plan(tree, {})
    assert [change.path for change in tree.changes()] == [MAIN]
    assert sshd.enabled(tree)


def lonely(tmp_path: pathlib.Path, **files: str) -> pathlib.Path:
    """A Debian that had PAM removed, but for `files`."""
    left = {path: text for path, text in distributions.DEBIAN.items() if "/pam.d/" not in path}
    left |= {MAIN: "UsePAM no\n", **{f"/etc/pam.d/{name}": text for name, text in files.items()}}
    return distributions.lay(tmp_path, left)


def test_pam_is_not_switched_on_where_it_would_refuse_every_login(tmp_path: pathlib.Path) -> None:
    root = lonely(tmp_path, other="auth required pam_deny.so\nsession required pam_deny.so\n")
    _, items = change.apply(os.fspath(root), Request(), None, disk=distributions.Quick())
    assert (root / MAIN[1:]).read_text() == "UsePAM no\n"
    [item] = [item for item in items if item.name == "sshd uses PAM"]
    assert (item.state, "would refuse every login" in item.hint) == ("wrong", True)


def test_an_sshd_without_pam_is_left_alone() -> None:
    tree = host("Port 22\n")
    built_without = {"port": "22", "permitrootlogin": "yes"}
    assert sshd.plan(tree, built_without) == ""
    assert tree.read(MAIN) == "Port 22\n"
    assert sshd.inspect(tree, built_without).state == "absent"
    assert sshd.inspect(tree, {**built_without, "usepam": "no"}).state == "wrong"


def test_a_host_without_pam_limits_keeps_its_logins(tmp_path: pathlib.Path) -> None:
    root = distributions.lay(tmp_path, distributions.ALPINE)
    before = distributions.snapshot(root / "etc/ssh")
    _, items = change.apply(os.fspath(root), Request(), None, disk=distributions.Quick())
    found = [item.found for item in items if item.name == "core limit of logins"]
    assert found == ["pam_limits is not installed"]
    assert distributions.snapshot(root / "etc/ssh") == before
    assert not (root / "etc/security").exists()


config_lines = st.sampled_from(
    ["Port 22", "UsePAM no", "usepam=no", "#UsePAM yes", "", "Match User anna", "  X11Forwarding no",
     "Include /etc/ssh/sshd_config.d/*.conf", "Match Address 10.0.0.0/8", "PrintMotd no", "\tBanner none"]
)  # fmt: skip
ends = st.sampled_from(["\n", "\r\n", " \n"])
texts = st.builds(
    lambda rows, cut: "".join(rows)[: -1 if cut else None],
    st.lists(st.builds(str.__add__, config_lines, ends), max_size=10),
    st.booleans(),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts, texts)
def test_it_is_enabled_and_undo_restores_every_byte(text: str, drop_in: str) -> None:
    tree = host(text, site=drop_in)
    refused = refusal(tree)
    if refused:
        assert "inside a Match block" in refused or "includes itself" in refused
        assert tree.read(MAIN) == text
        return

    planned = tree.read(MAIN) or ""
    assert sshd.enabled(tree)
    assert sshd.undo(planned) == text
    sshd.plan(tree, {})
    assert tree.read(MAIN) == planned


def refusal(tree: Tree) -> str:
    try:
        sshd.plan(tree, {})
    except ConfigError as e:
        return str(e)
    return ""


# tools/prepare.py unpacks one where there is none.
BUILD = pathlib.Path(__file__).parents[2] / "build" / "sshd"
PROGRAM = shutil.which("sshd", path=f"/usr/sbin:/usr/bin:/usr/local/sbin:{BUILD}")

# Directives that sshd judges without files of this host.
REAL = {
    name: files[path]
    for name, files in distributions.ALL.items()
    for path in (MAIN, "/usr/etc/ssh/sshd_config")
    if path in files
}


@pytest.mark.root
@pytest.mark.parametrize("text", REAL.values(), ids=REAL.keys())
def test_sshd_accepts_after_the_edit_what_it_accepted_before(tmp_path: pathlib.Path, text: str) -> None:
    if PROGRAM is None or os.geteuid() != 0:
        pytest.skip("needs sshd, and root for its privilege separation directory")

    text = text.replace("/etc/ssh/", f"{tmp_path}/")
    if "ssh_host_rsa_key" in text or "HostKey" not in text:
        text = text.replace(f"HostKey {tmp_path}/ssh_host_rsa_key", "#")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(tmp_path / "key")], check=True
    )
    before, after = judge(tmp_path, text), judge(tmp_path, sshd.edit(text))
    assert before[0] == after[0] == 0, after[1]
    assert "usepam yes" in after[1]


def judge(directory: pathlib.Path, text: str) -> tuple[int, str]:
    """sshd -T on a text, in a mount namespace that has /run/sshd."""
    path = directory / "config"
    path.write_bytes(text.encode())
    command = f"mount -t tmpfs run /run && mkdir /run/sshd && exec {PROGRAM} -T -f {path}"
    connection = "user=root,host=localhost,addr=127.0.0.1"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{command} -h {directory}/key -C {connection}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
