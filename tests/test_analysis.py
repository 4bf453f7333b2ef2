"""What a plugin author imports."""

import ast
import subprocess
import sys
import textwrap

import proctor.analysis
from proctor.testing import FACE, held, judge, only


def test_importing_the_contract_loads_neither_server_nor_event_loop():
    """A plugin's tests start fast and need none of the server's dependencies."""
    script = "import sys, proctor.analysis; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert {"trio", "quart", "pydantic", "structlog", "sqlalchemy"}.isdisjoint(loaded.split())


def test_workers_import_no_server():
    script = "import sys, proctor.analysis.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert {"trio", "quart", "pydantic", "structlog", "sqlalchemy"}.isdisjoint(loaded.split())


def test_everything_exported_is_documented():
    for name in proctor.analysis.__all__:
        exported = getattr(proctor.analysis, name)
        assert exported.__doc__, name


def test_the_example_runs_as_it_stands():
    """The example in the package's documentation is a whole analyzer."""
    text = proctor.analysis.__doc__ or ""
    block = text.split("::\n", 1)[1].split("\n\nThe policy's table", 1)[0]
    source = textwrap.dedent(block)
    namespace: dict = {"__name__": "example"}
    exec(compile(ast.parse(source), "example", "exec"), namespace)
    frames = held((60, FACE | {"hand_count": 2}), (30, FACE | {"hand_count": 0}), (5, FACE))
    finding = only(judge(namespace["Hands"], frames))
    assert (finding.start_seconds, finding.end_seconds) == (60.0, 90.0)
