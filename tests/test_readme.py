"""The README says what the code does: its tables, its examples and its two commands."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import trio
from pydantic import SecretStr
from typer.main import get_command

from proctor.accommodations import AnyAccommodation
from proctor.cli import app
from proctor.settings import Settings
from proctor.web.asyncapi import CLIENT_SHAPES, server_messages, summary
from proctor.wire import CloseCode, ErrorCode
from tests.fixtures.browser import Page
from tests.fixtures.server import Server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(marker: str) -> list[str]:
    """Return the fenced blocks that a comment marks."""
    return re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def shown(value: Any) -> str:
    """Return a setting's default as the table has it."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, list):
        value = json.dumps(value)
    return f"`{value}`" if str(value) else "empty"


def test_settings():
    for name, field in Settings.model_fields.items():
        assert row(f"`{name.upper()}`", shown(field.default), field.description or "") in README


def test_the_example_environment_has_every_setting_with_its_default(monkeypatch, tmp_path):
    """Uncommented, it changes nothing."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    environment = tmp_path / ".env"
    lines = (ROOT / "config/example.env").read_text().splitlines()
    environment.write_text("\n".join(re.sub(r"^# ([A-Z_]+=)", r"\1", line) for line in lines))
    assert {line.split("=")[0] for line in environment.read_text().splitlines() if "=" in line[:40]} >= {
        name.upper() for name in Settings.model_fields
    }
    assert Settings(_env_file=environment) == Settings(_env_file=None)


def test_messages_and_codes():
    for shape in CLIENT_SHAPES:
        assert row(shape.name, shape.summary, f"`{json.dumps(shape.example)}`") in README
    for name, kind in server_messages().items():
        keys = ", ".join(f"`{key}`" for key in kind.__struct_fields__)
        assert row(f"`{name}`", keys, summary(kind)) in README
    for error in ErrorCode:
        assert row(f"`{error.value}`", error.meaning) in README
    for code in CloseCode:
        assert row(str(code.value), code.name.lower(), code.meaning) in README


async def test_endpoints(server: Server):
    paths = (await server.http.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert row(f"`{method.upper()} {path}`", operation["summary"]) in README
    for extra in re.findall(r"`GET (/[^`{]*)`", README):
        assert (await server.http.get(extra)).status_code in (200, 204, 400), extra


def test_the_commands_it_shows_exist():
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"^proctor (\w+.*)$", README, re.MULTILINE):
        name, *arguments = shlex.split(line)
        command = commands[name]
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= known, line
    for name in re.findall(r"`(?:\.venv/bin/)?proctor (\w+)", README):
        assert name in commands, name


def test_the_promises_name_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", README.partition("## What it promises")[2])
    assert len(named) > 20
    for path, test in named:
        source = (ROOT / path).read_text()
        assert not test or re.search(rf"(def|class) {test}\b|^{test} =", source, re.MULTILINE), (path, test)


async def test_the_curl_examples_run(server: Server):
    """Word for word but for the port; in order, they start, analyze and end a session."""
    answers = []
    for block in blocks("runs"):
        command = block.strip().replace("localhost:8000", f"127.0.0.1:{server.port}")
        done = await trio.run_process(
            ["bash", "-c", command.replace("curl ", "curl -sS ", 1)], capture_stdout=True, capture_stderr=True
        )
        answers.append(done.stdout)
    start, analyze, end, token = answers
    assert msgspec.json.decode(start)["status"] == "active"
    assert msgspec.json.decode(analyze)["verdict"]["review_priority"] == "insufficient"
    assert end.startswith(b"HTTP/1.1 204")
    assert msgspec.json.decode(token)["status"] == 503  # no credentials are configured


async def test_the_accommodations_of_the_example_are_granted_and_judged(server: Server):
    (block,) = blocks("runs in order")
    script = block.replace("localhost:8000", f"127.0.0.1:{server.port}").replace("curl ", "curl -sS ")
    done = await trio.run_process(["bash", "-ec", script], capture_stdout=True, capture_stderr=True)
    assert b"HTTP/1.1 204" in done.stdout
    assert b'"version":2,"policy":"strict"' in done.stdout
    report = (await server.post("exam-7", "analyze")).json()
    assert [each["accommodation"]["type"] for each in report["accommodations"]] == ["exempt", "allow_people"]


def test_every_type_of_accommodation_is_described():
    for kind in get_args(AnyAccommodation):
        assert f"| `{kind.__struct_config__.tag}` |" in README


async def test_the_javascript_runs(server: Server, foreign_page: Page):
    await foreign_page.call("goto", f"{server.url}/docs")
    stream, calls = blocks("runs in a browser")
    await foreign_page.call(
        "add_script_tag", content=stream.replace("localhost:8000", f"127.0.0.1:{server.port}")
    )
    await foreign_page.call("evaluate", "new Promise(done => setTimeout(done, 500))")
    analyze, end = calls.split("// End session")
    await foreign_page.call("add_script_tag", content=analyze)
    await foreign_page.logs("Analysis report")
    await foreign_page.call("add_script_tag", content=end)
    await foreign_page.logs("Ended")
    await foreign_page.logs("Session ended by server")


async def test_the_browser_client_of_the_example_streams(server: Server, foreign_page: Page):
    (block,) = blocks("runs as a module")
    await foreign_page.call("goto", f"{server.url}/docs")
    script = block.replace("localhost:8000", f"127.0.0.1:{server.port}")
    await foreign_page.call("add_script_tag", content=script, type="module")
    await foreign_page.logs("unsent 0")
    told = await foreign_page.call("console")
    assert [line for line in told if line.startswith("Proctor")] == ["Proctor is open", "Proctor is closed"]
    frame, event = await server.frames("exam-8")
    assert (frame["phone_present"], event["event"]["event"]) == (0, "TAB_SWITCHED")


@pytest.mark.parametrize("marker", ["serve command", "test command"])
def test_there_is_one_line_for_each_command(marker):
    """What the continuous integration runs, and what a new user pastes."""
    (block,) = blocks(marker)
    assert block.count("\n") == 1
    checked = subprocess.run(["bash", "-n", "-c", block], capture_output=True, check=False, env=os.environ)
    assert checked.returncode == 0


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
