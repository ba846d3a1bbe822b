"""Install the workshop from the wheels beside this file, without a network: `python install.py`, with the Python that they are
for."""

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
    torch = next(wheels.glob("torch-*.whl"), None)
    if torch is None or not list(wheels.glob("torchvision-*.whl")):
        sys.exit(TORCH)
    if (tag := torch.name.split("-")[2]) != f"cp{sys.version_info[0]}{sys.version_info[1]}":
        sys.exit(f"These wheels are for Python {tag[2]}.{tag[3:]}, and this is {sys.version.split()[0]}: run install.py with"
                 " the former.")
    try:
        venv.create(home, with_pip=True)
    except subprocess.CalledProcessError:
        sys.exit("This Python cannot make environments: install python3-venv (Debian, Ubuntu), or take Python from python.org.")
    programs = home / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels, "synthprune",
                    "jupyterlab"], check=True)
    ready = subprocess.run([programs / "synthprune", "doctor", "--workshop"], check=False).returncode == 0
    start = f'"{programs / "jupyter"}" lab "{folder / "learner"}"'
    print(f"Start with: {'& ' if sys.platform == 'win32' else ''}{start}" if ready else "Not ready: see the lines above.")
    sys.exit(not ready)


if __name__ == "__main__":
    main()
