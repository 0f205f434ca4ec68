"""Runs inside gdb: prints every thread's frames as one line of JSON. Used by gdb_compare.py."""

import json

import gdb  # type: ignore[import-not-found,import-untyped,unused-ignore] # exists inside gdb only


def symbol(address: int) -> str:
    """The name in the symbol table, which may be another than that in the debug info."""
    words = gdb.execute(f"info symbol {address}", to_string=True)
    return "" if words.startswith("No symbol") else words.split(" in section", 1)[0].split(" + ", 1)[0]


def frames(limit: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    frame = gdb.newest_frame()
    while frame is not None and len(found) < limit:
        # Frames that gdb makes up from debug info have no frame on the stack.
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            signal = frame.type() == gdb.SIGTRAMP_FRAME
            at = frame.pc() - (1 if found and not found[-1]["signal"] else 0)
            found.append(
                {"pc": frame.pc(), "name": frame.name() or "", "symbol": symbol(at), "signal": signal}
            )
        frame = frame.older()
    return found


threads = {}
for thread in gdb.selected_inferior().threads():
    thread.switch()
    try:
        threads[thread.ptid[1] or thread.ptid[0]] = frames(64)
    except gdb.error as e:
        threads[thread.ptid[1] or thread.ptid[0]] = [{"pc": 0, "name": str(e), "signal": False}]
print("FRAMES" + json.dumps(threads))
