"""The fuzzer of the decoder runs and finds nothing at once; `tests/fuzz/decoder.py` is for long runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.process import environment


@pytest.mark.slow
def test_a_short_run_finds_nothing(tmp_path: Path):
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decoder", "-runs=3000", "-seed=1"],
        cwd=tmp_path,
        env=environment(Path(__file__).parents[2]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Done 3000 runs" in done.stderr
