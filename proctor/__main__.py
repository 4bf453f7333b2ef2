"""`python -m proctor`."""

from proctor.cli import app

if __name__ == "__main__":
    app()
