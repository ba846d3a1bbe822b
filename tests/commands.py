"""The command line, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from synthprune.cli import app
from synthprune.problems import Problem


def run(*words: str) -> tuple[int, str]:
    """Exit status and everything that was said; what ends as one line to a person counts as status 2, as `main` has it."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit | Problem), done.exception
    return (2 if isinstance(done.exception, Problem) else done.exit_code), f"{done.output}{done.exception or ''}"
