"""Install the workshop from the wheels beside this file, without a network: `python install.py`, with Python 3.11 or 3.12."""

import subprocess
import sys
import venv
from pathlib import Path

TORCH = ("torch is not in wheels/, as its CPU build is fetched from its own index. Where there is a network, run\n"
         "    python -m pip download --no-deps --dest wheels torch torchvision --index-url https://download.pytorch.org/whl/cpu\n"
         "and then this again.")


def main() -> None:
    """Make `.venv` beside this file, install into it, and say whether the machine is ready."""
    folder = Path(__file__).resolve().parent
    wheels, home = folder / "wheels", folder / ".venv"
    if not list(wheels.glob("torch-*.whl")) or not list(wheels.glob("torchvision-*.whl")):
        sys.exit(TORCH)
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels, "synthprune",
                    "jupyterlab"], check=True)
    ready = subprocess.run([programs / "synthprune", "doctor", "--workshop"], check=False).returncode == 0
    print(f"Start with: {programs / 'jupyter'} lab {folder / 'learner'}" if ready else "Not ready: see the lines above.")
    sys.exit(not ready)


if __name__ == "__main__":
    main()
