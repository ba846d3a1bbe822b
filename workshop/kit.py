"""Make the offline kit: `python workshop/kit.py FOLDER` lays a workshop out, adds wheels, and packs FOLDER.zip.

The wheels are those of this platform and Python; torch is left out (with CUDA it is gigabytes), and the kit's install.py says
how to add its CPU build.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from synthprune.workshop import lay_out

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*|mypy.*|playwright|pytest.*|ruff)==")


def wanted(lock: str) -> list[str]:
    """The lines of a lock file that a learner's machine needs and the kit can hold."""
    return [line for line in lock.splitlines() if "==" in line and not LEFT_OUT.match(line)]


def main(folder: Path) -> None:
    """Raises CalledProcessError where pip fails, and Problem where `folder` is in use."""
    lay_out(folder)
    lock, wheels = ROOT / "requirements.lock", folder / "wheels"
    for words in (["download", "--no-deps", "--dest", wheels, *wanted(lock.read_text(encoding="utf-8"))],
                  ["download", "--constraint", lock, "--dest", wheels, "jupyterlab"],
                  ["wheel", "--no-deps", "--wheel-dir", wheels, ROOT]):
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, stdout=subprocess.DEVNULL)
    shutil.copy2(ROOT / "workshop" / "install.py", folder)
    shutil.copytree(ROOT / "results", folder / "results")
    if (ROOT / "_build" / "html").exists():
        shutil.copytree(ROOT / "_build" / "html", folder / "book")
    archive = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
    print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB; unpack it, and run python install.py in it")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python workshop/kit.py FOLDER")
    main(Path(sys.argv[1]).absolute())
