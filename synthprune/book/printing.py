"""The book on paper and in a bag: one PDF by a browser's own print, and one archive to read without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from synthprune.problems import Problem

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge",
            "microsoft-edge-stable", "msedge", "chrome")
MINUTES = 10
ON_A_MAC = tuple(Path("/Applications") / f"{name}.app" / "Contents" / "MacOS" / name
                 for name in ("Google Chrome", "Chromium", "Microsoft Edge"))
ON_WINDOWS = tuple(Path(root) / place for root in ("C:/Program Files", "C:/Program Files (x86)")
                   for place in ("Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe"))


def find_browser() -> str | None:
    """A browser of the Chromium family: on the path, or where macOS and Windows keep theirs; None where there is none."""
    return next((str(found) for found in (*filter(None, map(shutil.which, BROWSERS)), *ON_A_MAC, *ON_WINDOWS)
                 if Path(found).exists()), None)


def write_pdf(page: Path, pdf: Path) -> None:
    """Print the built `page` to `pdf`: letters stay letters, drawings stay vectors, what is folded away is left out.

    Raises Problem where there is no browser of the Chromium family, or it prints nothing within ten minutes.
    """
    browser = find_browser()
    if browser is None:
        raise Problem(f"a PDF needs one of {', '.join(BROWSERS)}: install one, or print the pages by hand")
    # The superuser's browser has no sandbox; formulas are set by a script, so printing waits in the page's own time.
    alone = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    pdf.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, "--headless", *alone, "--disable-gpu", "--disable-background-networking", "--no-first-run",
                   f"--user-data-dir={profile}", "--no-pdf-header-footer", "--virtual-time-budget=120000",
                   f"--timeout={60_000 * MINUTES}", f"--print-to-pdf={pdf}", page.as_uri()]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60 * MINUTES)
        except subprocess.TimeoutExpired:
            raise Problem(f"{browser} did not print {page} within {MINUTES} minutes") from None
    if not pdf.exists():
        raise Problem(f"{browser} printed nothing: {(done.stderr.strip() or 'it gave no reason').splitlines()[-1]}")


def write_archive(root: Path, archive: Path) -> None:
    """A zip of the built pages, the notebooks and the results that ship, which opens at html/index.html."""
    folders = (root / "_build" / "html", root / "notebooks", root / "results")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as whole:
        for file in (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()):
            whole.write(file, Path("synthprune-book") / file.relative_to(root if root / "_build" not in file.parents
                                                                         else root / "_build"))
