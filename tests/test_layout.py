"""The shape of the code that a reader relies on."""

import ast
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for path in chain(ROOT.glob("proctor/**/*.py"), ROOT.glob("plugins/proctor_rules/**/*.py"))
    if "migrations/versions" not in str(path)
]
SCRIPTS = list(ROOT.glob("proctor/web/**/*.js"))
MODULE_LINES = 300
FUNCTION_LINES = 40
PURE = [
    "wire",
    "features",
    "clock",
    "model",
    "audit",
    "chain",
    "errors",
    "pace",
    "settings",
    "analysis/report",
    "analysis/verdict",
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, without its docstring and the functions in it, such as routes."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    inner = [
        node
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    whole = (body[-1].end_lineno or 0) - body[0].lineno + 1
    return whole - sum((node.end_lineno or 0) - node.lineno + 1 for node in inner)


def test_top_level():
    """Exactly these, so that the listing is the table of contents."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    assert visible == {
        "proctor",
        "plugins",
        "tests",
        "config",
        "analysis_dumps",
        "pyproject.toml",
        "README.md",
    }


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_and_functions_are_short(path):
    source = path.read_text()
    assert source.count("\n") <= MODULE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert length(node) <= FUNCTION_LINES, f"{node.name} has {length(node)} lines"


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_scripts_are_short(path):
    assert path.read_text().count("\n") <= MODULE_LINES


def test_folders_are_two_deep():
    depths = {len(path.relative_to(ROOT / "proctor").parts) for path in ROOT.glob("proctor/**/*.py")}
    assert max(depths) <= 3 + 1  # migrations/versions is alembic's own


@pytest.mark.parametrize("name", PURE)
def test_the_core_does_no_input_or_output(name):
    imported = imports_of(ROOT / "proctor" / f"{name}.py")
    assert not {module.split(".")[0] for module in imported} & {
        "trio",
        "quart",
        "redis",
        "databases",
        "asyncio",
    }


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nobody_imports_the_built_in_rules(path):
    if path.is_relative_to(ROOT / "proctor"):
        assert not {module for module in imports_of(path) if module.startswith("proctor_")}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_shield_has_a_time_limit(path):
    for line in path.read_text().splitlines():
        if re.search(r"shield\s*=\s*True", line):
            assert re.search(r"(move_on_after|move_on_at|fail_after|fail_at)\(", line), line.strip()


@pytest.mark.parametrize("module", ["proctor.analysis", "proctor.testing"])
def test_plugin_authors_load_neither_the_server_nor_an_event_loop(module):
    check = f"import sys, {module}; assert not {{'trio', 'quart', 'asyncio', 'pytest'}} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
