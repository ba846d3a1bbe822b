"""Make the offline kit: `python workshop/kit.py FOLDER` lays a workshop out, adds wheels, and packs FOLDER.zip for learners.

Solutions, notes, and the slides with their speaker notes go into FOLDER-teacher.zip.
The wheels are those of this platform and Python. torch's CPU build has an index of its own (with CUDA it is gigabytes); where
that does not answer, what is said last is how to add it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from synthprune.problems import Problem
from synthprune.workshop import lay_out

ROOT = Path(__file__).resolve().parent.parent
CPU = "https://download.pytorch.org/whl/cpu"
LEFT_OUT = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*|mypy.*|playwright|pytest.*|ruff)==")


def wanted(lock: str) -> list[str]:
    """The lines of a lock file that a learner's machine needs and the kit can hold."""
    return [line for line in lock.splitlines() if "==" in line and not LEFT_OUT.match(line)]


def of_torch(lock: str) -> list[str]:
    """The lines of a lock file that come from torch's own index."""
    return [line for line in lock.splitlines() if re.match(r"torch(vision)?==", line)]


def hand_out(folder: Path, teacher: Path) -> None:
    """Lay a workshop out: what learners get in `folder`, the rest in `teacher`. Raises Problem where either is in use."""
    if teacher.exists():
        raise Problem(f"{teacher} is there already: remove it, or name another folder")
    lay_out(folder)
    shutil.copytree(folder / "slides", teacher / "slides")
    for part in ("solutions", "notes"):
        shutil.move(folder / part, teacher / part)
    for page in (folder / "slides").glob("*.html"):
        page.write_text(re.sub(r"<aside.*?</aside>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), encoding="utf-8")


def packed(folder: Path, what_to_do: str) -> None:
    """Pack a folder, and say so."""
    archive = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
    print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB; {what_to_do}")


def main(folder: Path) -> None:
    """Raises CalledProcessError where pip fails, and Problem where a folder is in use."""
    teacher = folder.with_name(f"{folder.name}-teacher")
    hand_out(folder, teacher)
    lock, wheels = ROOT / "requirements.lock", folder / "wheels"
    for words in (["download", "--no-deps", "--dest", wheels, *wanted(lock.read_text(encoding="utf-8"))],
                  ["download", "--constraint", lock, "--dest", wheels, "jupyterlab"],
                  ["wheel", "--no-deps", "--wheel-dir", wheels, ROOT]):
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, stdout=subprocess.DEVNULL)
    torch = ["download", "--quiet", "--no-deps", "--dest", str(wheels), *of_torch(lock.read_text(encoding="utf-8")),
             "--index-url", CPU]
    fetched = subprocess.run([sys.executable, "-m", "pip", *torch, "--retries", "1", "--timeout", "15"], check=False,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    shutil.copy2(ROOT / "workshop" / "install.py", folder)
    shutil.copytree(ROOT / "results", folder / "results")
    if (ROOT / "_build" / "html").exists():
        shutil.copytree(ROOT / "_build" / "html", folder / "book")
    packed(folder, "for learners: unpack it, and run python install.py in it")
    packed(teacher, "for the teacher: solutions, notes, and slides with speaker notes")
    if not fetched:
        again = f"import shutil; shutil.make_archive({str(folder)!r}, 'zip', {str(folder.parent)!r}, {folder.name!r})"
        sys.exit(f"torch is lacking: {CPU} did not give it. Where it answers, run\n    python -m pip {' '.join(torch)}\nand pack"
                 f" again:\n    python -c \"{again}\"")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python workshop/kit.py FOLDER")
    main(Path(sys.argv[1]).absolute())
