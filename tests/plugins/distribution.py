"""Installing a distribution as its author would, but without network and into a folder of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.fixtures.process import environment

_OFFLINE = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")


def run(*command, pythonpath=(), folder=None):
    """Run Python; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment(*pythonpath),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(source: Path, folder: Path) -> Path:
    """Install a copy, since building leaves files behind; returns the folder for PYTHONPATH."""
    copy, target = folder / "source", folder / "installed"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    run("-m", "pip", "install", *_OFFLINE, "--target", str(target), str(copy))
    return target


def rules_in(target: Path) -> set[str]:
    """Return the analyzers that are found with this folder on the path."""
    listing = "from importlib.metadata import entry_points as e; print(*e(group='proctor.analyzers').names)"
    return set(run("-c", listing, pythonpath=[target]).split())


def own_tests(source: Path, target: Path, *chosen: str) -> str:
    """Run a distribution's own tests, or those chosen by options; returns what pytest printed."""
    return run("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, pythonpath=[target], folder=source)
