# pycoredump. `make help` lists what there is; README.md tells the rest.

PREFIX = /usr
DESTDIR =
# Never the first python3 of PATH: the kernel starts the handler with the system's.
PYTHON = /usr/bin/python3
VENV = .venv
# Further arguments for pytest, as in: make test ARGS='-k archive'
ARGS =
# Where `make test` leaves pytest's exit status in the place of failing itself (.ci/run needs both: pytest's
# status, and its last line as the last line).
STATUS =

RUN = $(PYTHON) -B -m
# Without what make tells a make below it: the tests start one as a user does, from a shell.
PYTEST = env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS $(VENV)/bin/python -m pytest

.PHONY: help install uninstall demo check lint test bench compare format prepare manual clean

help:  ## This list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

install: | $(PYTHON)  ## Install, register with the kernel, prove it by a crash; DESTDIR=: only copy. PREFIX=/usr
	@$(RUN) tools.install install --prefix='$(PREFIX)' --destdir='$(DESTDIR)'

uninstall: | $(PYTHON)  ## Take back all of it; cores stay
	@$(RUN) tools.install uninstall --prefix='$(PREFIX)' --destdir='$(DESTDIR)'

demo: | $(PYTHON)  ## A real crash, caught, listed and explained; nothing stays on the machine
	@$(RUN) tools.demo

check: lint test  ## All that must be green: formatter, linter, types, tests

lint: prepare
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy pycoredump tests tools

test: prepare  ## Fetch what the tests need and run them; ARGS='-k archive' for some
ifeq ($(STATUS),)
	@$(PYTEST) $(ARGS)
else
	@$(PYTEST) $(ARGS); echo $$? >'$(STATUS)'
endif

bench: prepare  ## Against systemd-coredump and against only reading: time, memory, bytes; ARGS=--json
	@$(VENV)/bin/python -m tests.bench $(ARGS)

compare: prepare  ## Backtraces of some hundred real programs against gdb's and systemd-coredump's; minutes
	@PYTHONPATH=.:tests/analysis $(VENV)/bin/python tests/analysis/gdb_table.py $(ARGS) build/compare

format: prepare  ## Format the code; make the manual and the example from the option table
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .
	@$(RUN) tools.manual

prepare: | $(PYTHON)
	@$(RUN) tools.prepare $(VENV)

clean:  ## Remove what make made here
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# A minimal Debian has none.
/usr/bin/python3:
	@sh tools/python.sh
