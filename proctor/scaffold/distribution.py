"""Writing the distribution of a new rule: what it is called, and its files from templates."""

import ast
import builtins
import importlib
import importlib.util
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from proctor import __version__
from proctor.errors import InvalidRequest, Unavailable

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_FILES: Mapping[str, str] = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    "$name/__init__.py": "rule.py",
    "$name/py.typed": "py.typed",
    "tests/test_$name.py": "test_rule.py",
    "tests/test_contract.py": "test_contract.py",
}
"""Path in the distribution to the template's name."""

_OWN_MODULES = ("tests", "contract", "test_contract")
"""Names that would hide the distribution's other tests, or be hidden by them."""


def write_distribution(name: str, directory: Path, taken: Iterable[str] = ()) -> Path:
    """Write a distribution with one rule into a new folder in `directory`, and return the folder. Blocks.

    `name` becomes the rule's entry point and its package; `taken` are the analyzers that there are. Either
    all files are there or none.

    Raises:
        InvalidRequest: no such name can be given, or the folder exists.
        Unavailable: the files cannot be written.
    """
    check_name(name, taken)
    words = name.strip("_").replace("_", " ")
    distribution = f"proctor-{words.replace(' ', '-')}"
    target = directory / distribution
    if target.exists():
        raise InvalidRequest(
            f"{target} exists; choose another name or --directory, or remove it", field="name"
        )
    filling = {
        "name": name,
        "class_name": _class_name(words),
        "title": words.capitalize(),
        "distribution": distribution,
        "version": __version__,
    }
    try:
        _write(target, filling)
    except OSError as error:
        raise Unavailable(f"cannot write {target}: {error.strerror or error}") from error
    return target


def check_name(name: str, taken: Iterable[str] = ()) -> None:
    """Refuse what cannot be the name of a rule's package and entry point.

    Raises:
        InvalidRequest: with the reason, and a name that would do where there is one.
    """
    if not _NAME.fullmatch(name) or not name.strip("_"):
        close = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f"; did you mean {close}?" if _NAME.fullmatch(close) else ""
        rule = "a lower-case letter and then lower-case letters, digits and '_', at most 64 in all"
        raise InvalidRequest(f"{name!r}: a rule's name is {rule}{hint}", field="name")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name in _OWN_MODULES:
        raise InvalidRequest(
            f"{name!r} already means something to Python or its tests; say more, e.g. {name}_rule",
            field="name",
        )
    if name in taken:
        raise InvalidRequest(
            f"an analyzer named {name!r} is installed; `proctor plugins` lists all that are", field="name"
        )
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:  # a folder without modules is in nobody's way
        raise InvalidRequest(
            f"a package named {name!r} is installed ({spec.origin}); choose another name", field="name"
        )


def _class_name(words: str) -> str:
    """Return a name for the class that hides no other, and that pytest does not take for tests."""
    name = "".join(word.capitalize() for word in words.split())
    if name.startswith("Test"):
        name = f"Rule{name}"
    taken = keyword.iskeyword(name) or hasattr(builtins, name) or name in _names_in_templates()
    return f"{name}Rule" if taken else name


def _names_in_templates() -> set[str]:
    """Return what the rule and its tests define, use or could import from where they import."""
    names: set[str] = set()
    for template in ("rule.py", "test_rule.py"):
        filled = Template(_text(template)).safe_substitute(name="_", class_name="_", title="")
        for node in ast.walk(ast.parse(filled)):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names.update(alias.asname or alias.name for alias in node.names)
            if isinstance(node, ast.ImportFrom) and node.module and node.module != "_":
                names.update(importlib.import_module(node.module).__all__)
    return names


def _text(template: str) -> str:
    return (files("proctor.scaffold") / "templates" / f"{template}.in").read_text(encoding="utf-8")


def _write(target: Path, filling: Mapping[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        part.chmod(0o755)
        for path, template in _FILES.items():
            file = part / Template(path).substitute(filling)
            file.parent.mkdir(exist_ok=True)
            file.write_text(Template(_text(template)).substitute(filling), encoding="utf-8")
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
