"""How long a user waits for something to see: `python -m benchmarks.start`, into RESULTS.md. Wall seconds, about a minute.

The demo results of chapter 04 are computed first where they are not stored.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.table import Row, in_turns, record

PROGRAM = Path(sys.executable).parent / "synthprune"


def call(*words: str) -> float:
    begun = time.perf_counter()
    subprocess.run([PROGRAM, *words], check=True, capture_output=True)
    return time.perf_counter() - begun


def first_output(page: Path) -> float:
    """From the command to the end of the first cell that shows something."""
    begun = datetime.now(UTC)
    call("run", "04_stability", "--output", str(page))
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    shown = next(cell for cell in cells if cell.get("outputs"))["metadata"]["papermill"]["end_time"]
    return (datetime.fromisoformat(shown).replace(tzinfo=UTC) - begun).total_seconds()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.ipynb"
        times = in_turns({"help": lambda: call("--help"), "first": lambda: first_output(page),
                          "all": lambda: call("run", "04_stability", "--output", str(page))})
    record("python -m benchmarks.start", [
        Row("synthprune --help", "", "within .5", times["help"], "s"),
        Row("synthprune run 04_stability, stored: the first cell's output", "", "within 3", times["first"], "s"),
        Row("synthprune run 04_stability, stored: the whole chapter", "", "", times["all"], "s")])


if __name__ == "__main__":
    main()
