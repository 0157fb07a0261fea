"""Makes a virtual environment with everything pinned in requirements files, MXNet's wheel included, and says what is missing if it cannot.

    python3 layers/install.py .venv requirements.txt requirements-dev.txt

Runs on any Python 3, so that a wrong one gets an answer instead of a SyntaxError. Everything is installed with --no-deps: the requirements
files name every package, and mxnet 1.9.1's metadata asks for a NumPy that Python 3.13 does not have.
"""

import glob
import os
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def main(environment: str, requirements: "list[str]") -> None:
    """Create the environment and install into it."""
    refuse_wrong_python(sys.version_info[:2])
    refuse_missing_venv()
    refuse_other_machines()
    python = os.path.join(environment, "bin", "python")
    run([sys.executable, "-m", "venv", "--clear", environment])
    files = [word for name in requirements for word in ("-r", name)]
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *files])
    add_to_path(environment, os.path.abspath("handler"))


def add_to_path(environment: str, folder: str, *, name: str = "gluon_lambda_handler.pth") -> None:
    """Make the handler importable in the environment, as it is in Lambda, for `python -m archives` and the like."""
    (site_packages,) = glob.glob(os.path.join(environment, "lib", "python*", "site-packages"))
    with open(os.path.join(site_packages, name), "w") as file:
        file.write(folder + "\n")


def refuse_wrong_python(version: "tuple[int, ...]") -> None:
    """Stop with a sentence where this Python is too old or too new."""
    if OLDEST <= version <= NEWEST:
        return
    kind = "too old" if version < OLDEST else "too new"
    raise SystemExit(
        f"This is Python {version[0]}.{version[1]}, which is {kind}: Python 3.11, 3.12 or 3.13 is needed. "
        "If one is installed, name it: make PYTHON=python3.12 …"
    )


def refuse_missing_venv() -> None:
    """Stop with a sentence where Debian's split-off venv package is not installed."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SystemExit(
            f"Python {version} has no venv here. Install it: apt-get install python{version}-venv"
        ) from None


def refuse_other_machines() -> None:
    """Stop with a sentence where MXNet's wheel cannot run."""
    system, machine = os.uname().sysname, os.uname().machine
    if (system, machine) != ("Linux", "x86_64"):
        raise SystemExit(f"This is {system} on {machine}: MXNet's wheel is for Linux on x86_64")


def run(command: "list[str]") -> None:
    """Run a command; stop with its own output if it fails."""
    if subprocess.call(command) != 0:
        raise SystemExit("Failed: " + " ".join(command))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
