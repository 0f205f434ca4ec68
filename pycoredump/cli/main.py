"""The program pycoredumpctl(1). The verbs are loaded when they are called: `list` needs none of the others."""

from __future__ import annotations

import contextlib
import os
import sys

from pycoredump.cli import options, screen
from pycoredump.errors import PycoredumpError

FAILED = 1


def main(argv: list[str] | None = None) -> int:
    """Run the program on the words behind its name; the exit status."""
    words = sys.argv[1:] if argv is None else argv
    _survive_any_text()
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except PycoredumpError as e:
        _complain(f"{e} ({e.hint})" if e.hint else str(e))
    except ImportError as e:
        _complain(f"{e.name or 'A module'} cannot be used: {e} (pycoredumpctl status tells more)")
    except BrokenPipeError:
        # The reader has seen enough; Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except KeyboardInterrupt:
        return 130
    except OSError as e:
        _complain(f"{e.filename}: {e.strerror}" if e.filename else e.strerror or str(e))
        with contextlib.suppress(OSError):
            sys.stdout.close()  # if it was standard output that failed, that has been said
    return FAILED


def _complain(text: str) -> None:
    print(f"pycoredumpctl: {screen.shown(text)}", file=sys.stderr)


def _run(words: list[str]) -> int:
    command = options.parse(words)
    if command.has("help"):
        print(options.usage())
        return 0
    if command.has("version"):
        from pycoredump import VERSION

        print(f"pycoredump {VERSION}")
        return 0
    return _verb(command)


def _verb(command: options.Command) -> int:
    import importlib

    module = importlib.import_module(f"pycoredump.cli.{command.verb}")
    status: int = module.run(command)
    return status


def _survive_any_text() -> None:
    # What is printed went through screen.shown(); in a C locale the rest becomes \uHHHH rather than an exception.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # tests put other kinds of streams here
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
