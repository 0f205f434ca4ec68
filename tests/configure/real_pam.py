"""Opens sessions with this host's libpam in children: python real_pam.py < cases.json > results.json

A case is {"confdir", "service", "user"}; a result is [status of pam_open_session, soft, hard] in bytes.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys

CONVERSATION = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
)


class Conv(ctypes.Structure):
    _fields_ = (("function", CONVERSATION), ("data", ctypes.c_void_p))


def silent(count: int, messages: int, answers: object, data: int) -> int:
    return 19  # PAM_CONV_ERR: no module has anything to ask


def session(case: dict[str, str]) -> list[int]:
    """The status of pam_open_session and the core limits after it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
    pam = ctypes.CDLL("libpam.so.0")
    conversation = Conv(CONVERSATION(silent), None)
    handle = ctypes.c_void_p()
    words = [case[name].encode() for name in ("service", "user", "confdir")]
    status = pam.pam_start_confdir(
        words[0], words[1], ctypes.byref(conversation), words[2], ctypes.byref(handle)
    )
    assert status == 0, status
    status = pam.pam_open_session(handle, 0x8000)  # PAM_SILENT
    return [status, *(limit % 2**64 for limit in resource.getrlimit(resource.RLIMIT_CORE))]


def in_child(case: dict[str, str]) -> list[int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(session(case)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return [int(number) for number in json.loads(text)]


if __name__ == "__main__":
    json.dump([in_child(case) for case in json.load(sys.stdin)], sys.stdout)
