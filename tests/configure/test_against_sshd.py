"""Our reading of sshd_config against the host's own sshd, on random files; and sshd's word on our edits."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import subprocess

import pytest

from pycoredump.configure import sshd
from pycoredump.configure.tree import Tree
from pycoredump.errors import ConfigError

pytestmark = pytest.mark.root
# tools/prepare.py unpacks one where there is none.
BUILD = pathlib.Path(__file__).parents[2] / "build" / "sshd"
PROGRAM = shutil.which("sshd", path=f"/usr/sbin:/usr/bin:/usr/local/sbin:{BUILD}")

if os.geteuid() != 0:
    pytest.skip("needs root for sshd's privilege separation directory", allow_module_level=True)
if PROGRAM is None:
    pytest.skip("sshd is not installed", allow_module_level=True)

ROWS = (
    *("UsePAM yes", "UsePAM no", "usepam=no", '"UsePAM" yes', "UsePAM\tyes # x", "#UsePAM no", "  usepam = YES"),
    *("Match User anna", "Match all", "match ALL", "Match Address 10.0.0.0/8", "    Banner none", "X11Forwarding no"),
    *("", "# words", "AllowTcpForwarding no", "Include {0}/a*.conf", "Include {0}/b.conf {0}/a1.conf", "Include {0}/none"),
)  # fmt: skip
ENDS = ("\n", "\r\n", " \n", "\t# c\n")
# Runs each config of $2... with sshd -T; before each output a line with the config's name, after it the status.
SCRIPT = """\
mount -t tmpfs run /run && mkdir /run/sshd || exit 1
program=$1; key=$2; shift 2
for config; do
    echo "config $config"
    "$program" -T -f "$config" -h "$key" -C user=nobody,host=x,addr=192.0.2.1 2>&1
    echo "status $?"
done
"""


def random_config(source: random.Random, place: str) -> str:
    rows = [
        source.choice(ROWS).format(place) + source.choice(ENDS if source.random() < 0.3 else ENDS[:1])
        for _ in range(source.randint(0, 7))
    ]
    return "".join(rows)


def verdicts(directory: pathlib.Path, configs: list[pathlib.Path]) -> list[str]:
    """For each config what sshd has in effect for UsePAM, "refused" if it does not start."""
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.fspath(key)], check=True)
    argv = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", str(PROGRAM), os.fspath(key)]
    done = subprocess.run([*argv, *map(os.fspath, configs)], capture_output=True, text=True, check=True)
    found = []
    for part in done.stdout.split("config ")[1:]:
        values = [line.split()[1] for line in part.splitlines() if line.lower().startswith("usepam ")]
        found.append(values[0] if "status 0" in part else "refused")
    return found


def ours(tree: Tree) -> str:
    try:
        return "yes" if sshd.enabled(tree) else "no"
    except ConfigError:
        return "refused"


def test_sshd_has_in_effect_what_we_read_and_what_we_plan(tmp_path: pathlib.Path) -> None:
    source = random.Random(7)
    configs, expected, texts = [], [], []
    for number in range(150):
        place = tmp_path / str(number)
        place.mkdir()
        for name in ("a1.conf", "a2.conf", "b.conf"):
            inner = random_config(source, os.fspath(place)).replace("Include", "#")
            (place / name).write_text(inner, newline="")
        text = random_config(source, os.fspath(place))
        tree = Tree("/")
        tree.write(sshd.MAINS[0], text)
        before = ours(tree)
        configs.append(place / "before")
        expected.append(before)
        texts.append(text)
        if before == "no":
            after = sshd.edit(text)
            tree.write(sshd.MAINS[0], after)
            assert ours(tree) == "yes"
            configs.append(place / "after")
            expected.append("yes")
            texts.append(after)
        for config, body in zip(configs[-2:], texts[-2:], strict=True):
            config.write_text(body, newline="")
    found = verdicts(tmp_path, configs)
    assert {"yes", "no", "refused"} <= set(found)
    for verdict, wanted, text, config in zip(found, expected, texts, configs, strict=True):
        assert verdict == wanted, (text, config)
