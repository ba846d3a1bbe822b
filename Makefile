# Three commands: `make book`, `make check` and `make test`. All set themselves up in .venv, inside this checkout.
# `make book` computes everything, on handwritten digits; `make book PROFILE=laptop` renders the results that ship.

PYTHON ?= python3.11
PROFILE ?= demo
BIN := .venv/bin
PLATFORM := $(shell uname -s)-$(shell uname -m)

.PHONY: book check test clean

book: .venv/ready
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/synthprune book --profile $(PROFILE)

test: .venv/compiled
	tests/run

# What needs no training and no book: minutes less, for every small step.
FAST := augment claims costs criteria figures gate introduction landscape masks models overview parameters photo plan pruning \
        specs stability stats units

check: .venv/compiled
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q $(FAST:%=tests/test_%.py)

# Exact versions where they were tested, the ranges of pyproject.toml elsewhere. pip would take a minute to compile to bytecode
# what no page imports; the book compiles and keeps what it does import, also where the shell says to keep none.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "synthprune is tested with Python 3.11: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
ifeq ($(PLATFORM),Linux-x86_64)
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
