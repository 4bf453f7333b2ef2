"""`python -m tests`: everything that must hold, the quickest check first; stops at the first failure."""

import subprocess
import sys

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy", "--strict"),
    ("pytest", "-n", "2", "--dist", "loadfile", "--cov", "--cov-report=term:skip-covered"),
)


def main() -> int:
    """Run the checks; returns the exit status of the first that fails, else 0."""
    for tool, *arguments in CHECKS:
        print(f"\n+ {tool} {' '.join(arguments)}", flush=True)
        status = subprocess.run([sys.executable, "-m", tool, *arguments], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
