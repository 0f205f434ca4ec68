"""What this machine's systemd-coredump writes about a core, without being registered with the kernel.

    systemd_coredump.py CORE

prints its MESSAGE. Needs root: it runs in mount namespaces of its own, where its sockets and its directory are ours.
"""

from __future__ import annotations

import array
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

PROGRAM = "/lib/systemd/systemd-coredump"
SECONDS = 120.0
# The client and the server share what is mounted here, and nobody else sees it.
SCRIPT = """
mount --make-rprivate /
mount --bind "$1" /run/systemd
mount -t tmpfs tmpfs /var/lib/systemd/coredump
[ "$3" = debug ] || ! [ -d /usr/lib/debug ] || mount -t tmpfs tmpfs /usr/lib/debug
mkdir -p /etc/systemd/coredump.conf.d
mount -t tmpfs tmpfs /etc/systemd/coredump.conf.d
printf '[Coredump]\\nStorage=none\\nProcessSizeMax=64G\\n' >/etc/systemd/coredump.conf.d/none.conf
systemd-socket-activate --seqpacket -a -l /run/systemd/coredump "$2" 2>/dev/null &
server=$!
while ! [ -S /run/systemd/coredump ]; do sleep 0.05; done
sleep 1000 &
crashed=$!
"$2" $crashed 0 0 6 "$(date +%s)" 18446744073709551615 vm
head -c 1 >/dev/null
kill $server $crashed
"""


def message(core: pathlib.Path, *, debug: bool = False) -> str:
    """MESSAGE of the entry that systemd-coredump makes of this core; "" if it makes none. OSError.

    `debug`: it may use the separate debug files under /usr/lib/debug.
    """
    with tempfile.TemporaryDirectory() as place:
        os.mkdir(f"{place}/journal")
        os.chmod(place, 0o755)  # it writes its entry as another user
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            journal.bind(f"{place}/journal/socket")
            os.chmod(f"{place}/journal/socket", 0o666)
            read, write = os.pipe()
            with core.open("rb") as file:
                child = subprocess.Popen(
                    [
                        "unshare",
                        "--mount",
                        "sh",
                        "-c",
                        _script(read),
                        "sh",
                        place,
                        PROGRAM,
                        "debug" if debug else "",
                    ],
                    stdin=file,
                    pass_fds=(read,),
                )
            os.close(read)
            try:
                return _wait(journal)
            finally:
                os.close(write)
                child.wait()


def _script(end: int) -> str:
    return SCRIPT.replace("head -c 1 >/dev/null", f"head -c 1 <&{end} >/dev/null")


def _wait(journal: socket.socket) -> str:
    end = time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        journal.settimeout(left)
        try:
            fields = dict(_fields(_datagram(journal)))
        except TimeoutError:
            return ""
        if fields.get("MESSAGE_ID") == "fc2e22bc6ee647b6b90729ab34a250b1":
            return fields.get("MESSAGE", "")
    return ""


def _datagram(journal: socket.socket) -> bytes:
    """One entry in the journal's own protocol: as it is, or in a file whose descriptor comes."""
    data, control, _, _ = journal.recvmsg(8 << 20, socket.CMSG_SPACE(4))
    if not control:
        return data

    with open(array.array("i", control[0][2][:4])[0], "rb") as file:
        file.seek(0)
        return file.read()


def _fields(data: bytes) -> Iterator[tuple[str, str]]:
    """Lines NAME=VALUE, or NAME, a length in eight bytes, and that many bytes."""
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, equals, value = data[at:end].partition(b"=")
        at = end + 1
        if not equals and len(data) >= at + 8:
            size = int.from_bytes(data[at : at + 8], "little")
            value, at = data[at + 8 : at + 8 + size], at + 8 + size + 1
        yield name.decode("ascii", "replace"), value.decode("utf-8", "replace")


def main() -> int:
    print(message(pathlib.Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
