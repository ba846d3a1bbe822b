"""Where things live: results and imported data of this user, and the sources of the book."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path


def home() -> Path:
    """`SYNTHPRUNE_HOME`, or this user's data folder: one place for every checkout, since results are named by content."""
    return Path(os.environ.get("SYNTHPRUNE_HOME") or user_data_path("synthprune")).expanduser()


def sources() -> Path:
    """The folder with notebooks/, book/, results/, _config.yml and _toc.yml: the checkout, or what was installed with it."""
    package = Path(__file__).parent
    return package.parent if (package.parent / "notebooks").is_dir() else package / "_book"
