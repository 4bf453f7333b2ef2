"""`python -m tests`: everything that must hold, the quickest check first; stops at the first failure.

With `--coverage` the tests take half as long again, and must reach nearly every line.
"""

import argparse
import subprocess
import sys

_CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy", "--strict"),
)
# Twice the two cores that it is measured for: many tests wait, for a time limit or another process.
_TESTS = ("pytest", "-n", "4", "--dist", "worksteal")
_COVERAGE = ("--cov", "--cov-report=term:skip-covered")


def main() -> int:
    """Run the checks; returns the exit status of the first that fails, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coverage", action="store_true", help="measure what the tests reach")
    coverage = _COVERAGE if parser.parse_args().coverage else ()
    for tool, *arguments in (*_CHECKS, (*_TESTS, *coverage)):
        print(f"\n+ {tool} {' '.join(arguments)}", flush=True)
        status = subprocess.run([sys.executable, "-m", tool, *arguments], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
