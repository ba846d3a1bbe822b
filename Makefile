# Three commands: `make book`, `make check` and `make test`. All set themselves up in .venv, inside this checkout.
# `make book` renders the results that ship; `make book PROFILE=demo` computes everything, on handwritten digits.

PYTHON ?= python3.11
PROFILE ?= laptop
BIN := .venv/bin
PLATFORM := $(shell $(PYTHON) -c 'import platform as p; print(p.system(), p.machine(), *p.python_version_tuple()[:2], sep="-")')

.PHONY: book check test clean

book: .venv/ready
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/synthprune book --profile $(PROFILE)

test: .venv/compiled
	tests/run

# What needs no training of more than seconds and no book: minutes less, for every small step.
FAST := augment claims costs criteria figures gate house introduction landscape masks models overview parameters photo plan pruning \
        specs stability stats units

check: .venv/compiled
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q $(FAST:%=tests/test_%.py)

# Exact versions where they were tested, the ranges of pyproject.toml elsewhere. pip would take a minute to compile to bytecode
# what no page imports; the book compiles and keeps what it does import, also where the shell says to keep none.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "synthprune takes Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/one")'
	$(PYTHON) -m venv .venv
ifeq ($(PLATFORM),Linux-x86_64-3-11)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
else
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable '.[test]'
endif
	touch .venv/ready

# Tests make errors of warnings, and compiling gives some: it is done before, and files of other Pythons may fail to.
.venv/compiled: .venv/ready
	-$(BIN)/python -W ignore -m compileall -q -j 0 .venv/lib > /dev/null 2>&1
	touch .venv/compiled

clean:
	rm -rf _build book/status.md book/scoreboard.md book/hero.md book/timings.md book/[01]*.md book/*.ipynb
